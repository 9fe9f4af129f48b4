"""Logged models (``log_model``): sent at once where a server answers, else kept as files of the run.

A model that no server could be asked to register lands among the run's artifacts under its name, from where MLflow
loads it as ``runs:/<run id>/<name>``. Whatever a server does, a model that is logged ends no training.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..gate import Gate
from ..model import Param
from .asking import Asking, no_answer
from .bindings import OpenBlocks
from .experiments import Experiments
from .runs import Held

PATIENCE = 120
"""Seconds that a server has to take one file of a model, as MLflow itself waits: it may pass it on to a store."""
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


class Models:
    """The models that were logged in the open blocks, by their ids."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, Held]] = {}
        self._sent: dict[str, tuple[Any, Held]] = {}

    def keep(self, held: Held, experiment_id: str, name: str | None, tags: Any, params: Any, kind: str | None) -> Any:
        """Give a model that no server knows; its files go to the run of `held`."""
        from mlflow.entities import LoggedModel

        now = int(time.time() * 1000)
        model = LoggedModel(
            experiment_id=experiment_id,
            model_id=f"m-{uuid.uuid4().hex}",
            name=name or "model",
            artifact_location="",
            creation_timestamp=now,
            last_updated_timestamp=now,
            model_type=kind,
            source_run_id=held.id,
            tags=list(tags or []),
            params=list(params or []),
        )
        self._kept[model.model_id] = (model, held)
        tell_kept(held, model.name)
        return model

    def note(self, held: Held, model: Any) -> Any:
        """Take note of a model that the server has registered."""
        self._sent[model.model_id] = (model, held)
        return model

    def get(self, model_id: Any) -> Any:
        """Give a model that no server knows; None for any other."""
        found = self._kept.get(str(model_id))
        return found[0] if found is not None else None

    def kept_in(self, model_uri: str) -> bool:
        """Tell whether ``models:/<id>`` is a model that no server knows."""
        return model_uri.removeprefix("models:/").partition("/")[0] in self._kept

    def repository(self, model_id: Any) -> KeptFiles | None:
        """Give the repository of a model that was logged in a block; None for any other."""
        kept, sent = self._kept.get(str(model_id)), self._sent.get(str(model_id))
        if kept is not None:
            return KeptFiles(kept[1], kept[0].name)
        return SentFiles(sent[1], sent[0].name, sent[0].artifact_location) if sent is not None else None


class KeptFiles:
    """Stands before MLflow's repository for the files of a model that no server knows."""

    def __init__(self, held: Held, folder: str) -> None:
        self._held = held
        self._folder = folder

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Log one file."""
        self._held.run.log_artifact(local_file, self._inside(artifact_path))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Log the files of a folder."""
        self._held.log_files(local_dir, self._inside(artifact_path))

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """List nothing: the files are on their way."""
        return []

    def _inside(self, path: str | None) -> str:
        return f"{self._folder}/{path}" if path else self._folder


class SentFiles(KeptFiles):
    """The files of a registered model: looked through and sent at once; where that fails they are the run's."""

    def __init__(self, held: Held, folder: str, location: str) -> None:
        super().__init__(held, folder)
        self._location = location

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Log one file."""
        with tempfile.TemporaryDirectory() as place:
            os.symlink(os.path.abspath(local_file), Path(place, os.path.basename(local_file)))
            self.log_artifacts(place, artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Log the files of a folder."""
        assert self._held.run.gate is not None
        with tempfile.TemporaryDirectory() as place:
            _look_through(self._held.run.gate, Path(local_dir), Path(place), self._held.run.notice)
            try:
                with _patience():
                    self._real().log_artifacts(place, artifact_path)
            except Exception as error:
                if not no_answer(error):
                    raise
                tell_kept(self._held, self._folder)
                super().log_artifacts(local_dir, artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """Ask the server what it has."""
        found: list[Any] = self._real().list_artifacts(path)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def _real(self) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self._location)


class ModelStore(Asking):
    """The part of MLflow's tracking store that knows of logged models.

    Parameters
    ----------
    uri, make, block, experiments
        See :class:`.asking.Asking`.
    models
        Shared by the stores of all blocks.
    """

    def __init__(
        self, uri: str, make: Callable[[], Any], block: OpenBlocks, experiments: Experiments, models: Models
    ) -> None:
        super().__init__(uri, make, block, experiments)
        self._models = models

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Any = None,
        params: Any = None,
        model_type: str | None = None,
    ) -> Any:
        """Register a model."""
        home = self._block.home(self._uri)
        held = home if home is None or not source_run_id else self._block.held(source_run_id)
        if held is None:
            run_id = self._translated(source_run_id)
            return self.real.create_logged_model(experiment_id, name, run_id, tags, params, model_type)
        place = held.run.run_id or ""
        name, tags, params = held.screened(name or ""), _screened(held, tags), _screened(held, params)
        there = (experiment_id, name or None, place, tags, params, model_type)
        made = self._asked(held, lambda: self.real.create_logged_model(*there), None) if place else None
        if made is None:
            return self._models.keep(held, experiment_id, name, tags, params, model_type)
        return self._models.note(held, made)

    def get_logged_model(self, model_id: str, *args: Any, **kwargs: Any) -> Any:
        """Read a model."""
        return self._models.get(model_id) or self.real.get_logged_model(model_id, *args, **kwargs)

    def finalize_logged_model(self, model_id: str, status: Any) -> Any:
        """End the making of a model."""
        return self._done(model_id, lambda: self.real.finalize_logged_model(model_id, status))

    def set_logged_model_tags(self, model_id: str, tags: Any) -> None:
        """Tag a model."""
        self._done(model_id, lambda: self.real.set_logged_model_tags(model_id, tags))

    def log_logged_model_params(self, model_id: str, params: Any) -> None:
        """Set params of a model."""
        self._done(model_id, lambda: self.real.log_logged_model_params(model_id=model_id, params=params))

    def log_outputs(self, run_id: str, models: Any) -> None:
        """Tell which models a run has made."""
        registered = [model for model in models if self._models.get(model.model_id) is None]
        if registered:
            there = self._translated(run_id)
            self._done("", lambda: self.real.log_outputs(run_id=there, models=registered))

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Note a model in the tags of its run, as older versions of MLflow do."""
        there = run_id if self._models.get(mlflow_model.model_id) is not None else self._translated(run_id)
        self._done(mlflow_model.model_id, lambda: self.real.record_logged_model(there, mlflow_model))

    def _done(self, model_id: str, ask: Callable[[], Any]) -> Any:
        """Tell the server something about a model that it knows; gives the model where only we know it."""
        kept = self._models.get(model_id)
        home = self._block.home(self._uri)
        if kept is not None:
            return kept
        if home is None:
            return ask()
        unheard = object()
        answer = self._asked(home, ask, unheard)
        if answer is not unheard:
            return answer
        home.run.notice("The server did not hear everything about a model that was logged: it stopped answering.")
        return None


def tell_kept(held: Held, name: str) -> None:
    """Tell that a model is among the run's files."""
    held.run.notice(
        f"The model {name} is kept among the run's files, in the folder {name}: no server could be asked to "
        "register it."
    )


def _screened(held: Held, settings: Any) -> list[Any]:
    """Give params or tags of a model as they may leave."""
    assert held.run.gate is not None
    kept = []
    for item in settings or ():
        record = held.run.gate.record(Param(item.key, str(item.value)))
        if isinstance(record, Param):
            kept.append(type(item)(record.key, record.value))
    return kept


def _look_through(gate: Gate, source: Path, target: Path, say: Callable[[str], None]) -> None:
    """Put what of the folder `source` may leave into the folder `target`, as it may leave."""
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if path.is_dir():
            there.mkdir()
            continue
        verdict = gate.guard.file(path, path.name)
        gate.note(verdict.findings)
        if verdict.outcome == "block":
            say(verdict.reason)
        elif verdict.outcome == "replace":
            verdict.save(there)
        else:
            os.symlink(path.resolve(), there)


_waiting = threading.Lock()


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Let the server take its time over a file."""
    with _waiting:
        before = os.environ.get(_TIMEOUT)
        os.environ[_TIMEOUT] = str(max(PATIENCE, int(before or 0)))
        try:
            yield
        finally:
            if before is None:
                del os.environ[_TIMEOUT]
            else:
                os.environ[_TIMEOUT] = before

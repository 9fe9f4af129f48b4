"""Logged models (``log_model``) while no server can register them: their files are kept as files of the run.

Where the server answers, a logged model goes to it at once. Else the model's folder lands among the run's artifacts
under the model's name, from where MLflow loads it as ``runs:/<run id>/<name>``.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from .runs import Held


class Models:
    """The models that stand in for registered ones, by their ids."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Held]] = {}

    def create(
        self, held: Held, experiment_id: str, name: str | None, tags: Any, params: Any, model_type: str | None
    ) -> Any:
        """Give a model whose files go to the run of `held`."""
        from mlflow.entities import LoggedModel

        now = int(time.time() * 1000)
        model = LoggedModel(
            experiment_id=experiment_id,
            model_id=f"m-{uuid.uuid4().hex}",
            name=name or "model",
            artifact_location="",
            creation_timestamp=now,
            last_updated_timestamp=now,
            model_type=model_type,
            source_run_id=held.id,
            tags=list(tags or []),
            params=list(params or []),
        )
        self._known[model.model_id] = (model, held)
        held.run.notice(
            f"The model {model.name} is kept among the run's files, in the folder {model.name}: no server could be "
            "asked to register it."
        )
        return model

    def get(self, model_id: Any) -> Any:
        """Give a model that stands in; None for any other."""
        found = self._known.get(str(model_id))
        return found[0] if found is not None else None

    def files(self, model_id: Any) -> ModelFiles | None:
        """Give the repository of a model that stands in; None for any other."""
        found = self._known.get(str(model_id))
        return ModelFiles(found[1], found[0].name) if found is not None else None


class ModelFiles:
    """Stands before MLflow's repository for the files of a logged model."""

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

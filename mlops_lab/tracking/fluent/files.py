"""The artifacts of a run of ours as MLflow's client sees them inside a block: what is logged goes to the journal."""

from __future__ import annotations

import functools
import json
import os
import posixpath
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..capture.patches import Patches
from .models import Models
from .runs import Held

_TABLES = "mlflow.loggedArtifacts"
"""The tag in which ``log_table`` keeps what it has written."""
_writing = threading.local()
"""Which table this thread is writing."""

Find = Callable[[str], Held | None]
"""Gives the run that MLflow's client means by an id, where a journal of ours holds it."""


class Files:
    """Stands before MLflow's repository for the artifacts of a run of ours: files go to the journal."""

    def __init__(self, held: Held, real: Callable[[], Any]) -> None:
        self._held = held
        self._real = real

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Log one file."""
        path = f"{artifact_path or ''}/{os.path.basename(local_file)}".lstrip("/")
        if path == getattr(_writing, "table", None):
            self._held.tables[path] = Path(local_file).read_bytes()
        self._held.run.log_artifact(local_file, artifact_path or "")

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Log the files of a folder."""
        self._held.log_files(local_dir, artifact_path or "")

    def _log_artifact_async(self, filename: str, artifact_path: str | None = None, artifact: Any = None) -> None:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, filename)
            artifact.save(path)
            self._held.run.log_artifact(path, artifact_path or "")

    def flush_async_logging(self) -> None:
        """There is nothing to wait for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)


class Repositories(OrderedDict[str, Any]):
    """MLflow's memory of where the artifacts of a run go; for runs of ours the answer is :class:`Files`.

    Parameters
    ----------
    known
        What MLflow remembers.
    find
        Finds a run of ours.
    place
        Asks the server for a run's artifact URI.
    models
        Models whose files are a run's.
    """

    def __init__(self, known: Any, find: Find, place: Callable[[Held], str], models: Models) -> None:
        super().__init__(known)
        self._find = find
        self._place = place
        self._models = models

    def get(self, owner: Any, default: Any = None) -> Any:
        """Give the repository of a run or of a logged model."""
        held = self._find(owner)
        if held is not None:
            return Files(held, lambda: self._real(held))
        return self._models.repository(owner) or super().get(owner, default)

    def _real(self, held: Held) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self._place(held))


def lead_tables(client: Any, patches: Patches, find: Find, away: Callable[[Held], bool]) -> None:
    """Let MLflow's client see what a run of ours has logged, of which the server may not have heard yet.

    ``log_table`` reads what it adds to, again and again in a training: it waits for no server.

    Parameters
    ----------
    client
        The class ``MlflowClient``.
    away
        Tells whether the server of a run is not to be asked.
    """
    list_artifacts, download = client.list_artifacts, client.download_artifacts
    log_table, get_run = client.log_table, client.get_run

    @functools.wraps(log_table)
    def table(self: Any, run_id: str, data: Any, artifact_file: str) -> Any:
        held = find(run_id)
        # A run that was gone on with may have the table from before.
        _writing.table = posixpath.normpath(artifact_file) if held is not None and not held.resumed else None
        try:
            return log_table(self, run_id, data, artifact_file)
        finally:
            _writing.table = None

    @functools.wraps(get_run)
    def got(self: Any, run_id: str) -> Any:
        held = find(run_id) if getattr(_writing, "table", None) else None
        if held is None:
            return get_run(self, run_id)
        known = [{"path": path, "type": "table"} for path in held.tables if path != _writing.table]
        return SimpleNamespace(data=SimpleNamespace(tags={_TABLES: json.dumps(known)}))

    @functools.wraps(list_artifacts)
    def listed(self: Any, run_id: str, path: str | None = None) -> Any:
        held = find(run_id)
        if held is None:
            return list_artifacts(self, run_id, path)
        from mlflow.entities import FileInfo

        if getattr(_writing, "table", None):
            return [FileInfo(name, False, len(content)) for name, content in held.tables.items()]
        here = {
            name: FileInfo(name, False, file.stat().st_size)
            for name, file in held.files().items()
            if name.rpartition("/")[0] == (path or "").strip("/")
        }
        asked = bool(held.run.run_id) and not away(held)
        there = list_artifacts(self, held.run.run_id, path) if asked else []
        return [*(item for item in there if item.path not in here), *here.values()]

    @functools.wraps(download)
    def downloaded(self: Any, run_id: str, path: str, dst_path: str | None = None) -> Any:
        held = find(run_id)
        content = held.tables.get(path) if held is not None else None
        file = held.files().get(path) if held is not None and content is None else None
        if dst_path is None or (content is None and file is None):
            return download(self, (held and held.run.run_id) or run_id, path, dst_path)
        target = Path(dst_path, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            target.write_bytes(content)
        elif file is not None:
            shutil.copyfile(file, target)
        return str(target)

    patches.set(client, "log_table", table)
    patches.set(client, "get_run", got)
    patches.set(client, "list_artifacts", listed)
    patches.set(client, "download_artifacts", downloaded)

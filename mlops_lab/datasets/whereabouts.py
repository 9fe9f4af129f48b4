"""Where a version's bytes are right now: in the working copy, in DVC's local cache, or nowhere near."""

from __future__ import annotations

from pathlib import Path

from .definitions import MAX_BYTES, Output, Pipeline, is_lock, parse
from .dvc_config import cache_dir, dvc_root
from .history import History
from .model import Place
from .objects import ObjectStore, Presence, presence


class Whereabouts:
    """One look at the disk for a whole catalogue; each definition file and cache folder is read once."""

    def __init__(self, history: History) -> None:
        self._top = history.top
        self._pipelines = history.pipelines
        self._on_disk: dict[str, dict[str, str]] = {}
        self._presences: dict[str, Presence] = {}
        self._by_root: dict[Path, Presence] = {}

    def of(self, current_path: str, output: Output) -> list[Place]:
        """Tell where the content of `output` is; `current_path` is where the dataset stands now."""
        places: list[Place] = []
        if self._defined(output.definition).get(current_path) == output.md5 and (self._top / current_path).exists():
            places.append("workspace")
        if self._presence(output.definition).holds(output.md5, output.legacy):
            places.append("cache")
        return places

    def _defined(self, definition: str) -> dict[str, str]:
        found = self._on_disk.get(definition)
        if found is None:
            found = self._on_disk[definition] = _read_definition(self._top, definition, self._pipelines)
        return found

    def _presence(self, definition: str) -> Presence:
        found = self._presences.get(definition)
        if found is None:
            root = dvc_root(self._top, definition)
            if root not in self._by_root:
                self._by_root[root] = presence(ObjectStore(cache_dir(root)))
            found = self._presences[definition] = self._by_root[root]
        return found


def _read_definition(top: Path, definition: str, pipelines: dict[str, Pipeline]) -> dict[str, str]:
    file = top / definition
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > MAX_BYTES:
            return {}
        data = file.read_bytes()
    except OSError:
        return {}
    pipeline = pipelines.get(definition.removesuffix("dvc.lock") + "dvc.yaml") if is_lock(definition) else None
    return {output.path: output.md5 for output in parse(data, definition, pipeline).outputs}

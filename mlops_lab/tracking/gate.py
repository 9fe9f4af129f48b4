"""Stands before the journal: every record of a run passes the project's privacy guard on its way in.

What is changed or left out is counted by kind and place, never by value: the person reads one sentence, the run keeps
the list as the artifact ``mlops_lab/privacy.json`` and the sentence as a tag.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..connection import tags as names
from ..datasets.mlflow_source import SOURCE_TYPE
from .model import Artifact, Input, Metric, Param, Record, Staged, Start, Tag, sound

if TYPE_CHECKING:
    from ..privacy import Finding, Guard, Guarded, Known

DOCUMENT = "mlops_lab/privacy.json"
FINDINGS = "mlops_lab.privacy"
"""Tag of a run in which something was changed or left out: the sentence that says what."""
SCHEMA_VERSION = 1

_OURS = frozenset(
    {
        *(names.RUN_KEY, names.DATA, names.GIT_COMMIT, names.GIT_REMOTE, names.GIT_DIRTY, names.PERSON, names.USER),
        *(names.CELL, names.CELL_ID, names.CELL_INDEX, names.PYTHON, names.TORCH, names.MONAI, names.GPU),
        *(names.PACKAGES, names.DATA_SEEN, names.DATA_OUTSIDE, names.SEEN_ROLES, names.SOURCE_TYPE, FINDINGS),
    }
)
"""Tags that we compute and that hold no free text: commits, versions, counts, the researcher's own account."""


class Gate:
    """Screens the records of one block; its nested MLflow runs share it.

    Parameters
    ----------
    guard
        The project's guard.
    folder
        Where the code was started; its project's policy is the guard's.
    """

    def __init__(self, guard: Guard, folder: Path | None) -> None:
        self.guard = guard
        self.folder = folder
        self._found: dict[tuple[str, str, str], Finding] = {}
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, one entry per kind, place and action."""
        with self._lock:
            return list(self._found.values())

    def sentence(self) -> str:
        """Say what was changed or left out; empty where nothing was."""
        from ..privacy import summary

        return summary(self.findings)

    def document(self) -> str:
        """Give the list of what was changed, as JSON without any identifier."""
        found = [
            {"kind": str(item.kind), "where": item.where, "action": item.action, "count": item.count}
            for item in self.findings
        ]
        return json.dumps({"schema_version": SCHEMA_VERSION, "findings": found}, indent=1)

    def learn(self, known: Known) -> None:
        """Take note of names and numbers that belong to data which the run was given just now."""
        self.guard.learn(known)
        self._names = {}

    def name(self, name: str) -> str:
        """Give a name of a metric, param, tag or file as it may be recorded; empty where the policy blocks it."""
        screened = self._names.get(name)
        if screened is None:
            screened = self._names[name] = self.take(self.guard.name(name))
        return screened

    def path(self, path: str) -> str:
        """Give a path among the artifacts as it may be recorded; empty where one of its parts is blocked."""
        parts = [self.name(part) for part in path.split("/")]
        return "/".join(parts) if all(parts) or not path else ""

    def text(self, text: str, kind: str = "text", where: str = "") -> str:
        """Give a text as it may be recorded; empty where the policy blocks it."""
        return self.take(self.guard.text(text, kind, where))

    def source(self, code: str) -> str:
        """Give the code of a cell as it may be recorded."""
        return self.take(self.guard.source(code))

    def record(self, record: Record) -> Record | None:
        """Give a record as the journal may have it; None where the policy blocks it."""
        if isinstance(record, Metric):
            name = self.name(record.key)
            return record if name == record.key else msgspec.structs.replace(record, key=name) if name else None
        if isinstance(record, (Param, Tag)):
            return self._setting(record)
        if isinstance(record, (Artifact, Staged)):
            name, folder = self.name(record.name), self.path(record.folder)
            blocked = not name or (record.folder and not folder)
            return None if blocked else msgspec.structs.replace(record, name=name, folder=folder)
        if isinstance(record, Input):
            return self._input(record)
        return record

    def start(self, start: Start) -> Start:
        """Give the first record of a run as the journal may have it."""
        return msgspec.structs.replace(
            start,
            experiment=self.name(start.experiment) or "Default",
            run_name=self.name(start.run_name) or start.run_key[:8],
            tags=self.tags(start.tags),
        )

    def tags(self, values: Mapping[str, object]) -> dict[str, str]:
        """Give tags as they may be recorded."""
        kept = (self._setting(Tag(sound(key), sound(value))) for key, value in values.items())
        return {tag.key: tag.value for tag in kept if tag is not None}

    def take(self, guarded: Guarded) -> str:
        """Take note of what was found in a text and give what may be recorded of it."""
        self.note(guarded.findings)
        return guarded.text

    def note(self, findings: Iterable[Finding]) -> None:
        """Take note of what was found."""
        for item in findings:
            key = (item.kind, item.where, item.action)
            with self._lock:
                known = self._found.get(key)
                self._found[key] = replace(item, count=item.count + known.count) if known else item

    def _setting(self, record: Param | Tag) -> Param | Tag | None:
        if isinstance(record, Tag) and (record.key in _OURS or record.key.startswith("mlops_lab.data.")):
            return record
        key = self.name(record.key)
        kind = "param" if isinstance(record, Param) else "tag"
        guarded = self.guard.text(record.value, kind, record.key, record.key)
        self.note(guarded.findings)
        if not key or guarded.blocked:
            return None
        if key == record.key and guarded.text == record.value:
            return record
        return msgspec.structs.replace(record, key=key, value=guarded.text)

    def _input(self, record: Input) -> Input | None:
        if record.source_type == SOURCE_TYPE:
            return record  # ours: names, hashes and addresses that were cleaned where they were made
        name, source = self.name(record.name), self.text(record.source, "json", "a dataset's source")
        tags = {tag.key: tag.value for item in record.tags.items() if (tag := self._setting(Tag(*item))) is not None}
        return msgspec.structs.replace(record, name=name, source=source, tags=tags) if name else None


def gate_for(folder: Path | None, known: Known) -> Gate:
    """Make the gate of a block whose code lies in `folder`, by the policy of the project around it.

    Raises
    ------
    mlops_lab.privacy.BadPolicy
        When the project's policy cannot be used: then nothing may be recorded.
    """
    from ..privacy import Guard, Policy, read_policy

    top = project_top(folder) if folder is not None else None
    return Gate(Guard(read_policy(top) if top is not None else Policy(), known), folder)


def project_top(folder: Path) -> Path | None:
    """Find the project's file ``mlops.toml`` in `folder` or above it, up to the top of the repository."""
    for place in (folder, *folder.parents):
        if (place / "mlops.toml").exists():
            return place
        if (place / ".git").exists():
            return None
    return None

"""The checkpoints that a run keeps, as files: their index, how they are handed over, and what a dead process left."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from ...wire import Number
from ..model import Staged
from . import folders, staging

PLACE = "checkpoints"
"""Folder of the files in the run's folder, and among the run's artifacts."""
INDEX = "index.json"
HANDED_OVER = "handed_over.json"
"""The same index, which stays here when the other one has been sent."""
STATE = "state"
"""What is kept so far, in the folder of the snapshots: the first line is an :class:`Index`."""
BEST = "best"
LAST = "last"
_ENDING = ".kept"
"""Ending of the folder of a file that was handed over."""


class Entry(msgspec.Struct, omit_defaults=True):
    """One kept file, as ``checkpoints/index.json`` tells of it."""

    name: str
    """File name among the artifacts."""
    size: int
    """Bytes."""
    modified: int
    """When the file was last changed, in nanoseconds since 1970."""
    time: int
    """When it was saved, in milliseconds since 1970."""
    kept: str
    """Why: ``last``, ``best``, or both."""
    file: str = ""
    """Path of the copy in the run's folder; empty among the artifacts."""
    step: int | None = None
    """Optimizer steps until then."""
    epoch: int | None = None
    metrics: dict[str, Number] = {}
    """Last value of every metric then."""
    score: Number | None = None
    """Value of the metric that the best one is told by, for the weights in this file."""
    sha256: str = ""


class Index(msgspec.Struct):
    """``checkpoints/index.json``."""

    schema_version: int = 1
    metric: str = ""
    """The metric that the best one is told by; empty where there is none."""
    files: list[Entry] = []


class Waiting(NamedTuple):
    """A kept file that is still on this computer."""

    path: Path
    size: int
    """Bytes."""
    saved: int
    """Milliseconds since 1970."""
    spare: bool
    """The last one of a run that has a best one."""


class Coming(NamedTuple):
    """A file that the next sync would hand over for a process that died."""

    path: Path
    """Where it lies now; for the index, what that is made from."""
    name: str
    """Path among the artifacts."""
    size: int
    """Bytes."""


def hand_over(folder: Path, index: Index) -> list[Staged]:
    """Give each kept file a folder of its own under the name that it is to have, and write the index beside them.

    What an earlier part of a resumed run handed over stays in the index, but for what has the same name.

    Parameters
    ----------
    folder
        The run's folder.

    Returns
    -------
    list of Staged
        The records that have them uploaded.
    """
    found = []
    for entry in index.files:
        target = _target(folder, entry)
        with contextlib.suppress(FileNotFoundError):  # it was moved before
            target.parent.mkdir(mode=0o700, exist_ok=True)
            os.rename(folder / entry.file, target)
        found.append(Staged(target.relative_to(folder).as_posix(), entry.name, PLACE))
        entry.file = ""
    if not found:
        return []
    document = _document(folder, index)
    folders.replace(folder / PLACE / HANDED_OVER, document)
    if folders.replace(folder / PLACE / INDEX, document):
        found.append(Staged(f"{PLACE}/{INDEX}", INDEX, PLACE))
    return found


def left_behind(folder: Path) -> list[Staged]:
    """Give the records of the checkpoints that a process left in a run's folder when it died.

    Only of files that are what they were when they were saved: a hard link may have been written to since.

    Parameters
    ----------
    folder
        The run's folder.
    """
    index = _kept(folder)
    index.files = [entry for entry in index.files if _checked(folder, entry)]
    return hand_over(folder, index)


def to_come(folder: Path) -> list[Coming]:
    """List what :func:`left_behind` would hand over, the index included; nothing is moved, written or read through."""
    index = _kept(folder)
    places = [(entry, _unchanged(folder, entry)) for entry in index.files]
    found = [Coming(place, f"{PLACE}/{entry.name}", entry.size) for entry, place in places if place is not None]
    if not found:
        return []
    index.files = [
        msgspec.structs.replace(entry, file="", sha256=entry.sha256 or "0" * 64)
        for entry, place in places
        if place is not None
    ]
    return [*found, Coming(folder / PLACE / STATE, f"{PLACE}/{INDEX}", len(_document(folder, index)))]


def waiting(folder: Path) -> list[Waiting]:
    """List the kept files of a run that is over, as far as they are still in its folder."""
    index = _handed_over(folder)
    entries = {entry.name: entry for entry in index.files}
    has_best = any(BEST in entry.kept for entry in index.files)
    return [
        Waiting(path, size, entries[path.name].time, has_best and entries[path.name].kept == LAST)
        for place in (folder / PLACE).glob(f"*{_ENDING}")
        for path, size in staging.copies_in(place)
        if path.name in entries
    ]


def _document(folder: Path, index: Index) -> bytes:
    names = {entry.name for entry in index.files}
    index.files = [*(entry for entry in _handed_over(folder).files if entry.name not in names), *index.files]
    return msgspec.json.encode(index)


def _kept(folder: Path) -> Index:
    try:
        line, _, _ = (folder / PLACE / STATE).read_bytes().partition(b"\n")
        return msgspec.json.decode(line, type=Index)
    except (OSError, msgspec.MsgspecError):
        return Index()


def _handed_over(folder: Path) -> Index:
    try:
        return msgspec.json.decode((folder / PLACE / HANDED_OVER).read_bytes(), type=Index)
    except (OSError, msgspec.MsgspecError):
        return Index()  # the run has none, or is not over


def _checked(folder: Path, entry: Entry) -> bool:
    """Tell whether a file is what it was when it was saved, and note its sha256."""
    path = _unchanged(folder, entry)
    if path is None:
        return False
    try:
        entry.sha256 = entry.sha256 or sha256_of(path)
    except OSError:
        return False
    return True


def _unchanged(folder: Path, entry: Entry) -> Path | None:
    """Give where a kept file lies; None where it is gone, or was written to since it was saved."""
    for path in (folder / entry.file, _target(folder, entry)):
        with contextlib.suppress(OSError):
            facts = os.stat(path)
            return path if (facts.st_size, facts.st_mtime_ns) == (entry.size, entry.modified) else None
    return None


def _target(folder: Path, entry: Entry) -> Path:
    return folder / PLACE / f"{Path(entry.file).name}{_ENDING}" / entry.name


def sha256_of(path: Path) -> str:
    """Give the sha256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

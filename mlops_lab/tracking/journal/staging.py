"""The files of a run, copied beside its journal the moment they are logged, for the original may change or go.

Each copy has a folder of its own, so that two files of one name do not overwrite each other; its name carries the
file's role. A copy that is no longer needed is replaced by an empty mark that says why.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from ..model import FileRole
from .folders import STAGED

Mark = Literal["sent", "superseded", "thinned", "blocked"]
"""Why a copy is gone: sent, replaced by a newer one, given up for want of room, or not allowed to leave."""

_CLONE = 0x40049409
"""Linux' request to share the blocks of another file (Btrfs, XFS), which costs neither time nor room."""


class StagedFile(NamedTuple):
    """One copy."""

    path: Path
    number: int
    """Later ones are higher."""
    role: FileRole
    size: int
    """Bytes."""
    written: float
    """Seconds since 1970."""


class Staging:
    """The copies of one run. Safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._top = folder / STAGED
        self._guard = threading.Lock()
        self._count = max((number_of(place) for place in _places(folder)), default=0)

    def copy(self, source: Path, name: str, role: FileRole = "") -> str:
        """Copy the file `source` and give the copy's path in the run's folder; raises OSError."""
        target = self._target(name, role)
        try:
            if not _clone(source, target):
                shutil.copyfile(source, target)
        except OSError:
            _forget(target)
            raise
        return self._inside(target)

    def write(self, text: str, name: str) -> str:
        """Write `text` as a file and give its path in the run's folder; raises OSError."""
        target = self._target(name, "")
        try:
            target.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            _forget(target)
            raise
        return self._inside(target)

    def _target(self, name: str, role: FileRole) -> Path:
        with self._guard:
            self._count += 1
            folder = self._top / f"{self._count:04d}{f'.{role}' if role else ''}"
        self._top.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        target = folder / name
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return target

    def _inside(self, target: Path) -> str:
        return str(target.relative_to(self._top.parent))


def number_of(place: Path) -> int:
    """Give the number of a copy's folder; 0 where it is none."""
    number = place.name.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def files(folder: Path) -> Iterator[StagedFile]:
    """List the copies of the run in `folder` that are still there, oldest first."""
    for place in sorted(_places(folder), key=number_of):
        role = place.name.partition(".")[2]
        for path in _entries(place):
            with contextlib.suppress(OSError):
                facts = path.stat()
                if not _is_mark(path):
                    known: FileRole = cast(FileRole, role) if role in get_args(FileRole) else ""
                    yield StagedFile(path, number_of(place), known, facts.st_size, facts.st_mtime)


def give_up(path: Path, why: Mark) -> None:
    """Replace a copy by a mark that says why; harmless when it is gone."""
    # The mark comes first where the disk has room for it: a copy that is missing without one means a fault.
    # An upload in progress goes on.
    for step in (_set_mark, lambda path, why: path.unlink(missing_ok=True), _set_mark):
        with contextlib.suppress(OSError):
            step(path, why)


def mark_of(path: Path) -> Mark | None:
    """Tell why a copy is gone; None where it should be there."""
    if path.exists():
        return None
    return next((why for why in get_args(Mark) if _mark(path, why).exists()), None)


def _mark(path: Path, why: str) -> Path:
    return path.parent / f".{why}"


def _set_mark(path: Path, why: str) -> None:
    os.close(os.open(_mark(path, why), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _is_mark(path: Path) -> bool:
    return any(path.name == f".{why}" for why in get_args(Mark))


def _places(folder: Path) -> list[Path]:
    return [place for place in _entries(folder / STAGED) if number_of(place)]


def _entries(place: Path) -> list[Path]:
    try:
        return list(place.iterdir())
    except OSError:
        return []


def _forget(target: Path) -> None:
    with contextlib.suppress(OSError):
        target.unlink(missing_ok=True)


def _clone(source: Path, target: Path) -> bool:
    try:
        with open(source, "rb") as there, open(target, "wb") as here:
            fcntl.ioctl(here.fileno(), _CLONE, there.fileno())
    except OSError:
        return False  # another file system, or one that cannot; a real fault comes up again in the copy
    return True

"""The files of a run, copied beside its journal the moment they are logged, for the original may change or go.

Each copy has a folder of its own, so that two files of one name do not overwrite each other. A copy that is no longer
needed is replaced by an empty mark that says why.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from .clones import clone, private
from .folders import STAGED

Mark = Literal["sent", "superseded", "thinned", "blocked"]
"""Why a copy is gone: sent, replaced by a newer one, given up for want of room, or not allowed to leave."""


class StagedFile(NamedTuple):
    """One copy."""

    path: Path
    size: int
    """Bytes."""


class Staging:
    """The copies of one run. Safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._top = folder / STAGED
        self._guard = threading.Lock()
        self._count = max(map(_number, _places(self._top)), default=0)

    def copy(self, source: Path, name: str) -> str:
        """Copy the file `source` and give the copy's path in the run's folder; raises OSError."""
        target = self._target(name)
        if not clone(source, target):
            with _whole_or_none(target):
                open(target, "xb", opener=private).close()
                shutil.copyfile(source, target)
        return self._inside(target)

    def write(self, text: str, name: str) -> str:
        """Write `text` as a file and give its path in the run's folder; raises OSError."""
        target = self._target(name)
        with _whole_or_none(target), open(target, "xb", opener=private) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
        return self._inside(target)

    def _target(self, name: str) -> Path:
        with self._guard:
            self._count += 1
            place = self._top / f"{self._count:04d}"
        self._top.mkdir(mode=0o700, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        return place / name

    def _inside(self, target: Path) -> str:
        return str(target.relative_to(self._top.parent))


def files(folder: Path) -> Iterator[StagedFile]:
    """List the copies of the run in `folder` that are still there, oldest first."""
    for place in sorted(_places(folder / STAGED), key=_number):
        yield from copies_in(place)


def copies_in(place: Path) -> Iterator[StagedFile]:
    """List the copies that are still there in a folder of such."""
    for path in _entries(place):
        if not _is_mark(path):
            with contextlib.suppress(OSError):
                yield StagedFile(path, path.stat().st_size)


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


def _number(place: Path) -> int:
    """Give the number of a copy's folder; 0 where it is none."""
    return int(place.name) if place.name.isdecimal() else 0


def _places(top: Path) -> list[Path]:
    return [place for place in _entries(top) if _number(place)]


def _entries(place: Path) -> list[Path]:
    try:
        return list(place.iterdir())
    except OSError:
        return []


@contextlib.contextmanager
def _whole_or_none(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        raise

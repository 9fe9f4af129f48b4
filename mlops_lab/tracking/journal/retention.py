"""How much room the journals take, how long they stay, and what goes first when there is too little.

All journals together may take 2 GB (the variable ``MLOPS_LAB_QUOTA`` sets another size, such as ``20 GB``), and a
little of the disk stays free; see :mod:`.quota`. The journal of a run that a server has in full is removed after
:data:`KEEP_DAYS` days. When room is short, this goes, in this order, until there is enough:

1. journals of runs that a server has in full, the oldest first;
2. of other runs, the records that the server has;
3. of runs that are over, the last checkpoint where there is a best one, the oldest first;
4. files above 1 MB that are no checkpoints, the largest first;
5. the other checkpoints of runs that are over, the oldest first;
6. every second point of the series ``system/...``, again and again, until they are short;
7. every second point of every long series, likewise; :mod:`.thinning` says what stays of a curve.

Nothing is lost by 1 and 2. What goes by 3 to 7, from a run that takes more than half of the quota before any other, is
counted, shown with the run, and told by its tags ``mlops_lab.thinned.points``, ``.files`` and ``.bytes``. Params, tags,
inputs, ends and last values never go. Where all this is not enough new records wait in memory, and in the end are
refused and counted. Training feels none of it, for the work is done in a process of its own
(``python -m mlops_lab.tracking.journal.retention``), on a full disk in room that was set aside for it.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ...home import home
from ..model import Position, Thinned
from . import checkpoints, folders, quota, segments, staging, thinning
from .locks import FileLock

SHARE = 0.5
"""Part of the quota above which a run gives before the others, so that one that runs wild costs only itself."""
KEEP_DAYS = 30
"""Days that the journal of a complete run is kept."""
LARGE = 1 << 20
"""Bytes above which a file that is no checkpoint may go."""
CHECK_EVERY = 30.0
"""Seconds between two looks at how much the journals take."""

_LOCK = "retention.lock"
_ROOM = "retention.room"


def room_for(size: int) -> None:
    """Make room for a file of `size` bytes, by what can be removed at once (steps 1 to 5).

    Raises
    ------
    OSError
        When there is not enough room all the same.
    """
    if size <= LARGE:
        return
    if quota.missing(size, _usage.recent()) > 0:
        free_up(size, points=False)
        if quota.missing(size, _usage.now()) > 0:
            full = quota.missing_on_disk(size) > 0
            reason = os.strerror(errno.ENOSPC) if full else f"the quota of {quota.spelt(quota.allowed())} is used up"
            raise OSError(errno.ENOSPC, reason)
    _usage.add(size)


def free_up(size: int = 0, points: bool = True) -> bool:
    """Go through the steps until `size` more bytes fit; without `points`, only through those that remove files.

    One process does it at a time; where another is at work already, this gives False at once.
    """
    lock = FileLock(home() / _LOCK)
    if not lock.acquire():
        return False
    try:
        for run in _runs():
            _clear_halves(run.folder)
        steps = _STEPS if points else _STEPS[:_FILES]
        runs = _runs()
        missing = quota.missing(size, sum(run.size for run in runs))
        missing -= _go(steps[:_LOSSLESS], runs, missing)
        lossy, share = steps[_LOSSLESS:], int(quota.allowed() * SHARE)
        for run in runs:
            missing -= _go(lossy, [run], min(missing, sum(_sizes(run.folder)) - share))
        _go(lossy, runs, missing)
    finally:
        set_room_aside()
        lock.release()
    return True


def set_room_aside() -> None:
    """Keep room in which a segment can be thinned on a full disk; harmless where it is there, or cannot be had."""
    place = home() / _ROOM
    if place.exists():
        return
    size = 2 * quota.segment_size(home())
    with contextlib.suppress(OSError):
        if shutil.disk_usage(home()).free < 2 * size:
            return
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, size)
            else:
                os.write(fd, os.urandom(size))
        finally:
            os.close(fd)


def short() -> bool:
    """Tell whether the journals take more than they may."""
    return quota.missing(0, _usage.now()) > 0


def clear_old() -> None:
    """Remove the journals of runs that a server has had in full for :data:`KEEP_DAYS` days."""
    limit = time.time() - KEEP_DAYS * 86400
    for run in _runs():
        if run.complete and run.changed < limit:
            _remove(run)


def sentence(gone: Thinned) -> str:
    """Say what was given up of a run, for the person at the screen."""
    parts = []
    if gone.points:
        parts.append(f"{quota.counted(gone.points, 'point')} of its long curves")
    if gone.files:
        parts.append(f"{quota.counted(gone.files, 'file')} ({quota.spelt(gone.bytes)})")
    return (
        f"There was no room for the whole run, so {' and '.join(parts)} are not kept: "
        "free some space, connect a server, or allow more with MLOPS_LAB_QUOTA."
    )


def tags(gone: Thinned) -> dict[str, str]:
    """Give the tags that tell at the server what is missing from a run."""
    counts = {"points": gone.points, "files": gone.files, "bytes": gone.bytes}
    return {f"mlops_lab.thinned.{name}": str(count) for name, count in counts.items() if count}


@dataclass
class _Run:
    folder: Path
    size: int = 0
    changed: float = 0.0
    """Seconds since 1970."""
    position: Position = field(default_factory=Position)

    @property
    def complete(self) -> bool:
        return segments.complete(self.folder, self.position)


class _Usage:
    """The bytes that all journals take; counting them looks at every file, so a recent count is good enough."""

    def __init__(self) -> None:
        self._bytes = 0
        self._when = -CHECK_EVERY

    def now(self) -> int:
        self._bytes, self._when = sum(run.size for run in _runs()), time.monotonic()
        return self._bytes

    def recent(self) -> int:
        return self._bytes if time.monotonic() - self._when < CHECK_EVERY else self.now()

    def add(self, size: int) -> None:
        """Count in what is about to be added."""
        self._bytes += size


_usage = _Usage()

Step = Callable[[list[_Run]], Iterator[int]]


def _go(steps: tuple[Step, ...], runs: list[_Run], missing: int) -> int:
    """Take step after step until `missing` bytes are free; gives how many are."""
    freed = 0
    for step in steps:
        if freed >= missing:
            break
        for more in step(runs):
            freed += more
            if freed >= missing:
                break
    return freed


def _complete_runs(runs: list[_Run]) -> Iterator[int]:
    for run in [run for run in runs if run.complete]:
        if _remove(run):
            runs.remove(run)
            yield run.size


def _sent_records(runs: list[_Run]) -> Iterator[int]:
    for run in runs:
        known = segments.listed(run.folder)
        for segment, following in pairwise(known[1:]):  # the first one says what run this is
            if following.base <= run.position.offset:
                yield _unlink(segment.path)


def _spare_checkpoints(runs: list[_Run]) -> Iterator[int]:
    found = [(run, file) for run in runs for file in checkpoints.waiting(run.folder) if file.spare]
    for run, file in sorted(found, key=lambda item: item[1].saved):
        yield _give_up(run, file.path, file.size)


def _large_files(runs: list[_Run]) -> Iterator[int]:
    found = [(run, file) for run in runs for file in staging.files(run.folder) if file.size > LARGE]
    for run, file in sorted(found, key=lambda item: -item[1].size):
        yield _give_up(run, file.path, file.size)


def _checkpoints(runs: list[_Run]) -> Iterator[int]:
    found = [(run, file) for run in runs for file in checkpoints.waiting(run.folder)]
    for run, file in sorted(found, key=lambda item: item[1].saved):
        yield _give_up(run, file.path, file.size)


def _system_points(runs: list[_Run]) -> Iterator[int]:
    yield from _points(runs, thinning.system_series)


def _all_points(runs: list[_Run]) -> Iterator[int]:
    yield from _points(runs, thinning.any_series)


def _points(runs: list[_Run], which: thinning.Which) -> Iterator[int]:
    """Thin every segment that nobody writes and nobody has begun to send, evenly: the least thinned one first."""
    waiting = [
        (segment.generation, number, segment.base)
        for number, run in enumerate(runs)
        for segment in segments.listed(run.folder)[1:-1]
        if segment.base > run.position.offset
    ]
    heapq.heapify(waiting)
    while waiting:
        generation, number, base = heapq.heappop(waiting)
        try:
            freed = _thin(runs[number].folder, base, generation, which)
        except OSError:
            continue
        if freed:
            heapq.heappush(waiting, (generation + 1, number, base))
            yield freed


def _thin(folder: Path, base: int, generation: int, which: thinning.Which) -> int:
    try:
        return thinning.thin_segment(folder, base, generation, which)
    except OSError:
        (home() / _ROOM).unlink(missing_ok=True)  # set aside for this; it is set aside again afterwards
        return thinning.thin_segment(folder, base, generation, which)


_STEPS: tuple[Step, ...] = (
    _complete_runs,
    _sent_records,
    _spare_checkpoints,
    _large_files,
    _checkpoints,
    _system_points,
    _all_points,
)
_LOSSLESS = 2
"""The first steps, by which nothing is lost."""
_FILES = 5
"""The first steps, which only remove files."""


def _clear_halves(folder: Path) -> None:
    """Remove what a death in the middle of thinning left; nobody else is at it while we hold the lock."""
    halves = (folder / folders.THINNED).with_suffix(folders.PARTIAL), *folder.glob(f"journal-*{folders.PARTIAL}")
    for path in (*segments.superseded(folder), *halves):
        _unlink(path)


def _give_up(run: _Run, file: Path, size: int) -> int:
    staging.give_up(file, "thinned")
    with contextlib.suppress(OSError):
        thinning.note(run.folder, Thinned(files=1, bytes=size))
    return size


def _remove(run: _Run) -> bool:
    """Remove a run's folder, unless its writer lives."""
    lock = FileLock(run.folder / folders.JOURNAL)
    try:
        if not lock.acquire():
            return False
    except OSError:
        return False  # another process was faster
    try:
        shutil.rmtree(run.folder, ignore_errors=True)
    finally:
        lock.release()
    return True


def _unlink(path: Path) -> int:
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        path.unlink()
        return size
    return 0


def _runs() -> list[_Run]:
    found = []
    for folder in folders.journals().iterdir():
        if (folder / folders.JOURNAL).exists():
            run = _Run(folder, sum(_sizes(folder)), position=folders.position(folder))
            with contextlib.suppress(OSError):
                run.changed = (folder / folders.JOURNAL).stat().st_mtime
                run.changed = (folder / folders.POSITION).stat().st_mtime
            found.append(run)
    return sorted(found, key=lambda run: run.changed)


def _sizes(folder: Path) -> Iterator[int]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(Path(entry.path))
            else:
                with contextlib.suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    # A checkpoint that is a hard link to the user's own file takes no room of its own.
                    yield facts.st_size if facts.st_nlink == 1 else 0


def main() -> None:
    """Make room, behind everything else that this computer does."""
    os.nice(10)
    with contextlib.suppress(OSError):  # a disk that fails has been said where the run is shown
        free_up()


if __name__ == "__main__":
    main()

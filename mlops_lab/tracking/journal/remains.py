"""What a process that died left behind: is its journal its own still, and the end that it did not write."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from ..model import End, Metric, Param, Record, Resume, Start, Tag
from . import folders, segments
from .checkpoints import left_behind
from .folders import JOURNAL
from .locks import FileLock

LOST = "mlops_lab.lost"
"""Tag of a run whose process died without a word."""
LOST_VALUES = "mlops_lab.lost.values"
"""Tag with the number of values that were still on a device then."""


def abandoned(folder: Path) -> bool:
    """Tell whether no living process writes this journal any more."""
    if not (folder / JOURNAL).exists():
        return False
    lock = FileLock(folder / JOURNAL)
    if not lock.acquire():
        return False
    lock.release()
    return True


def append_for_the_dead(folder: Path, records: list[Record]) -> bool:
    """Write `records` at the end of an abandoned journal; False when its writer lives after all."""
    lock = FileLock(folder / JOURNAL)
    if not lock.acquire():
        return False
    with contextlib.suppress(OSError):
        (folder / folders.RESERVE).unlink(missing_ok=True)
    try:
        # The newline ends a line that death tore; on a whole line it makes an empty one, which readers skip.
        lines = b"\n" + b"".join(segments.encode(record) for record in records)
        with open(segments.listed(folder)[-1].path, "ab", buffering=0) as stream:
            if stream.write(lines) != len(lines):
                raise folders.no_room()
    finally:
        lock.release()
    return True


def end_if_lost(folder: Path) -> list[Record]:
    """Write the end of a run that has none; give what the disk has no room for."""
    known = folders.position(folder)
    last, ended = 0, known.ended
    for record, _ in segments.records(folder, known.offset, known.generation):
        if isinstance(record, (Start, Metric, Resume)):
            last = max(last, record.time)
        if isinstance(record, (End, Resume)):
            ended = isinstance(record, End)
    if ended:
        return []
    # The end is when the journal was last written to; the clock may have jumped, so never before its last record.
    written = int(segments.listed(folder)[-1].path.stat().st_mtime * 1000)
    records: list[Record] = [*left_behind(folder), *lost_tags(folder)]
    records.append(End("KILLED", max(last, written), lost=True))
    try:
        append_for_the_dead(folder, records)
    except OSError:
        return records
    return []


def lost_tags(folder: Path) -> list[Tag]:
    """Give the tags of a run whose process died."""
    unread = _unread(folder)
    return [Tag(LOST, "true"), *([Tag(LOST_VALUES, str(unread))] if unread else [])]


@dataclass
class LeftOff:
    """Where a run stood when it ended."""

    records: int = 0
    time: int = 0
    """Of its last record."""
    steps: dict[str, int] = field(default_factory=dict)
    """Last step of every series."""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def left_off(folder: Path) -> LeftOff:
    """Read where the run in `folder` stood."""
    left = LeftOff()
    for record, _ in segments.read(folder):
        left.records += 1
        if isinstance(record, (Start, Metric, End, Resume)):
            left.time = max(left.time, record.time)
        if isinstance(record, Metric):
            left.steps[record.key] = record.step
        elif isinstance(record, Param):
            left.params.setdefault(record.key, record.value)
        elif isinstance(record, Tag):
            left.tags[record.key] = record.value
    return left


def _unread(folder: Path) -> int:
    try:
        return int.from_bytes((folder / folders.UNREAD).read_bytes()[:8], "little")
    except OSError:
        return 0

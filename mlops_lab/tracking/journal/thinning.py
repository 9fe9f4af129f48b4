"""Fewer points of the long series, for when there is no room for all of them; what decides over a curve stays.

Of a series that has more than :data:`LONG` points in one segment every second point goes, and on the next occasion
every second of the rest. Its first, last, smallest and largest point stay, and its first NaN. Nothing else is touched:
short series (a value per epoch), params, tags, inputs, artifacts, ends.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...wire import Number, from_number
from ..model import Thinned
from . import folders, segments

LONG = 200
"""Points of one series in one segment, above which it is thinned."""
LONG_SYSTEM = 20
"""The same for what is measured of the machine."""

SYSTEM = "system/"
"""MLflow's prefix of what is measured of the machine."""

_METRIC = b'{"record":"metric"'


class _Point(msgspec.Struct):
    key: str
    value: Number


_decoder: msgspec.json.Decoder[_Point] = msgspec.json.Decoder(_Point)

Which = Callable[[str], float]
"""Gives by its name how many points of a series stay at least."""


def any_series(name: str) -> float:
    """Every series may be thinned."""
    return LONG_SYSTEM if name.startswith(SYSTEM) else LONG


def system_series(name: str) -> float:
    """Only what is measured of the machine (use of CPU, memory, GPU), and not of the training."""
    return LONG_SYSTEM if name.startswith(SYSTEM) else math.inf


def thin(lines: list[bytes], which: Which = any_series) -> list[bytes]:
    """Leave out every second point of the series that are longer than `which` says; all else stays, in order."""
    series: dict[str, list[tuple[int, float]]] = {}
    for index, line in enumerate(lines):
        if line.startswith(_METRIC):
            with contextlib.suppress(msgspec.MsgspecError):
                point = _decoder.decode(line)
                series.setdefault(point.key, []).append((index, from_number(point.value)))
    gone: set[int] = set()
    for name, points in series.items():
        if len(points) > which(name):
            gone |= {index for index, _ in points} - _kept(points)
    return [line for index, line in enumerate(lines) if index not in gone] if gone else lines


def _kept(points: list[tuple[int, float]]) -> set[int]:
    kept = {index for index, _ in points[::2]}
    kept.add(points[-1][0])
    numbers = [(value, index) for index, value in points if not math.isnan(value)]
    if numbers:
        kept |= {min(numbers)[1], max(numbers)[1]}
    if len(numbers) < len(points):
        kept.add(next(index for index, value in points if math.isnan(value)))
    return kept


def squeeze(lines: list[bytes], room: int) -> tuple[list[bytes], int]:
    """Thin `lines` until they fit in `room` bytes or nothing more can go; gives the rest, and how many went."""
    before = len(lines)
    while sum(map(len, lines)) > room:
        fewer = thin(lines)
        if len(fewer) == len(lines):
            break
        lines = fewer
    return lines, before - len(lines)


def thin_segment(folder: Path, base: int, generation: int, which: Which) -> int:
    """Replace a segment that nobody writes any more by its thinner next generation; gives the bytes it freed.

    Raises
    ------
    OSError
        When there is no room even for the thinner one; the old one stays.
    """
    source = segments.path_of(folder, base, generation)
    content = source.read_bytes()
    lines = content.splitlines(keepends=True)
    fewer = thin(lines, which)
    if len(fewer) == len(lines):
        return 0
    target = segments.path_of(folder, base, generation + 1)
    partial = target.with_suffix(folders.PARTIAL)
    shorter = b"".join(fewer)
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as stream:
            stream.write(shorter)
            stream.flush()
            os.fsync(stream.fileno())
        # Counted first: a death between the two says too much rather than too little.
        note(folder, Thinned(points=len(lines) - len(fewer)))
        os.replace(partial, target)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    source.unlink(missing_ok=True)
    return len(content) - len(shorter)


def note(folder: Path, more: Thinned) -> None:
    """Count what was given up of the run in `folder`; only who holds the lock of :mod:`.retention` may.

    Raises
    ------
    OSError
        When the disk has no room even for that.
    """
    known = folders.thinned(folder)
    total = Thinned(known.points + more.points, known.files + more.files, known.bytes + more.bytes)
    if not folders.replace(folder / folders.THINNED, msgspec.json.encode(total)):
        raise folders.no_room()

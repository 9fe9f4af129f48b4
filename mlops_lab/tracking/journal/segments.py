"""The lines of a journal. They lie in segments, so that old ones can be thinned or removed while the last is written.

The first segment is ``journal.jsonl``; every other is named after its base, the number of bytes that were written
before it. A place in the journal is a base plus the bytes read since. Thinning replaces a segment by a shorter one of
the next generation; whoever stood in the middle of the older one begins that segment again, which does no harm,
because what is sent twice is stored once.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from ..errors import JournalUnreadable
from ..model import SCHEMA_VERSION, Position, Record, Start, sound
from .folders import JOURNAL

_NAME = re.compile(r"journal-(\d{14})(?:\.t(\d+))?\.jsonl")
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class Segment(NamedTuple):
    """One file of a journal."""

    base: int
    """Bytes that were written before it."""
    generation: int
    """How often it was thinned."""
    path: Path


class Line(NamedTuple):
    """One complete line, and the place after it."""

    text: bytes
    offset: int
    generation: int


def path_of(folder: Path, base: int, generation: int = 0) -> Path:
    """Give the path of a segment."""
    if base == 0:
        return folder / JOURNAL
    return folder / f"journal-{base:014d}{f'.t{generation}' if generation else ''}.jsonl"


def encode(record: Record) -> bytes:
    """Give the line of one record."""
    try:
        return _encoder.encode(record) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_sound(msgspec.to_builtins(record))) + b"\n"


def listed(folder: Path) -> list[Segment]:
    """List the segments in order, of each the latest generation."""
    latest: dict[int, Segment] = {}
    for path in folder.iterdir():
        segment = _segment(path)
        if segment is not None and segment.generation >= latest.get(segment.base, segment).generation:
            latest[segment.base] = segment
    return [latest[base] for base in sorted(latest)]


def superseded(folder: Path) -> list[Path]:
    """List the segments that a later generation has replaced, which a death in the middle of thinning leaves."""
    keep = {segment.path for segment in listed(folder)}
    return [path for path in folder.iterdir() if _segment(path) is not None and path not in keep]


def lines(folder: Path, offset: int = 0, generation: int = 0) -> Iterator[Line]:
    """Read the complete lines from a place on.

    A last line without its newline is left for the next call: it is still being written. In a segment that another
    one follows such a line was torn by a full disk, and is passed over.
    """
    base = -1
    while True:
        segment = _next(folder, base, offset)
        if segment is None:
            return
        inside = offset - segment.base if base < 0 and segment.generation == generation else 0
        place = segment.base + max(inside, 0)
        with contextlib.suppress(FileNotFoundError), open(segment.path, "rb") as stream:
            base = segment.base  # without the file it was thinned at this very moment: the list has changed
            stream.seek(place - segment.base)
            for line in _to_the_end(folder, segment, stream):
                place += len(line)
                yield Line(line, place, segment.generation)


def records(folder: Path, offset: int = 0, generation: int = 0) -> Iterator[tuple[Record, Line]]:
    """Read the records from a place on; a line that is none is passed over.

    Raises
    ------
    JournalUnreadable
        When the journal's schema is newer than this mlops_lab.
    """
    for line in lines(folder, offset, generation):
        try:
            record = _decoder.decode(line.text)
        except msgspec.MsgspecError:
            continue
        if isinstance(record, Start) and record.schema_version > SCHEMA_VERSION:
            raise JournalUnreadable(
                f"The journal {folder.name} was written by a newer mlops_lab.", "Update mlops_lab to send it."
            )
        yield record, line


def read(folder: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Read a journal's records from byte `offset` on, each with the offset after it; see :func:`records`."""
    for record, line in records(folder, offset):
        yield record, line.offset


def more(folder: Path, position: Position) -> bool:
    """Tell whether the journal holds records that come after `position`."""
    known = listed(folder)
    if known and known[-1].base <= position.offset:
        behind = position.offset - known[-1].base
        if known[-1].generation == position.generation and known[-1].path.stat().st_size <= behind:
            return False
    return next(records(folder, position.offset, position.generation), None) is not None


def complete(folder: Path, position: Position) -> bool:
    """Tell whether a server has everything of the run, what was still to be looked through included."""
    unscreened = any((folder / staged.file).exists() for staged in position.unscreened)
    return position.complete and not unscreened and not more(folder, position)


def _sound(value: Any) -> Any:
    if isinstance(value, dict):
        return {sound(key): _sound(item) for key, item in value.items()}
    return sound(value) if isinstance(value, str) else value


def _segment(path: Path) -> Segment | None:
    if path.name == JOURNAL:
        return Segment(0, 0, path)
    found = _NAME.fullmatch(path.name)
    return Segment(int(found[1]), int(found[2] or 0), path) if found else None


def _next(folder: Path, base: int, offset: int) -> Segment | None:
    """Give the segment after the one at `base`; where reading begins (`base` below 0), the one that holds `offset`."""
    try:
        known = listed(folder)
    except FileNotFoundError:
        return None
    if base >= 0:
        return next((segment for segment in known if segment.base > base), None)
    holds = [segment for segment in known if segment.base <= offset]
    return holds[-1] if holds else next(iter(known), None)


def _to_the_end(folder: Path, segment: Segment, stream: BinaryIO) -> Iterator[bytes]:
    sealed = False
    while True:
        for line in stream:
            if line.endswith(b"\n"):
                yield line
            else:
                stream.seek(-len(line), 1)
                break
        if sealed or _next(folder, segment.base, 0) is None:
            return
        sealed = True  # what was written between our last look and the beginning of the next segment

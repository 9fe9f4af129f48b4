"""Pickles, and checkpoints made of them: the texts in them are found and rewritten without loading anything.

A pickle is a program. It is read here instruction by instruction, as :mod:`pickletools` does, and never run.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import binaries
from .content import Content, Stream
from .examination import Examination
from .pickle_values import followed

_MOST_STEPS = 5_000_000
_LARGEST_TEXT = 16 * 2**20
_MOST_PICKLES = 64
_OLD_BEGIN = b"(]}lcIFLNSUVGJKMTd"
_LARGEST_OLD = 64 * 2**20
_FIXED = re.compile(r"[<>|=]?([US])(\d{1,6})")


class Step(NamedTuple):
    """One instruction."""

    name: str
    start: int
    stop: int
    argument: str | bytes | int | None
    """Where it is of use."""


def is_old(head: bytes, content: Content) -> bool:
    """Tell whether a whole file is one pickle of protocol 0 or 1, which begins with no mark."""
    if head[:1] not in {bytes([mark]) for mark in _OLD_BEGIN} or not 8 <= content.size <= _LARGEST_OLD:
        return False
    if content.read(content.size - 1, content.size) != b".":
        return False
    try:
        steps = _steps(content, 0)
    except ValueError:
        return False
    return bool(steps) and steps[-1].stop == content.size


def read(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the pickles that a file begins with; what follows the last, such as storages, stays."""
    pieces: list[bytes | Content] = []
    changed = False
    at = 0
    for number in range(_MOST_PICKLES):
        if number and not re.match(rb"\x80[\x02-\x05]", content.read(at, at + 2)):
            break
        try:
            steps = _steps(content, at)
        except ValueError:
            if number == 0:
                return binaries.read(examination, content)
            break  # a number at the begin of a storage that looks like a pickle
        new = _rewritten(examination, content, steps)
        stop = steps[-1].stop
        changed |= new is not None
        pieces += new if new is not None else [content.part(at, stop)]
        at = stop
    return [*pieces, content.part(at, content.size)] if changed else None


def _steps(content: Content, start: int) -> list[Step]:
    """Read one pickle.

    Raises
    ------
    ValueError
        When there is none.
    """
    stream = io.BufferedReader(Stream(content), 1 << 16)
    stream.seek(start)
    steps: list[Step] = []
    before: tuple[pickletools.OpcodeInfo, object, int] | None = None
    for opcode, argument, position in pickletools.genops(stream):
        if before is not None:
            steps.append(_step(*before, position or 0))
        before = opcode, argument, position or 0
        if len(steps) > _MOST_STEPS:
            raise ValueError
    if before is None:
        raise ValueError
    steps.append(_step(*before, before[2] + 1))
    return steps


def _step(opcode: pickletools.OpcodeInfo, argument: object, start: int, stop: int) -> Step:
    if isinstance(argument, (bytearray, memoryview)):
        argument = bytes(argument)
    useful = isinstance(argument, int) or (isinstance(argument, (str, bytes)) and len(argument) <= _LARGEST_TEXT)
    return Step(opcode.name, start, stop, argument if useful else None)  # type: ignore[arg-type]


def _rewritten(examination: Examination, content: Content, steps: Sequence[Step]) -> list[bytes | Content] | None:
    edits = dict(_edits(examination, steps))
    if not edits:
        return None
    pieces: list[bytes | Content] = []
    at = steps[0].start
    for number, step in enumerate(steps):
        new = edits.get(number)
        if new is None and step.name == "FRAME":
            new = b""  # frames are optional, and their lengths no longer hold
        if new is not None:
            pieces += [content.part(at, step.start), new]
            at = step.stop
    pieces.append(content.part(at, steps[-1].stop))
    return pieces


def _edits(examination: Examination, steps: Sequence[Step]) -> Iterator[tuple[int, bytes]]:
    """Give the number of each instruction that changes, and what takes its place."""
    try:
        named, kept = followed(steps)
    except (IndexError, KeyError):
        named, kept = {}, set()  # it would not load either
    width: tuple[str, int] | None = None
    for number, step in enumerate(steps):
        argument, label = step.argument, named.get(number)
        if isinstance(argument, str) and number not in kept and _is_text(step):
            fixed = _FIXED.fullmatch(argument)
            if fixed is not None:
                width = fixed[1], int(fixed[2])
            elif "\0" in argument or (width is not None and width[0] == "S"):
                yield from _raw(examination, number, step, argument.encode("latin-1", "replace"), width)
            changed = examination.value(label, argument) if label else examination.text(argument)
            if changed != argument and "\0" not in argument:
                yield number, _text(step, changed)
        elif isinstance(argument, bytes):
            yield from _raw(examination, number, step, argument, width)
        elif isinstance(argument, int) and label and "INT" in step.name + "INT" * step.name.startswith("LONG"):
            changed = examination.value(label, str(argument))
            if changed != str(argument):
                yield number, _unicode(changed)


def _is_text(step: Step) -> bool:
    return step.name.endswith(("STRING", "UNICODE", "UNICODE8"))


def _raw(
    examination: Examination, number: int, step: Step, data: bytes, width: tuple[str, int] | None
) -> Iterator[tuple[int, bytes]]:
    """Screen the bytes of an array of texts, or of anything else."""
    if width is not None and width[1] and len(data) % (width[1] * (4 if width[0] == "U" else 1)) == 0:
        new = _array(examination, data, *width)
    else:
        new = binaries.overwritten(examination, data) if len(data) <= _LARGEST_TEXT else data
    if new != data:
        yield number, _text(step, new.decode("latin-1")) if _is_text(step) else _bytes(step, new)


def _array(examination: Examination, data: bytes, code: str, characters: int) -> bytes:
    encoding, size = ("utf-32-le", 4 * characters) if code == "U" else ("latin-1", characters)
    items = []
    for at in range(0, len(data), size):
        raw = data[at : at + size]
        text = raw.decode(encoding, "replace").rstrip("\0")
        changed = examination.text(text) if text else text
        items.append(raw if changed == text else changed.encode(encoding, "replace")[:size].ljust(size, b"\0"))
    return b"".join(items)


def _text(step: Step, text: str) -> bytes:
    """Write an instruction that gives `text`, of the kind that stood there."""
    if step.name == "STRING":
        return b"S" + repr(text).encode("ascii", "backslashreplace") + b"\n"
    if step.name == "UNICODE":
        escaped = (
            text.replace("\\", "\\u005c").replace("\0", "\\u0000").replace("\n", "\\u000a").replace("\r", "\\u000d")
        )
        return b"V" + escaped.encode("raw-unicode-escape") + b"\n"
    if step.name in ("BINSTRING", "SHORT_BINSTRING"):
        data = text.encode("latin-1", "replace")
        return b"T" + struct.pack("<i", len(data)) + data
    return _unicode(text)


def _unicode(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _bytes(step: Step, data: bytes) -> bytes:
    if step.name == "BYTEARRAY8":
        return b"\x96" + struct.pack("<Q", len(data)) + data
    if step.name == "BINBYTES8":
        return b"\x8e" + struct.pack("<Q", len(data)) + data
    return b"B" + struct.pack("<I", len(data)) + data

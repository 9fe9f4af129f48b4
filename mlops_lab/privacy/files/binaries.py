"""Formats that are not known here: the texts in them are found, and overwritten at their length."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import NoReturn

from .. import secrets
from ..edits import merged
from ..model import Hit, Kind
from .content import Content
from .examination import Blocked, Examination

_SHORTEST = 8
_OVERLAP = 4096
_AT_ONCE = 128 * 2**10
"""Bytes that are searched in one piece: while one search runs, no other thread of Python does."""
_ASCII = re.compile(rb"[\x09\x20-\x7e]{%d,}" % _SHORTEST)
_UTF_8 = re.compile(rb"(?<=[\x20-\x7e])[\xc3-\xc5][\x80-\xbf](?=[\x20-\x7e\xc3-\xc5])")
_AROUND = re.compile(rb"(?:[\x09\x20-\x7e]|[\xc3-\xc5][\x80-\xbf]){%d,}" % _SHORTEST)
_WIDE = re.compile(rb"[\x20-\x7e]\0(?:[\x20-\x7e\xc0-\xff]\0){%d,}" % (_SHORTEST - 1))
_WIDER = re.compile(rb"[\x20-\x7e]\0\0\0(?:[\x20-\x7e\xc0-\xff]\0\0\0){%d,}" % (_SHORTEST - 1))
_WINDOW = 256
_READABLE = 16
"""Characters in a row that are text and no accident."""
_CERTAIN = frozenset({Kind.KNOWN, Kind.NHS_NUMBER, Kind.HOSPITAL_NUMBER})
_CAPITALS = re.compile(r"[A-Z]{3,}\^[A-Z]{3,}|[A-Z][a-z]{2,}\^[A-Z][a-z]{2,}")


def sealed() -> NoReturn:
    """Refuse an archive that cannot be opened.

    Raises
    ------
    Blocked
    """
    raise Blocked(Kind.UNREADABLE, "it is an archive that cannot be looked into. Pack it as zip or tar.gz instead.")


def read(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the texts in a binary file whose format is not known."""
    pieces: list[bytes | Content] = []
    changed = False
    at = 0
    while at < content.size:
        stop = min(content.size, at + _AT_ONCE)
        data = content.read(at, min(content.size, stop + _OVERLAP))
        new = overwritten(examination, data)
        examination.breathe()
        if new != data:
            changed = True
            pieces.append(new[: stop - at])
            if new[stop - at :] != data[stop - at :]:
                # An identifier that crosses the border of two chunks: the second is read as it was changed.
                pieces.append(new[stop - at :])
                stop = min(content.size, stop + _OVERLAP)
        else:
            pieces.append(content.part(at, stop))
        at = stop
    if changed and _has_checksums(content):
        raise Blocked(
            Kind.UNREADABLE, "it holds an identifier, and its format does not allow to replace it. Leave it out."
        )
    return pieces if changed else None


def overwritten(examination: Examination, data: bytes) -> bytes:
    """Give `data` with what identifies somebody overwritten; its length stays."""
    new = bytearray(data)
    for begin, text, encoding, width in _texts(data):
        # A short text among numbers is one only where its end or its length is marked.
        after = begin + len(text) * width
        framed = data[after : after + 1] in (b"", b"\0") or data[max(0, begin - 1) : begin] == bytes([len(text) & 0xFF])
        for start, stop, replacement in changes(examination, text, framed):
            at = begin + start * width
            new[at : at + (stop - start) * width] = fitted(replacement, stop - start).encode(encoding)
    return bytes(new)


def _texts(data: bytes) -> Iterator[tuple[int, str, str, int]]:
    """Give begin, text, encoding and bytes per character of everything that may be text."""
    for pattern, encoding, width in ((_ASCII, "latin-1", 1), (_WIDE, "utf-16-le", 2), (_WIDER, "utf-32-le", 4)):
        for found in pattern.finditer(data):
            yield found.start(), found[0].decode(encoding, "replace"), encoding, width
    reached = 0
    for letter in _UTF_8.finditer(data):
        if letter.start() < reached:
            continue
        for around in _AROUND.finditer(data, max(0, letter.start() - _WINDOW), letter.end() + _WINDOW):
            if around.start() < letter.start() < around.end():
                yield around.start(), _spread(around[0]), "latin-1", 1
                reached = around.end()


def fitted(replacement: str, size: int) -> str:
    """Give something of `size` characters that says what stood there, if it fits."""
    plain = replacement.encode("ascii", "replace").decode()
    return plain.ljust(size) if len(plain) <= size else "x" * size


def changes(examination: Examination, text: str, framed: bool | None = None) -> list[tuple[int, int, str]]:
    """Give begin, end and replacement of what is to be overwritten in a text.

    `framed` tells of a text that was found among other bytes whether its end is marked; None where it surely is one.
    """
    found = [
        (hit.start, hit.stop, hit.replacement)
        for hit in merged(examination.guard.hits(text, "binary"))
        if (framed is None or _plausible(hit, text, framed)) and examination.note(hit.kind)
    ]
    masked = examination.guard.masked(text)
    if masked != text and examination.note(Kind.SECRET):
        start = _common(text, masked)
        stop = len(text) - _common(text[:start:-1], masked[:start:-1])
        found = [change for change in found if change[1] <= start or change[0] >= stop]
        found.append((start, max(start, stop), secrets.MASK))
    return found


def _common(one: str, other: str) -> int:
    """Give how many characters two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _plausible(hit: Hit, text: str, framed: bool) -> bool:
    """Tell whether a hit is more than chance: among numbers that are no text, some bytes look like a short name."""
    if len(text) >= _READABLE or hit.kind in _CERTAIN:
        return True
    if hit.kind is Kind.NAME:
        return framed and _CAPITALS.match(text, hit.start) is not None
    return framed and hit.stop - hit.start >= _SHORTEST


def _spread(raw: bytes) -> str:
    """Decode UTF-8 with one character for each byte, so that positions stay."""
    text = raw.decode("utf-8", "replace")
    return "".join(letter + "\u200b" * (len(letter.encode()) - 1) for letter in text)


def _has_checksums(content: Content) -> bool:
    """Tell whether it is a file of TensorBoard events, whose records carry a checksum of their own."""
    head = content.read(0, 64)
    if len(head) < 16:
        return False
    (size,) = struct.unpack_from("<Q", head)
    return size < 4096 and (b"brain.Event" in head or (size + 16 <= content.size and head[12:13] == b"\x09"))

"""Texts in pictures: PNG's chunks, JPEG's comments and EXIF, TIFF's tags. Pixels are not looked at."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from ..model import Kind
from . import binaries
from .content import Content
from .examination import LARGEST_CHANGED, Blocked, Examination

_LARGEST_TEXT = 32 * 2**20
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf"})
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MOST_DIRECTORIES = 10_000


def png(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the text chunks of a PNG file (W3C PNG 11.3.3), and what stands behind its end."""
    pieces: list[bytes | Content] = [content.part(0, 8)]
    changed = False
    at = 8
    while at + 12 <= content.size:
        size, name = struct.unpack(">I4s", content.read(at, at + 8))
        stop = at + 12 + size
        if name in _TEXTS and stop <= content.size:
            if size > _LARGEST_TEXT:
                raise Blocked(
                    Kind.UNREADABLE, "it is a picture with a text too large to be looked through. Save it anew."
                )
            data = content.read(at + 8, at + 8 + size)
            new = _chunk(examination, name, data)
            if new != data:
                changed = True
                pieces.append(struct.pack(">I4s", len(new), name) + new + struct.pack(">I", zlib.crc32(name + new)))
                at = stop
                continue
        pieces.append(content.part(at, stop))
        at = stop
        if name == b"IEND":
            break
    rest = _rest(examination, content, at)
    if rest is not None:
        return [*pieces, *rest]
    return [*pieces, content.part(at, content.size)] if changed else None


def _rest(examination: Examination, content: Content, at: int) -> Sequence[bytes | Content] | None:
    return binaries.read(examination, content.part(at, content.size)) if at < content.size else None


def _chunk(examination: Examination, name: bytes, data: bytes) -> bytes:
    if name == b"eXIf":
        return binaries.overwritten(examination, data)
    keyword, _, rest = data.partition(b"\0")
    key = keyword.decode("latin-1")
    if name == b"tEXt":
        return keyword + b"\0" + _value(examination, key, rest, "latin-1")
    if name == b"zTXt":
        text = _inflated(rest[1:])
        new = _value(examination, key, text, "latin-1")
        return data if new == text else keyword + b"\0\0" + zlib.compress(new)
    packed, method = rest[:1], rest[1:2]
    language, _, rest = rest[2:].partition(b"\0")
    translated, _, body = rest.partition(b"\0")
    text = _inflated(body) if packed == b"\1" else body
    new = _value(examination, key, text, "utf-8")
    if new == text:
        return data
    begin = keyword + b"\0" + packed + method + language + b"\0" + translated + b"\0"
    return begin + (zlib.compress(new) if packed == b"\1" else new)


def _value(examination: Examination, key: str, data: bytes, encoding: str) -> bytes:
    text = data.decode(encoding, "surrogateescape")
    kind = "xml" if text.lstrip()[:1] == "<" else "text"
    changed = examination.text(text, kind) if kind == "xml" else examination.value(key, text)
    return (
        data if changed == text else changed.encode(encoding, "surrogateescape" if encoding == "utf-8" else "replace")
    )


def _inflated(data: bytes) -> bytes:
    text = zlib.decompressobj().decompress(data, _LARGEST_TEXT)
    if len(text) >= _LARGEST_TEXT:
        raise Blocked(Kind.UNREADABLE, "it is a picture with a text too large to be looked through. Save it anew.")
    return text


def jpeg(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the comments and application segments of a JPEG file (ITU T.81 B.2.4)."""
    pieces: list[bytes | Content] = [content.part(0, 2)]
    changed = False
    at = 2
    while at + 4 <= content.size:
        begin = content.read(at, at + 4)
        mark, size = begin[1], struct.unpack(">H", begin[2:])[0]
        if begin[0] != 0xFF or mark == 0xDA:
            break  # the picture itself
        stop = at + 2 + size
        if mark == 0xFE or 0xE1 <= mark <= 0xEF:
            data = content.read(at + 4, stop)
            new = _segment(examination, mark, data)
            if new != data and len(new) + 2 <= 0xFFFF:
                changed = True
                pieces.append(struct.pack(">BBH", 0xFF, mark, len(new) + 2) + new)
                at = stop
                continue
        pieces.append(content.part(at, stop))
        at = stop
    return [*pieces, content.part(at, content.size)] if changed else None


def _segment(examination: Examination, mark: int, data: bytes) -> bytes:
    if mark == 0xFE:
        return _value(examination, "", data, "utf-8")
    if data.startswith(_XMP):
        return _XMP + _value(examination, "", data[len(_XMP) :], "utf-8")
    return binaries.overwritten(examination, data)


def tiff(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the texts that the directories of a TIFF file point to (TIFF 6.0, section 2), at their length."""
    order = "<" if content.read(0, 1) == b"I" else ">"
    edits: list[tuple[int, bytes]] = []
    (following,) = struct.unpack(f"{order}I", content.read(4, 8))
    seen: set[int] = set()
    waiting = [int(following)]
    while waiting and len(seen) < _MOST_DIRECTORIES:
        at = waiting.pop()
        if at in seen or not 8 <= at < content.size:
            continue
        seen.add(at)
        (count,) = struct.unpack(f"{order}H", content.read(at, at + 2))
        table = content.read(at + 2, at + 2 + 12 * count + 4)
        for entry in range(min(count, len(table) // 12)):
            tag, kind, length = struct.unpack_from(f"{order}HHI", table, 12 * entry)
            (value,) = struct.unpack_from(f"{order}I", table, 12 * entry + 8)
            if tag in (0x8769, 0x8825):  # EXIF and GPS are directories of their own
                waiting.append(value)
            size = length if kind in (1, 2, 6, 7) else 0
            if size < 4 or size > LARGEST_CHANGED or tag in (273, 279, 324, 325, 347, 37500):
                continue
            place = value if size > 4 else at + 2 + 12 * entry + 8
            data = content.read(place, place + size)
            new = binaries.overwritten(examination, data)
            if new != data:
                edits.append((place, new))
        if len(table) >= 12 * count + 4:
            waiting.append(struct.unpack_from(f"{order}I", table, 12 * count)[0])
    return _edited(content, edits) if edits else None


def _edited(content: Content, edits: list[tuple[int, bytes]]) -> Sequence[bytes | Content]:
    pieces: list[bytes | Content] = []
    at = 0
    for place, new in sorted(edits):
        if place < at:
            continue
        pieces += [content.part(at, place), new]
        at = place + len(new)
    return [*pieces, content.part(at, content.size)]

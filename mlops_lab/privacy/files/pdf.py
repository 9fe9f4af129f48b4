"""PDF: its titles and the texts on its pages, as far as they can be read; what is found is overwritten at its length.

Pages of Matplotlib, LaTeX and browsers spell their text in strings, often cut up for kerning and packed with zlib.
Fonts whose letters have codes of their own, such as those of scanned or exported documents, are not read.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from ..model import Kind
from . import binaries
from .content import Content
from .examination import Blocked, Examination

_STREAM = re.compile(rb"<<((?:[^>]|>(?!>)|>>(?=\s*/|\s*>>)){0,4000}?)>>\s*stream\r?\n")
_END = re.compile(rb"\r?\n?endstream")
_STRING = re.compile(rb"\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\)|<[0-9A-Fa-f\s]{4,}>", re.DOTALL)
_SHOWN = re.compile(rb"BT\b(.*?)\bET\b", re.DOTALL)
_ESCAPE = re.compile(rb"\\([nrtbf()\\]|[0-7]{1,3}|\r?\n)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_OBJECTS = b"/ObjStm"
_LARGEST = 64 * 2**20
_ADVICE = "Leave the identifier out of the figure, or save it as PNG."


class _Letter(NamedTuple):
    """One character as a PDF string spells it."""

    text: str
    start: int
    stop: int
    hexadecimal: bool = False


_Edit = tuple[_Letter, int]
"""A character, and the code of what is written over it."""


def read(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen a PDF file."""
    if content.size > _LARGEST:
        raise Blocked(Kind.UNREADABLE, f"it is a PDF of more than {_LARGEST >> 20} MB. Make it smaller.")
    data = content.whole()
    if b"/Encrypt" in data:
        raise Blocked(Kind.UNREADABLE, "it is an encrypted PDF. Save it without a password.")
    if b" obj" not in data:
        raise Blocked(Kind.UNREADABLE, "it calls itself a PDF and holds no object of one. Write it anew.")
    new = bytearray(data)
    at = 0
    for begin, stop, packed in _streams(data):
        _outside(examination, new, at, begin)
        at = stop
        if packed is None:
            continue
        old = _inflated(data[begin:stop]) if packed else data[begin:stop]
        if old is None or not (_is_page(old) or _OBJECTS in data[max(0, begin - 400) : begin]):
            continue
        edits = _page(examination, old)
        if edits:
            new[begin:stop] = _fitted(old, edits, packed, stop - begin)
    _outside(examination, new, at, len(new))
    return None if new == data else [bytes(new)]


def _streams(data: bytes) -> list[tuple[int, int, bool | None]]:
    """Give begin and end of each stream, and whether it is packed; None where it is no text."""
    found = []
    at = 0
    while (begin := _STREAM.search(data, at)) is not None:
        declared = re.search(rb"/Length\s+(\d+)(?!\s+\d+\s+R)", begin[1])
        end = None
        if declared is not None:
            end = _END.match(data, begin.end() + int(declared[1]))
        end = end or _END.search(data, begin.end())
        stop = end.start() if end is not None else len(data)
        packed: bool | None = b"/FlateDecode" in begin[1]
        if not packed and b"/Filter" in begin[1]:
            packed = None
        if b"/Image" in begin[1] or b"/FontFile" in begin[1]:
            packed = None
        found.append((begin.end(), stop, packed))
        at = end.end() if end is not None else len(data)
    return found


def _inflated(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(data, _LARGEST)
    except zlib.error:
        return None


def _is_page(data: bytes) -> bool:
    return (b"BT" in data and any(mark in data for mark in (b"Tj", b"TJ", b"'"))) or _is_metadata(data)


def _is_metadata(data: bytes) -> bool:
    return b"<x:xmpmeta" in data or b"<?xpacket" in data


def _fitted(old: bytes, edits: Sequence[_Edit], packed: bool, size: int) -> bytes:
    """Write a page anew in `size` bytes: every offset of the file stays."""
    spelled = bytearray(old)
    for letter, sign in edits:
        _spell(spelled, letter, sign)
    if not packed:
        return bytes(spelled)
    data = zlib.compress(bytes(spelled), 9)
    if len(data) > size:
        # A placeholder may pack worse than what stood there; nothing at all does not.
        for letter, _ in sorted(edits, key=lambda edit: -edit[0].start):
            del spelled[letter.start : letter.stop]
        data = zlib.compress(bytes(spelled), 9)
    if len(data) > size or (b"BT" not in old and len(spelled) != len(old)):
        raise Blocked(Kind.UNREADABLE, f"an identifier on a page of this PDF cannot be replaced. {_ADVICE}")
    return data.ljust(size, b"\n")


def _page(examination: Examination, data: bytes) -> list[_Edit]:
    """Find what has to be overwritten on a page, or in the metadata of one."""
    if _is_metadata(data):
        text = data.decode("latin-1")
        return _changed(examination, [_Letter(letter, at, at + 1) for at, letter in enumerate(text)])
    edits: list[_Edit] = []
    if b"BT" not in data:  # objects packed together, whose offsets have to stay
        for string in _STRING.finditer(data):
            edits += _changed(examination, _letters(data, *string.span()))
        return edits
    for shown in _SHOWN.finditer(data):
        letters = []
        for string in _STRING.finditer(data, shown.start(1), shown.end(1)):
            letters += _letters(data, *string.span())
        edits += _changed(examination, letters)
    return edits


def _outside(examination: Examination, new: bytearray, start: int, stop: int) -> None:
    """Screen the strings between streams: titles, authors, links, comments."""
    for string in _STRING.finditer(bytes(new[start:stop])):
        letters = _letters(string[0], 0, len(string[0]))
        base = start + string.start()
        for letter, sign in _changed(examination, letters):
            _spell(new, letter._replace(start=base + letter.start, stop=base + letter.stop), sign)


def _changed(examination: Examination, letters: Sequence[_Letter]) -> list[_Edit]:
    text = "".join(letter.text for letter in letters)
    edits: list[_Edit] = []
    for start, stop, replacement in binaries.changes(examination, text) if text.strip() else ():
        filling = binaries.fitted(replacement, stop - start)
        edits += zip(letters[start:stop], filling.encode("latin-1", "replace"), strict=False)
    return edits


def _spell(new: bytearray, letter: _Letter, sign: int) -> None:
    """Write the character `sign` over another, spelled in as many bytes: plain, escaped, in two bytes, hexadecimal."""
    begin, stop = letter.start, letter.stop
    old = bytes(new[begin:stop])
    if sign in b"()\\":
        sign = ord("x")
    plain = bytes([sign])
    if letter.hexadecimal:
        spelled = b"%0*x" % (len(old), sign)
    elif old[:1] == b"\\":
        spelled = b"\\%03o" % sign if len(old) == 4 else b"\\n".ljust(len(old))
    else:
        spelled = plain.rjust(len(old), b"\0")
    new[begin:stop] = spelled


def _letters(data: bytes, start: int, stop: int) -> list[_Letter]:
    """Read a string: its characters, and where they stand."""
    if data[start : start + 1] == b"<":
        return _hexadecimal(data, start + 1, stop - 1)
    found: list[tuple[int, int, int]] = []
    at = start + 1
    while at < stop - 1:
        escape = _ESCAPE.match(data, at, stop - 1) if data[at] == 0x5C else None
        if escape is None:
            found.append((data[at], at, at + 1))
            at += 1
            continue
        code = escape[1]
        if code[:1].isdigit():
            found.append((int(code, 8) & 0xFF, at, escape.end()))
        elif not code.endswith(b"\n"):
            found.append((_ESCAPES.get(code, code)[0], at, escape.end()))
        at = escape.end()
    return _joined(found)


def _hexadecimal(data: bytes, start: int, stop: int) -> list[_Letter]:
    digits = [at for at in range(start, stop) if data[at : at + 1].strip()]
    pairs = zip(digits[::2], digits[1::2], strict=False)
    codes = [(int(bytes((data[a], data[b])), 16), a, b + 1) for a, b in pairs if b == a + 1]
    return [letter._replace(hexadecimal=True) for letter in _joined(codes)]


def _joined(codes: Sequence[tuple[int, int, int]]) -> list[_Letter]:
    """Join two bytes to a character where a font or a title has two."""
    values = [code for code, _, _ in codes]
    if values[:2] == [0xFE, 0xFF]:
        codes = codes[2:]
        values = values[2:]
    elif not (len(values) >= 2 and len(values) % 2 == 0 and not any(values[::2]) and any(values[1::2])):
        return [_Letter(chr(value) if value else "", start, stop) for value, start, stop in codes if value]
    pairs = zip(codes[::2], codes[1::2], strict=False)
    return [_Letter(chr(high[0] << 8 | low[0]), high[1], low[2]) for high, low in pairs]

"""Arrays that hold more than numbers: texts and objects in ``.npy``, metadata in ``.safetensors``."""

from __future__ import annotations

import ast
import json
import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..model import Kind
from . import pickles
from .content import Content
from .examination import Blocked, Examination

_LONGEST_HEADER = 64 * 2**20


class _Text(NamedTuple):
    """A text of fixed size in each item of an array."""

    name: str
    offset: int
    dtype: str
    size: int
    """Bytes."""


def npy(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the texts of a NumPy array; an array of numbers is not read."""
    head = content.read(0, 12)
    wide = head[6] >= 2
    (size,) = struct.unpack_from("<I" if wide else "<H", head, 8)
    start = (12 if wide else 10) + size
    header = ast.literal_eval(content.read(start - size, start).decode("utf-8" if head[6] >= 3 else "latin-1").strip())
    kind = header["descr"]
    count = math.prod(header["shape"])
    body = content.part(start, content.size)
    if _holds_objects(kind):
        changed = pickles.read(examination, body)
        return None if changed is None else [content.part(0, start), *changed]
    fields = _texts(kind)
    if not fields or not count:
        return None
    data = examination.changeable(body)
    width = _width(kind)
    if width <= 0 or width * count > len(data):
        raise Blocked(Kind.UNREADABLE, "it is an array whose header does not fit its data. Save it anew.")
    new = bytearray(data)
    for item in range(count):
        for field in fields:
            begin = item * width + field.offset
            raw = data[begin : begin + field.size]
            new[begin : begin + field.size] = _screened(examination, raw, field)
    return None if new == data else [content.part(0, start), bytes(new), body.part(len(data), body.size)]


def is_plain(head: bytes) -> bool:
    """Tell whether `head` begins an array that holds numbers only."""
    if not head.startswith(b"\x93NUMPY"):
        return False
    at = 12 if head[6] >= 2 else 10
    described = head[at : at + 2000].split(b"}")[0]
    return b"O" not in described.split(b"descr")[-1].split(b",")[0] and not any(
        mark in described for mark in (b"U", b"S", b"'V", b"[(", b"O'")
    )


def _screened(examination: Examination, raw: bytes, field: _Text) -> bytes:
    encoding = "latin-1" if field.dtype[1] == "S" else "utf-32-be" if field.dtype[0] == ">" else "utf-32-le"
    text = raw.decode(encoding, "replace").rstrip("\0")
    changed = examination.value(field.name, text) if text else text
    return raw if changed == text else changed.encode(encoding, "replace")[: field.size].ljust(field.size, b"\0")


def _holds_objects(kind: Any) -> bool:
    if isinstance(kind, str):
        return kind[-1:] == "O" or "O" in kind[:2]
    if isinstance(kind, list):
        return any(_holds_objects(field[1]) for field in kind)
    return isinstance(kind, tuple) and _holds_objects(kind[0])


def _width(kind: Any) -> int:
    """Give the bytes of one item of a dtype as a header describes it."""
    if isinstance(kind, str):
        digits = "".join(letter for letter in kind.split("[")[0] if letter.isdigit())
        size = int(digits) if digits else 0
        return size * 4 if kind[1:2] == "U" else 8 if kind[1:2] in "Mm" else size
    if isinstance(kind, list):
        return sum(_width(field[1]) * math.prod(field[2] if len(field) > 2 else ()) for field in kind)
    raise Blocked(Kind.UNREADABLE, "it is an array of a kind that is not known here. Save its texts as CSV instead.")


def _texts(kind: Any, offset: int = 0, name: str = "") -> list[_Text]:
    """Find the texts in one item."""
    if isinstance(kind, str):
        return [_Text(name, offset, kind, _width(kind))] if kind[1:2] in ("U", "S") else []
    found: list[_Text] = []
    for field in kind if isinstance(kind, list) else ():
        for _ in range(math.prod(field[2]) if len(field) > 2 else 1):
            found += _texts(field[1], offset, field[0])
            offset += _width(field[1])
    return found


def is_safetensors(head: bytes, content: Content) -> bool:
    """Tell whether `head` begins a safetensors file: the length of a JSON header, and the header."""
    if len(head) < 10 or head[8:9] != b"{":
        return False
    (size,) = struct.unpack_from("<Q", head)
    return bool(2 <= size <= min(_LONGEST_HEADER, content.size - 8))


def safetensors(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the metadata and the names of tensors; the tensors are not read."""
    (size,) = struct.unpack("<Q", content.read(0, 8))
    header = json.loads(content.read(8, 8 + size))
    new: dict[str, Any] = {}
    for name, value in header.items():
        if name == "__metadata__":
            new[name] = {examination.name(key): examination.value(key, str(text)) for key, text in value.items()}
        else:
            new[examination.name(name)] = value
    if new == header:
        return None
    text = json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)), text, content.part(8 + size, content.size)]

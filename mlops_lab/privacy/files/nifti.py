"""NIfTI-1, NIfTI-2 and ANALYZE headers: their free texts, their extensions, and the fields that nothing reads."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from ..model import Kind
from . import binaries
from .content import Content
from .examination import Examination

HEADER = 4 * 2**20
"""Bytes of header and extensions that are looked at; more of them is no image."""
_DICOM_EXTENSION = 2


class _Field(NamedTuple):
    name: str
    offset: int
    size: int
    unused: bool = False
    """Nothing reads it, and converters have put names into it."""


_NIFTI_1 = (
    _Field("data_type", 4, 10),
    _Field("db_name", 14, 18, True),
    _Field("descrip", 148, 80),
    _Field("aux_file", 228, 24),
    _Field("intent_name", 328, 16),
)
_ANALYZE = (
    _Field("data_type", 4, 10),
    _Field("db_name", 14, 18, True),
    _Field("descrip", 148, 80),
    _Field("aux_file", 228, 24),
    _Field("generated", 263, 10, True),
    _Field("scannum", 273, 10, True),
    _Field("patient_id", 283, 10, True),
    _Field("exp_date", 293, 10, True),
    _Field("exp_time", 303, 10, True),
)
_NIFTI_2 = (_Field("descrip", 240, 80), _Field("aux_file", 320, 24), _Field("intent_name", 508, 16))


def is_nifti(head: bytes, content: Content) -> bool:
    """Tell whether `head` begins a NIfTI or ANALYZE header of either byte order."""
    return _layout(head, content) is not None


def header_size(head: bytes) -> int:
    """Give the size of the header; 0 where `head` begins none."""
    for order in "<>":
        if len(head) >= 348 and struct.unpack_from(f"{order}i", head)[0] == 348:
            # dim[0] is the number of dimensions in every variant.
            return 348 if 0 < struct.unpack_from(f"{order}h", head, 40)[0] < 8 else 0
        if len(head) >= 540 and struct.unpack_from(f"{order}i", head)[0] == 540 and head[4:7] in (b"n+2", b"ni2"):
            return 540
    return 0


def _layout(head: bytes, content: Content) -> tuple[str, Sequence[_Field], bool] | None:
    """Give byte order, fields, and whether the voxels follow in the same file."""
    size = header_size(head)
    if not size:
        return None
    order = "<" if struct.unpack_from("<i", head)[0] == size else ">"
    if size == 540:
        return order, _NIFTI_2, head[4:7] == b"n+2"
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return order, _NIFTI_1, head[344:348] == b"n+1\0"
    return order, _ANALYZE, False


def read(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the header of an image; its voxels stay as they are."""
    beginning = content.read(0, HEADER)
    layout = _layout(beginning, content)
    assert layout is not None
    order, fields, single = layout
    size = header_size(beginning)
    header = bytearray(beginning[:size])
    for field in fields:
        _screen_field(examination, header, field)
    voxels = _offset(header, order) if single else content.size
    old = beginning[size : min(voxels, len(beginning))]
    new = _screen_extensions(examination, old, order) if old.strip(b"\0") else old
    if bytes(header) == beginning[:size] and new == old:
        return None
    if single and len(new) > len(old):
        new += bytes(-(size + len(new)) % 16)
        _set_offset(header, order, size + len(new))
    return [bytes(header), new, content.part(size + len(old), content.size)]


def _screen_field(examination: Examination, header: bytearray, field: _Field) -> None:
    raw = bytes(header[field.offset : field.offset + field.size])
    # Behind the end of a text there may be the rest of a longer one.
    texts = raw.decode("latin-1").split("\0")
    changed = "\0".join(_screen_text(examination, text, field.unused) for text in texts)
    header[field.offset : field.offset + field.size] = changed.encode("latin-1", "replace")[: field.size].ljust(
        field.size, b"\0"
    )


def _screen_text(examination: Examination, text: str, unused: bool) -> str:
    if not any(letter.isalnum() for letter in text):
        return text
    if unused:
        return "" if examination.note(Kind.DICOM) else text
    return examination.text(text)


def _screen_extensions(examination: Examination, data: bytes, order: str) -> bytes:
    """Screen what stands between header and voxels."""
    if data[:1] == b"\0":
        return binaries.overwritten(examination, data)
    parts = [data[:4]]
    at = 4
    while at + 8 <= len(data):
        size, code = struct.unpack_from(f"{order}ii", data, at)
        if size < 8 or at + size > len(data):
            break
        content = data[at + 8 : at + size]
        changed = _screen_extension(examination, code, content)
        if changed == content:
            parts.append(data[at : at + size])
        else:
            # Readers want extensions to follow one another up to the voxels, so none becomes shorter.
            changed = changed.ljust(len(content), b"\0")
            changed += bytes(-(len(changed) + 8) % 16)
            parts += [struct.pack(f"{order}ii", len(changed) + 8, 0 if code == _DICOM_EXTENSION else code), changed]
        at += size
    return b"".join([*parts, binaries.overwritten(examination, data[at:])])


def _screen_extension(examination: Examination, code: int, content: bytes) -> bytes:
    if code == _DICOM_EXTENSION:
        return b"" if content.strip(b"\0") and examination.note(Kind.DICOM) else content
    stripped = content.rstrip(b"\0")
    try:
        text = stripped.decode()
    except UnicodeDecodeError:
        return binaries.overwritten(examination, content)
    changed = examination.text(text, "xml" if text.lstrip()[:1] == "<" else "text")
    return content if changed == text else changed.encode()


def _offset(header: bytearray, order: str) -> int:
    if len(header) == 540:
        return int(struct.unpack_from(f"{order}q", header, 168)[0])
    return int(struct.unpack_from(f"{order}f", header, 108)[0])


def _set_offset(header: bytearray, order: str, offset: int) -> None:
    if len(header) == 540:
        struct.pack_into(f"{order}q", header, 168, offset)
    else:
        struct.pack_into(f"{order}f", header, 108, float(offset))

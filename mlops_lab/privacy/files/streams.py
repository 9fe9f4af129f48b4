"""Compressed files (gzip, bzip2, xz): what is in them, and the name that gzip keeps of the original."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Sequence
from typing import Any

from ..model import Kind
from .content import BytesContent, Content, Stream, flow
from .examination import LARGEST_CHANGED, Blocked, Examination
from .nifti import HEADER, header_size

_HEAD = 64 * 2**10
_LEVEL = 6
_EXTRA, _NAME, _COMMENT = 4, 8, 16


def is_tar(head: bytes, content: Content) -> bool:
    """Tell whether `head` begins a tar archive: its first header carries a checksum of itself."""
    if len(head) < 512 or not head[:1].strip(b"\0"):
        return False
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def compressed(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Look through what is packed in a compressed file, and pack it anew where something changed."""
    from .sniffing import inspect

    magic = content.read(0, 2)
    header = _gzip_header(examination, content) if magic == b"\x1f\x8b" else None
    with examination.inside():
        # Of an image only the header is read: most are large, and few have anything in it.
        data = _open(content, magic).read(HEADER)
        if not header_size(data) or inspect(examination.rehearsal(), BytesContent(data)) is not None:
            data = _unpacked(content, magic)
            examination.spend(len(data))
            pieces = inspect(examination, BytesContent(data))
        else:
            pieces = inspect(examination, BytesContent(data))
    return header if pieces is None else [_packed(pieces, magic)]


def _unpacked(content: Content, magic: bytes) -> bytes:
    data: bytes = _open(content, magic).read(LARGEST_CHANGED + 1)
    if len(data) > LARGEST_CHANGED:
        raise Blocked(
            Kind.UNREADABLE, f"it unpacks to more than {LARGEST_CHANGED >> 20} MB. Unpack it, or make it smaller."
        )
    return data


def _open(content: Content, magic: bytes) -> Any:
    stream = Stream(content)
    if magic == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=stream, mode="rb")
    return bz2.BZ2File(stream) if magic == b"BZ" else lzma.LZMAFile(io.BufferedReader(stream))


def _packed(pieces: Sequence[bytes | Content], magic: bytes) -> bytes:
    if magic == b"\x1f\x8b":
        packer: Any = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    else:
        packer = bz2.BZ2Compressor() if magic == b"BZ" else lzma.LZMACompressor()
    return b"".join([*(packer.compress(data) for data in flow(pieces)), packer.flush()])


def _gzip_header(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the file name and the comment in the header of a gzip file, which no unpacked byte shows."""
    head = content.read(0, _HEAD)
    flags = head[3]
    at = 10
    if flags & _EXTRA:
        at += 2 + int(struct.unpack_from("<H", head, at)[0])
    fields: list[bytes] = []
    start = at
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            end = head.index(b"\0", at)
            fields.append(head[at:end])
            at = end + 1
    changed = [examination.name(field.decode("latin-1")).encode("latin-1", "replace") for field in fields]
    if changed == fields:
        return None
    # Without the name, the comment and the checksum of the header: all three may be left out.
    if flags & 2:
        at += 2
    cleaned = bytes([flags & ~(_NAME | _COMMENT | 2)])
    return [head[:3] + cleaned + head[4:start], content.part(at, content.size)]

"""Zip and tar archives, and what is packed as one: checkpoints, NumPy archives, spreadsheets.

Members that do not change are copied as they are packed, at their old alignment.
"""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from ..model import Kind
from . import sheets
from .content import BytesContent, Content, Stream, checksum, flow, length
from .examination import LARGEST_CHANGED, Blocked, Examination

_ALIGNMENT = 64
"""PyTorch maps storages into memory, and wants them to begin at multiples of this."""
_STORAGE = re.compile(r"(?:^|/)(?:data/\d+|\.data/serialization_id|tensors?/\d+|storages?/\d+)$")
_PADDING = b"FB"
_ENCRYPTED = 0x1
_UTF_8 = 0x800
_LIMIT = 0xFFFFFFFF


class _Member(NamedTuple):
    """One member of the new archive."""

    info: zipfile.ZipInfo
    name: bytes
    pieces: Sequence[bytes | Content]
    """As packed."""
    crc: int
    size: int
    """Unpacked."""


def zipped(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Look through the members of a zip archive."""
    changed = False
    members: list[_Member] = []
    with examination.inside(), zipfile.ZipFile(Stream(content)) as archive:
        sheets.refuse(archive)
        infos = archive.infolist()
        torch = any(info.filename.endswith("/data.pkl") for info in infos)
        for info in infos:
            examination.member()
            if info.flag_bits & _ENCRYPTED:
                raise Blocked(Kind.UNREADABLE, "it is an encrypted archive. Record what is in it without a password.")
            packed = _packed(content, info)
            name = examination.name(info.filename)
            pieces = None if torch and _STORAGE.search(info.filename) else _inside(examination, archive, info, packed)
            changed |= pieces is not None or name != info.filename
            members.append(_member(info, name, packed, pieces))
        comment = archive.comment.decode("utf-8", "replace")
        screened = examination.text(comment) if comment else comment
    if not changed and screened == comment:
        return None
    return _written(members, screened.encode(), torch)


def _packed(content: Content, info: zipfile.ZipInfo) -> Content:
    """Give the packed bytes of a member where they are."""
    local = content.read(info.header_offset, info.header_offset + 30)
    name, extra = struct.unpack_from("<HH", local, 26)
    start = info.header_offset + 30 + name + extra
    return content.part(start, start + info.compress_size)


def _inside(
    examination: Examination, archive: zipfile.ZipFile, info: zipfile.ZipInfo, packed: Content
) -> Sequence[bytes | Content] | None:
    from .arrays import is_plain
    from .sniffing import inspect

    if info.is_dir() or not info.file_size:
        return None
    if info.compress_type == zipfile.ZIP_STORED:
        return inspect(examination, packed)
    with archive.open(info) as stream:
        head = stream.read(4096)
        if is_plain(head):
            return None  # numbers only: not unpacked
        examination.spend(info.file_size)
        if info.file_size > LARGEST_CHANGED:
            raise Blocked(
                Kind.UNREADABLE, f"a part of it unpacks to more than {LARGEST_CHANGED >> 20} MB. Unpack it first."
            )
        data = head + stream.read(LARGEST_CHANGED)
    return inspect(examination, BytesContent(data))


def _member(info: zipfile.ZipInfo, name: str, packed: Content, pieces: Sequence[bytes | Content] | None) -> _Member:
    encoded = name.encode()
    if pieces is None:
        return _Member(info, encoded, [packed], info.CRC, info.file_size)
    crc, size = checksum(pieces), length(pieces)
    if info.compress_type == zipfile.ZIP_STORED:
        return _Member(info, encoded, pieces, crc, size)
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = b"".join([*(packer.compress(part) for part in flow(pieces)), packer.flush()])
    info.compress_type = zipfile.ZIP_DEFLATED
    return _Member(info, encoded, [data], crc, size)


def _written(members: Sequence[_Member], comment: bytes, aligned: bool) -> Sequence[bytes | Content]:
    """Write an archive of `members` (APPNOTE.TXT 4.3, with the ZIP64 fields of 4.5.3)."""
    pieces: list[bytes | Content] = []
    directory: list[bytes] = []
    at = 0
    for member in members:
        packed = length(member.pieces)
        large = max(packed, member.size) >= _LIMIT
        extra = struct.pack("<HHQQ", 1, 16, member.size, packed) if large else b""
        if aligned:
            begin = at + 30 + len(member.name) + len(extra) + 4
            padding = -begin % _ALIGNMENT
            extra += _PADDING + struct.pack("<H", padding) + b"Z" * padding
        header = _local(member, packed, large, extra)
        directory.append(_entry(member, packed, at))
        pieces += [header, *member.pieces]
        at += len(header) + packed
    listed = b"".join(directory)
    return [*pieces, listed, _end(len(members), len(listed), at, comment)]


def _common(member: _Member) -> tuple[int, ...]:
    info = member.info
    year, month, day, hour, minute, second = info.date_time
    time = hour << 11 | minute << 5 | second // 2
    date = max(0, year - 1980) << 9 | month << 5 | day
    # Without bit 3: sizes stand in the header, not behind the data.
    return max(info.extract_version, 20), _UTF_8, info.compress_type, time, date, member.crc


def _local(member: _Member, packed: int, large: bool, extra: bytes) -> bytes:
    version, *common = _common(member)
    sizes = (_LIMIT, _LIMIT) if large else (packed, member.size)
    return (
        struct.pack(
            "<4s5H3I2H", b"PK\3\4", max(version, 45 if large else 0), *common, *sizes, len(member.name), len(extra)
        )
        + member.name
        + extra
    )


def _entry(member: _Member, packed: int, offset: int) -> bytes:
    version, *common = _common(member)
    wide = [value for value in (member.size, packed, offset) if value >= _LIMIT]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    info = member.info
    made = info.create_system << 8 | max(info.create_version, 45 if wide else 20)
    return (
        struct.pack(
            "<4s6H3I5H2I",
            b"PK\1\2",
            made,
            max(version, 45 if wide else 0),
            *common,
            min(packed, _LIMIT),
            min(member.size, _LIMIT),
            len(member.name),
            len(extra),
            0,
            0,
            info.internal_attr,
            info.external_attr,
            min(offset, _LIMIT),
        )
        + member.name
        + extra
    )


def _end(count: int, size: int, offset: int, comment: bytes) -> bytes:
    end = b""
    if count >= 0xFFFF or size >= _LIMIT or offset >= _LIMIT:
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
        end += struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1)
    shown = min(count, 0xFFFF)
    return (
        end
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, shown, shown, min(size, _LIMIT), min(offset, _LIMIT), len(comment))
        + comment
    )


def tarred(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Look through the members of a tar archive."""
    from .sniffing import inspect

    changed = False
    pieces: list[bytes | Content] = []
    with examination.inside(), tarfile.open(fileobj=io.BufferedReader(Stream(content)), mode="r:") as archive:
        for info in archive:
            examination.member()
            if info.issparse():
                raise Blocked(Kind.UNREADABLE, "it is an archive with holes in its files. Pack it without --sparse.")
            new = info.replace(deep=True)
            new.name, new.linkname = examination.name(info.name), examination.name(info.linkname)
            new.uname = new.gname = ""
            new.pax_headers = {
                key: examination.text(str(value))
                for key, value in info.pax_headers.items()
                if key not in ("path", "linkpath")
            }
            data = content.part(info.offset_data, info.offset_data + info.size) if info.isreg() else None
            inner = inspect(examination, data) if data is not None and info.size else None
            body: Sequence[bytes | Content] = inner if inner is not None else [data] if data is not None else []
            new.size = length(body)
            kept = {key: value for key, value in info.pax_headers.items() if key not in ("path", "linkpath")}
            changed |= inner is not None or new.name != info.name or new.linkname != info.linkname
            changed |= new.pax_headers != kept
            pieces += [new.tobuf(tarfile.PAX_FORMAT), *body, bytes(-new.size % tarfile.BLOCKSIZE)]
    return [*pieces, bytes(2 * tarfile.BLOCKSIZE)] if changed else None

"""The bytes of a file or of a part of one, read where they are: a checkpoint of gigabytes is never held in memory."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK = 4 * 2**20


class Content:
    """A stretch of bytes that can be read in any order.

    A file is read, not mapped into memory: if somebody truncates it meanwhile, a read comes out short, where touching
    a map would end the process.
    """

    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Give the bytes from `start` to `stop`, fewer where it ends before."""
        raise NotImplementedError

    def part(self, start: int, stop: int) -> Content:
        """Give a stretch of it as a content of its own."""
        return Part(self, start, min(stop, self.size))

    def whole(self) -> bytes:
        """Give all bytes."""
        return self.read(0, self.size)

    def chunks(self) -> Iterator[bytes]:
        """Give all bytes, some at a time."""
        for at in range(0, self.size, CHUNK):
            yield self.read(at, min(self.size, at + CHUNK))


class FileContent(Content):
    """The bytes of a file, which stays open as long as anything is to be read from it."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with the object
        self.size = os.fstat(self._file.fileno()).st_size

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def read(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        parts: list[bytes] = []
        left = min(stop, self.size) - start
        while left > 0:
            part = self._file.read(left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


class BytesContent(Content):
    """Bytes that are in memory, such as an unpacked member of an archive."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]


class Part(Content):
    """A stretch of another content."""

    def __init__(self, base: Content, start: int, stop: int) -> None:
        self._base = base
        self._start = start
        self.size = max(0, stop - start)

    def read(self, start: int, stop: int) -> bytes:
        return self._base.read(self._start + start, self._start + min(stop, self.size))


class Stream(io.RawIOBase):
    """A content as the file objects that `tarfile` and `zipfile` want."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._content.read(self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def length(pieces: Iterable[bytes | Content]) -> int:
    """Give how many bytes `pieces` are."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in pieces)


def flow(pieces: Iterable[bytes | Content]) -> Iterator[bytes]:
    """Give the bytes of `pieces`, some at a time."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from piece.chunks()


def checksum(pieces: Iterable[bytes | Content]) -> int:
    """Give the CRC-32 of `pieces`."""
    value = 0
    for data in flow(pieces):
        value = zlib.crc32(data, value)
    return value

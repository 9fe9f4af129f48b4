"""What the code of a block prints, kept for the run where the project's policy asks for it; the screen is as ever."""

from __future__ import annotations

import sys
from typing import Any

MOST = 1_000_000
"""Characters that are kept: the first and the last half of so many."""


class Printed:
    """Listens to standard output and error of this process until it is closed."""

    def __init__(self) -> None:
        self._head: list[str] = []
        self._tail: list[str] = []
        self._sizes = [0, 0]
        self._streams = (sys.stdout, sys.stderr)
        self._ears = tuple(_Ear(stream, self._hear) for stream in self._streams)
        sys.stdout, sys.stderr = self._ears

    def close(self) -> str:
        """Stop listening and give what was printed."""
        for name, ear, stream in zip(("stdout", "stderr"), self._ears, self._streams, strict=True):
            if getattr(sys, name) is ear:  # somebody may have redirected it meanwhile
                setattr(sys, name, stream)
        cut = "\n[...]\n" if self._sizes[1] > MOST // 2 else ""
        return "".join(self._head) + cut + "".join(self._tail)[-MOST // 2 :]

    def _hear(self, text: str) -> None:
        if self._sizes[0] + len(text) <= MOST // 2:
            self._head.append(text)
            self._sizes[0] += len(text)
            return
        self._sizes[0] = MOST
        self._tail.append(text)
        self._sizes[1] += len(text)
        if len(self._tail) > 10_000 and sum(map(len, self._tail)) > 2 * MOST:
            self._tail = ["".join(self._tail)[-MOST:]]


class _Ear:
    """A stream that passes everything on and tells what was written."""

    def __init__(self, stream: Any, heard: Any) -> None:
        self._stream = stream
        self._heard = heard

    def write(self, text: str) -> Any:
        """See :meth:`io.TextIOBase.write`."""
        self._heard(str(text))
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        """See :meth:`io.IOBase.writelines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

"""Files that forked processes read (a loader's workers, a pool's): their names come back through a file in memory.

A forked process has our watched doors, but what it notes there is noted in a copy. It writes the names into a file
without a name instead, which its parent made before. A process that was spawned has no doors, and is not seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable
from typing import Any

LARGEST = 64 * 2**20
"""Bytes of names that are kept for one run."""


class Children:
    """What the forked processes of this one have read.

    Attributes
    ----------
    more
        They read more than is kept.
    """

    def __init__(self) -> None:
        self.more = False
        self._parent = os.getpid()
        self._file: Any = None
        self._taken = 0
        with contextlib.suppress(OSError):  # no memory file, no room: then what they read is not known
            self._file = os.fdopen(_nameless_file(), "rb", buffering=0)

    @property
    def here(self) -> bool:
        """Tell whether this process is one of them."""
        return os.getpid() != self._parent

    def tell(self, names: Iterable[str]) -> None:
        """Let the parent know that this process has read the files `names`, absolute paths."""
        text = b"".join(os.fsencode(name) + b"\0" for name in names)
        if self._file is not None and text and os.fstat(self._file.fileno()).st_size <= LARGEST:
            os.write(self._file.fileno(), text)

    def heard(self) -> list[str]:
        """Give the names that were told since the last call."""
        if self._file is None:
            return []
        size = os.fstat(self._file.fileno()).st_size
        self.more = size > LARGEST
        text = os.pread(self._file.fileno(), size - self._taken, self._taken) if size > self._taken else b""
        whole = text[: text.rfind(b"\0") + 1]
        self._taken += len(whole)
        return [os.fsdecode(name) for name in whole.split(b"\0") if name]

    def close(self) -> None:
        """Listen no more; what is told from now on is lost."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _nameless_file() -> int:
    """Make a file that may be read and written, at whose end every process adds; give its descriptor."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile("a+b", buffering=0) as file:
            return os.dup(file.fileno())
    descriptor = os.memfd_create("mlops_lab files")
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    return descriptor


def are_forked(workers: Any) -> bool:
    """Tell whether these processes of :mod:`multiprocessing` have what their parent had, our doors too."""
    from multiprocessing import get_start_method

    return all((getattr(type(worker), "_start_method", None) or get_start_method()) == "fork" for worker in workers)

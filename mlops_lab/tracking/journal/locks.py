"""A lock on a file that the kernel of the system frees when its holder dies, however it dies.

It tells who writes a journal and who projects it. Process ids would not: they are reused, and clocks jump.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An exclusive advisory lock on one file.

    A lock is held by this object, not by the process: a second object on the same path is refused as well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1

    def acquire(self) -> bool:
        """Take the lock without waiting; False when someone else has it."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self.fd = fd
        _held.add(self)
        return True

    def release(self) -> None:
        """Free the lock; harmless when it is not held."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _drop_in_child() -> None:
    # A forked DataLoader worker would share the lock and keep it alive after its parent was killed.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_drop_in_child)

"""Values that are still on a device when they are logged: read when they have arrived, in the order of logging."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

Reader = Callable[[bool], float | None]
"""Reads a value that is still on a device; False: only if it has arrived, True: wait for it."""


class Deferred:
    """The values of one run that nobody has read yet.

    Parameters
    ----------
    write
        Records name, value, step and time (milliseconds since 1970).
    count
        Told how many are left whenever that changes: so many a kill -9 would lose.
    say
        Tells the person something.
    """

    def __init__(
        self,
        write: Callable[[str, float, int, int], None],
        count: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self._write = write
        self._count = count
        self._say = say
        self._pending: deque[tuple[str, int, int, Reader]] = deque()
        self._draining = threading.Lock()

    def put(self, name: str, step: int, when: int, read: Reader) -> None:
        """Take one more value."""
        self._pending.append((name, step, when, read))
        self._count(len(self._pending))

    def drain(self, wait: bool) -> None:
        """Record the values that have arrived, in order; with `wait`, all of them."""
        with self._draining:
            while self._pending:
                name, step, when, read = self._pending[0]
                try:
                    value = read(wait)
                except RuntimeError:  # the device failed; the run must still come to its end
                    self._pending.popleft()
                    self._say("Some values could not be read back from the device that computed them.")
                    continue
                if value is None:
                    return
                self._pending.popleft()
                self._write(name, value, step, when)
                self._count(len(self._pending))

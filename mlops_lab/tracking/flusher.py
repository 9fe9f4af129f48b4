"""The two threads behind an open block, so that the training thread does nothing but append.

The :class:`Keeper` looks after what is local (values still on a GPU, fsync, the line on the screen); the
:class:`Sender` talks to the server and may wait on it as long as it likes.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable

from ..connection.errors import ConnectionProblem, NotConnected, Refused, Unreachable, WrongCredentials
from ..errors import MlopsLabError
from .errors import SendingFailed
from .journal import Journal
from .projection import Projector

TICK = 1.0
"""Seconds between two looks of either thread."""
FSYNC_EVERY = 5.0
LONGEST_WAIT = 30.0
"""Seconds between two attempts when a server has been away for long."""
COUNTED_WAIT = 60.0
"""Seconds to the next attempt after a refused password: servers count them, and could shut the person out."""
LONGEST_REST = 300.0
"""Seconds for which a server may ask to be left alone; one that asks for hours is asked again all the same."""


def unforeseen(error: Exception) -> MlopsLabError:
    """Say what kept a journal from being sent, when it is none of the errors that have a sentence of their own."""
    if isinstance(error, OSError):
        return SendingFailed(f"The disk does not let us go on ({error.strerror or type(error).__name__}).")
    return SendingFailed(f"The run cannot be sent ({type(error).__name__}: {error}).")


def rest_of(error: MlopsLabError) -> float:
    """Give the seconds for which the server asked to be left alone, within reason; 0 where it did not."""
    asked = error.retry_after if isinstance(error, Unreachable) else None
    return min(asked or 0.0, LONGEST_REST)


class Keeper:
    """Looks after the local side of one run, once a second.

    Parameters
    ----------
    journal
        The run's journal.
    drain
        Writes the values whose copy from the device has arrived; called first in every round.
    show
        Brings the line on the screen up to date.
    """

    def __init__(self, journal: Journal, drain: Callable[[], None], show: Callable[[], None]) -> None:
        self._journal = journal
        self._drain = drain
        self._show = show
        self._stop = threading.Event()
        # The context carries Jupyter's parent message, without which a display update finds no cell.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="mlops_lab keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the round in progress."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        synced = time.monotonic()
        while not self._stop.wait(TICK):
            self._quietly(self._drain)
            if time.monotonic() - synced >= FSYNC_EVERY:
                self._journal.sync_to_disk()
                synced = time.monotonic()
            self._quietly(self._show)

    def _quietly(self, step: Callable[[], None]) -> None:
        # One bad value or a screen that is gone must not end what keeps the rest of the run safe.
        with contextlib.suppress(Exception):
            step()


class Sender:
    """Projects one journal while its block runs; repeats with growing pauses while the server is away.

    Attributes
    ----------
    problem
        Why nothing is being sent at the moment; None when all is well.
    """

    def __init__(self, projector: Projector) -> None:
        self.problem: MlopsLabError | None = None
        self._projector = projector
        self._wake = threading.Event()
        self._finishing = False
        self._stopped = False
        self._not_before = 0.0
        """When the server wants to be asked again, on the monotonic clock."""
        self._deadline = float("inf")
        """When nobody waits for us any more."""
        self._thread = threading.Thread(target=self._work, name="mlops_lab sender", daemon=True)

    def start(self) -> None:
        """Begin; harmless when it has begun."""
        if self._thread.ident is None:
            self._thread.start()

    def note(self, problem: MlopsLabError) -> None:
        """Take note why nothing can be sent now, and for how long the server wants to be left alone."""
        self.problem = problem
        self._not_before = time.monotonic() + rest_of(problem)

    def finish(self, limit: float) -> bool:
        """Send the rest, for at most `limit` seconds; True when the server has everything.

        A Ctrl-C may end the wait early and does no other harm: the journal keeps what is left.
        """
        self._deadline = time.monotonic() + limit
        self._finishing = True
        self._wake.set()
        try:
            if self._thread.ident is not None and self._not_before <= self._deadline:
                self._thread.join(timeout=limit)
        finally:
            self.let_go()
        return self._projector.position.complete

    def let_go(self) -> None:
        """Stop between two requests; what is left is another process's to send."""
        self._stopped = self._projector.stopped = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=0.2)

    def _work(self) -> None:
        pause = TICK
        try:
            while not self._stopped:
                self._wake.wait(pause)
                self._wake.clear()
                rest = self._not_before - time.monotonic()
                if rest > 0:
                    pause = rest
                    continue
                last = self._finishing
                try:
                    done = self._projector.push()
                    self.problem, pause = None, TICK
                except Exception as failure:
                    error = failure if isinstance(failure, MlopsLabError) else unforeseen(failure)
                    known = self.problem is not None
                    self.note(error)
                    self._projector.forget_server()
                    # A server that was away already had its last chance, unless it says when to come again.
                    over = self._not_before > self._deadline if rest_of(error) else known
                    if last and (over or isinstance(error, NotConnected)):
                        return
                    worth_a_try = isinstance(error, ConnectionProblem) and not isinstance(error, Refused)
                    pause = min(pause * 2, LONGEST_WAIT) if worth_a_try else LONGEST_WAIT
                    if isinstance(error, WrongCredentials):
                        pause = COUNTED_WAIT
                    if self._finishing:
                        pause = min(pause, TICK)
                    continue
                if done:
                    return
        finally:
            self._projector.release()

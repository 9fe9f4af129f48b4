"""The threads behind an open block, so that the training thread does nothing but append.

The :class:`Keeper` looks after what is local (values still on a GPU, the disk, the line on the screen); the
:class:`Sender` talks to the server and may wait on it as long as it likes, with one lane for the figures and one for
the files, so that a large checkpoint holds back no metric.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable

from ...connection.errors import ConnectionProblem, NotConnected, Refused, Unreachable, WrongCredentials
from ...errors import MlopsLabError
from ..errors import SendingFailed
from ..journal.room import Watch
from ..journal.writer import Journal
from .projector import Projector

TICK = 1.0
"""Seconds between two looks of a lane at the journal, and of the keeper at disk and screen."""
DRAIN_EVERY = 0.1
"""Seconds for which a value that has left the device may be in memory only: what a kill -9 can cost."""
FSYNC_EVERY = 5.0
LONGEST_WAIT = 30.0
"""Seconds between two attempts when a server has been away for long."""
COUNTED_WAIT = 60.0
"""Seconds to the next attempt after a refused password: servers count them, and could shut the person out."""
LONGEST_REST = 300.0
"""Seconds for which a server may ask to be left alone; one that asks for hours is asked again all the same."""
END_WAITS = 5.0
"""Seconds for which the end of a run waits for its files; a run that is over in MLflow mostly has them then."""


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
    """Looks after the local side of one run.

    Parameters
    ----------
    journal
        The run's journal.
    drain
        Writes the values whose copy from the device has arrived; called every :data:`DRAIN_EVERY` seconds.
    show
        Brings the line on the screen up to date; called every :data:`TICK` seconds.
    """

    def __init__(self, journal: Journal, drain: Callable[[], None], show: Callable[[], None]) -> None:
        self._journal = journal
        self._drain = drain
        self._show = show
        self._watch: Watch | None = None
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
        synced = ticked = time.monotonic()
        while not self._stop.wait(DRAIN_EVERY):
            self._quietly(self._drain)
            self._quietly(self._journal.look_after)
            now = time.monotonic()
            if now - ticked < TICK:
                continue
            ticked = now
            self._quietly(self._look_at_disk)
            if now - synced >= FSYNC_EVERY:
                self._journal.sync_to_disk()
                synced = now
            self._quietly(self._show)

    def _look_at_disk(self) -> None:
        self._watch = self._watch or Watch(self._journal.folder)
        self._watch.look()

    def _quietly(self, step: Callable[[], None]) -> None:
        # One bad value or a screen that is gone must not end what keeps the rest of the run safe.
        with contextlib.suppress(Exception):
            step()


class Sender:
    """Projects one journal while its block runs; repeats with growing pauses while the server is away."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self._wishes = _Wishes()
        self._figures = _Lane("sender", projector.push_entries, projector.forget_server, self._wishes, self._ended)
        self._files = _Lane("uploads", self._upload, projector.uploads.forget_server, self._wishes, self._ended)
        self._lanes = (self._figures, self._files)
        self._guard = threading.Lock()
        self._open = len(self._lanes)
        projector.before_end = self._wait_for_files

    @property
    def problem(self) -> MlopsLabError | None:
        """Why nothing is being sent at the moment; None when all is well."""
        return self._figures.problem or self._files.problem

    def start(self) -> None:
        """Begin; harmless when it has begun."""
        for lane in self._lanes:
            lane.start()

    def note(self, problem: MlopsLabError) -> None:
        """Take note why nothing can be sent now, and for how long the server wants to be left alone."""
        self._figures.note(problem)

    def finish(self, limit: float) -> bool:
        """Send the rest, for at most `limit` seconds; True when the server has everything.

        A Ctrl-C may end the wait early and does no other harm: the journal keeps what is left.
        """
        deadline = time.monotonic() + limit
        self._wishes.deadline = deadline
        try:
            self._figures.finish(deadline)
            if self._figures.problem is None:
                self._files.finish(deadline)
        finally:
            self.let_go()
        return self._projector.position.complete

    def let_go(self) -> None:
        """Stop between two requests; what is left is another process's to send."""
        self._projector.stopped = True
        for lane in self._lanes:
            lane.stop()

    def _upload(self) -> bool:
        # A server that is away, or does not know us, is asked by one lane only.
        return self._figures.problem is None and self._projector.uploads.push()

    def _wait_for_files(self) -> None:
        limit = min(time.monotonic() + END_WAITS, self._wishes.deadline)
        self._files.wake()
        while self._projector.position.files and time.monotonic() < limit and not self._projector.stopped:
            if self._files.problem is not None:
                return
            time.sleep(0.02)

    def _ended(self) -> None:
        with self._guard:
            self._open -= 1
            if self._open == 0:
                self._projector.release()


class _Wishes:
    """What the lanes of one sender share: how the server wants to be treated, and how long somebody waits."""

    def __init__(self) -> None:
        self.not_before = 0.0
        """When the server wants to be asked again, on the monotonic clock."""
        self.deadline = float("inf")
        """When nobody waits for us any more."""


class _Lane:
    """A thread that does one thing again and again until that is done."""

    def __init__(
        self,
        name: str,
        push: Callable[[], bool],
        forget_server: Callable[[], None],
        wishes: _Wishes,
        ended: Callable[[], None],
    ) -> None:
        self.problem: MlopsLabError | None = None
        self._push = push
        self._forget_server = forget_server
        self._wishes = wishes
        self._ended = ended
        self._wake = threading.Event()
        self._finishing = False
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name=f"mlops_lab {name}", daemon=True)

    def start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def note(self, problem: MlopsLabError) -> None:
        self.problem = problem
        rest = rest_of(problem)
        if rest:
            self._wishes.not_before = time.monotonic() + rest

    def wake(self) -> None:
        self._wake.set()

    def finish(self, deadline: float) -> None:
        """Wait for what is left, where the server does not ask for more time than there is."""
        self._finishing = True
        self._wake.set()
        if self._thread.ident is not None and self._wishes.not_before <= deadline:
            self._thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=0.2)

    def _work(self) -> None:
        pause = TICK
        try:
            while not self._stopped:
                self._wake.wait(pause)
                self._wake.clear()
                rest = self._wishes.not_before - time.monotonic()
                if rest > 0:
                    pause = rest
                    continue
                last = self._finishing
                try:
                    done = self._push()
                    self.problem, pause = None, TICK if not self._finishing else TICK / 20
                except Exception as failure:
                    error = failure if isinstance(failure, MlopsLabError) else unforeseen(failure)
                    known = self.problem is not None
                    self.note(error)
                    self._forget_server()
                    # A server that was away already had its last chance, unless it says when to come again.
                    over = self._wishes.not_before > self._wishes.deadline if rest_of(error) else known
                    if last and (over or isinstance(error, NotConnected)):
                        return
                    pause = self._pause_after(error, pause)
                    continue
                if done:
                    return
        finally:
            self._ended()

    def _pause_after(self, error: MlopsLabError, pause: float) -> float:
        worth_a_try = isinstance(error, ConnectionProblem) and not isinstance(error, Refused)
        pause = min(pause * 2, LONGEST_WAIT) if worth_a_try else LONGEST_WAIT
        if isinstance(error, WrongCredentials):
            pause = COUNTED_WAIT
        return min(pause, TICK) if self._finishing else pause

"""The live line under a tracked cell: the run, its state, where the training is, its data and its last metrics.

It is redrawn by a background thread, once a second at first and more and more rarely in a long run, and costs the
training thread nothing. What stands there at the end is saved with the notebook and reads without a kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from IPython.display import display, update_display

from . import card

if TYPE_CHECKING:
    from ...tracking.model import Progress
    from ...tracking.run import Run


class LiveLine:
    """Shows one run under its cell; see :class:`mlops_lab.tracking.screen.Screen`."""

    def __init__(self) -> None:
        self._id = uuid4().hex
        self._shown: dict[str, Any] = {}
        self._drawn = 0.0
        self._pace = Pace()

    def opened(self, run: Run) -> None:
        """Draw the line."""
        self._shown = card.bundle(run.progress(), run.offline)
        display(self._shown, raw=True, display_id=self._id)

    def changed(self, run: Run) -> None:
        """Redraw it where something is new, and not too often: each time is a message to every open page."""
        progress = run.progress()
        left = self._pace.left(progress)
        if progress.state == "RUNNING" and progress.elapsed - self._drawn < _pause(progress.elapsed):
            return
        now = card.bundle(progress, run.offline, left)
        if now != self._shown:
            self._shown, self._drawn = now, progress.elapsed
            update_display(now, raw=True, display_id=self._id)

    def closed(self, run: Run) -> None:
        """Draw what stays."""
        self.changed(run)


class TerminalLines:
    """The same in a terminal, which has no line to redraw: one at the start, one at the end, each notice once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def opened(self, run: Run) -> None:
        """Say that the run is open."""
        self._say(run)

    def changed(self, run: Run) -> None:
        """See :class:`mlops_lab.tracking.screen.Screen`."""

    def closed(self, run: Run) -> None:
        """Say how the run ended."""
        self._say(run)

    def _say(self, run: Run) -> None:
        progress = run.progress()
        progress.notices = [notice for notice in progress.notices if notice not in self._said]
        self._said.update(progress.notices)
        print(card.text(progress, run.offline), flush=True)


class Pace:
    """How long the training probably goes on, from how far it has come since it began to move."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._latest = 0.0

    def left(self, progress: Progress) -> float | None:
        """Give the seconds that are left; None while that would be a guess.

        What comes before the first batch, such as filling a cache, does not count; a second training in the same
        block is timed anew.
        """
        done = card.share(progress)
        if done is None or progress.state != "RUNNING":
            return None
        if self._first is None or done < self._latest:
            self._first = progress.elapsed, done
        self._latest = done
        began, share = self._first
        took, moved = progress.elapsed - began, done - share
        if took < 5.0 or moved < 0.02 or done >= 1.0:
            return None
        return took * (1 - done) / moved


def screen(shell: Any) -> type[LiveLine] | type[TerminalLines]:
    """Choose what fits `shell`."""
    return LiveLine if hasattr(shell, "kernel") else TerminalLines


def _pause(elapsed: float) -> float:
    """Seconds between two drawings, after so many seconds of a run."""
    return 0.5 if elapsed < 60 else 2.0 if elapsed < 600 else 5.0 if elapsed < 3600 else 15.0

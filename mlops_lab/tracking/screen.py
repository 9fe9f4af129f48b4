"""Who shows a run while its block is open. Jupyter's adapter puts its own screen here; a script gets plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .run import Run


class Screen(Protocol):
    """What is told about one run. `changed` comes from a background thread, about once a second."""

    def opened(self, run: Run) -> None:
        """The block is open; its body runs next."""

    def changed(self, run: Run) -> None:
        """A second has passed."""

    def closed(self, run: Run) -> None:
        """The run has its final status."""


class Nothing:
    """For a process that records nowhere: the one that records says what there is to say."""

    def opened(self, run: Run) -> None:
        """See :class:`Screen`."""

    def changed(self, run: Run) -> None:
        """See :class:`Screen`."""

    def closed(self, run: Run) -> None:
        """See :class:`Screen`."""


_ENDS = {"FINISHED": "has finished", "FAILED": "has failed", "KILLED": "was stopped", "RUNNING": "is open"}


class Lines:
    """Notices as lines on standard error, each once: for scripts, where a clean run needs no words.

    Somebody who sits at the terminal is told where the run can be watched, and how it ended.
    """

    def __init__(self) -> None:
        self._said: set[str] = set()

    def opened(self, run: Run) -> None:
        """See :class:`Screen`."""
        self._tell(run, " " + run.link)
        self._say(run.notices)

    def changed(self, run: Run) -> None:
        """See :class:`Screen`."""

    def closed(self, run: Run) -> None:
        """See :class:`Screen`."""
        self._tell(run)
        self._say(run.progress().notices)

    def _tell(self, run: Run, more: str = "") -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            self._say([f"The run {run.name} of the experiment {run.experiment} {_ENDS[run.status]}.{more}".rstrip()])

    def _say(self, notices: list[str]) -> None:
        for notice in notices:
            if notice not in self._said:
                self._said.add(notice)
                print(f"mlops_lab: {notice}", file=sys.stderr, flush=True)


make: Callable[[], Screen] = Lines
"""Makes the screen of the next block."""

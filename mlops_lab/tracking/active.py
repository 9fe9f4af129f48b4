"""Which run the code that runs now belongs to: the innermost open block, also in threads that opened none."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from .errors import NoActiveRun

if TYPE_CHECKING:
    from .run import Run


class ActiveRuns:
    """The open blocks of this process.

    What is captured in a thread goes to the innermost block that was opened in it. A thread without one (a loader's,
    autograd's, the user's own) belongs to the innermost block of the main thread, else to the only open one.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._stacks: dict[int, list[Run]] = {}
        self._shared: Run | None = None
        self._tasks: dict[str, int] = {}
        """Per run the asyncio task that opened its block; 0 outside of one."""

    @property
    def current(self) -> Run | None:
        """The run that the calling thread records to."""
        own = self._stacks.get(threading.get_ident())
        if not own:
            return self._shared
        return own[-1] if len(own) == 1 else self._of_this_task(own)

    def push(self, run: Run) -> None:
        """Make `run` the current one of this thread."""
        with self._guard:
            thread = threading.get_ident()
            self._tasks[run.key] = _task()
            # Lists are replaced, never changed: `current` reads them without the lock.
            self._stacks[thread] = [*self._stacks.get(thread, ()), run]
            self._share()

    def remove(self, run: Run) -> None:
        """Take `run` out, whichever thread opened it."""
        with self._guard:
            self._tasks.pop(run.key, None)
            for thread, stack in list(self._stacks.items()):
                left = [other for other in stack if other is not run]
                if left:
                    self._stacks[thread] = left
                else:
                    del self._stacks[thread]
            self._share()

    def clear(self) -> None:
        """Forget every run; their processes are not ours."""
        self._guard = threading.Lock()
        self._stacks = {}
        self._shared = None

    def _of_this_task(self, own: list[Run]) -> Run:
        """Of several blocks in one thread, give the innermost of this task: tasks take turns."""
        task = _task()
        return next((run for run in reversed(own) if self._tasks.get(run.key) == task), own[-1])

    def _share(self) -> None:
        main = self._stacks.get(threading.main_thread().ident or 0)
        known = [run for stack in self._stacks.values() for run in stack]
        self._shared = main[-1] if main else known[0] if len(known) == 1 else None


def _task() -> int:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return 0
    try:
        return id(asyncio.current_task())
    except RuntimeError:  # no loop runs in this thread
        return 0


runs = ActiveRuns()
os.register_at_fork(after_in_child=runs.clear)


def active_run() -> Run | None:
    """Give the run of the innermost open block, or None outside of one."""
    return runs.current


def required_run() -> Run:
    """Give the run of the innermost open block.

    Raises
    ------
    NoActiveRun
        Outside of a block.
    """
    run = runs.current
    if run is None:
        raise NoActiveRun("No run is open here.", "Start the cell with %%mlops_track, or use mlops_lab.track().")
    return run

"""What a block does when somebody wants it to stop: Ctrl-C, and the SIGTERM of a cluster, a container or a shutdown.

A second Ctrl-C does not tear the end of a block: the run's last record is written whatever is pressed. A SIGTERM, which
would end the process without a word, ends the block first and the process then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Shield:
    """Holds Ctrl-C back while it is entered, except inside :meth:`wait`. Only the main thread has interrupts."""

    def __init__(self) -> None:
        self._waiting = False
        self._pressed = False
        self._before: Any = None

    def __enter__(self) -> Shield:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):  # where Ctrl-C is ignored it stays ignored
                self._before = before
                signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @property
    def pressed(self) -> bool:
        """Was Ctrl-C pressed while it was held back?"""
        return self._pressed

    def see_to(self, step: Callable[[], object]) -> bool:
        """Do `step` also where a Ctrl-C was pressed before; one that comes meanwhile ends it. False as for wait."""
        pressed, self._pressed = self._pressed, False
        try:
            return self.wait(step)
        finally:
            self._pressed = self._pressed or pressed

    def wait(self, step: Callable[[], object]) -> bool:
        """Do `step`, which may take long; False when a Ctrl-C, now or earlier, or an error kept it from its end."""
        try:
            self._waiting = True
            if self._pressed:
                return False
            step()
        except KeyboardInterrupt:
            return False
        except Exception:
            return False  # nothing that is done on the way out may hide how the block itself ended
        finally:
            self._waiting = False
        return True

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt


class Terminated(KeyboardInterrupt):
    """Somebody asked this process to end (SIGTERM) while a block was open."""


class Termination:
    """Turns a SIGTERM inside of the outermost block into :class:`Terminated`, and passes it on when that is closed.

    Only where SIGTERM has its default meaning: a program that handles it by itself goes on doing so.
    """

    def __init__(self) -> None:
        self._open = 0
        self._before: Any = None
        self._asked = False
        self._ending = False

    def enter(self) -> None:
        """A block is open."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._open == 0 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._asked = self._ending = False
            self._before = signal.signal(signal.SIGTERM, self._ask)
        self._open += 1

    def closing(self) -> None:
        """A block is about to write its end, which a SIGTERM must not tear from now on."""
        self._ending = True

    def leave(self) -> None:
        """The block is closed; with the outermost one goes the process, where it was asked to."""
        if threading.current_thread() is not threading.main_thread() or self._open == 0:
            return
        self._open -= 1
        self._ending = False
        if self._open or self._before is None:
            return
        with contextlib.suppress(TypeError, ValueError):
            signal.signal(signal.SIGTERM, self._before)
        self._before = None
        if self._asked:
            os.kill(os.getpid(), signal.SIGTERM)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if not self._ending:
            raise Terminated


termination = Termination()
"""Of this process."""


def _forget() -> None:
    """The blocks are the parent's; what a child (of a DataLoader) does with a SIGTERM is its default again."""
    if termination._before is not None:
        signal.signal(signal.SIGTERM, termination._before)
    termination.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget)

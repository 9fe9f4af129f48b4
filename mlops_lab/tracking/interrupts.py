"""Keeps a second Ctrl-C from tearing the end of a block: the run's last record is written whatever is pressed."""

from __future__ import annotations

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

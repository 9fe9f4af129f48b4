"""Everything that `%load_ext mlops_lab` puts into one shell, and takes out again."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from ...tracking import screen
from ...tracking.capture import construction
from ...tracking.capture.torch import seeds
from .cells import TrackedCells
from .follow import Follower, send_in_background
from .lines import LineMagics
from .live import screen as fitting_screen

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Extension:
    """The magics in one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        # Networks, transforms and losses are usually made, and seeds set, in the cells before the tracked one.
        construction.arm()
        seeds.arm()
        self._follower = Follower()
        self._cells = TrackedCells(shell, self._follower.look)
        self._magics = LineMagics(shell, self._cells, self._follower)
        self._screen_before = screen.make
        screen.make = fitting_screen(shell)
        # A kernel that is shut down ends its standing run; one that is killed leaves it to the next sync.
        atexit.register(self._cells.turn_off)
        # A kernel that is restarted has the environment of its first launch, which may be older than the login.
        self._follower.point()
        send_in_background()

    def remove(self) -> None:
        """Leave the shell as it was."""
        atexit.unregister(self._cells.turn_off)
        self._cells.remove()
        screen.make = self._screen_before
        self._magics.remove()
        seeds.disarm()
        construction.disarm()

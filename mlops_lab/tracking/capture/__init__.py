"""What a block records without a line of code: one file per library, hooked only while a block is open.

Each file says which `MODULES` it waits for and has an `install` that hooks one of them through :class:`Patches`, so
that every hook can be taken out again. A library that is imported inside the block is hooked as soon as it is there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..run import runs
from . import ignite, monai, torch
from .arrival import Arrivals
from .patches import Patches

Install = Callable[[Any, Patches], None]

_LIBRARIES = (torch, monai, ignite)


class Capture:
    """The hooks of all libraries; shared by nested blocks, taken out with the last of them."""

    def __init__(self) -> None:
        self._users = 0
        self._guard = threading.RLock()
        self._arrivals: Arrivals | None = None
        self._patches: list[Patches] = []

    def install(self) -> Capture:
        """Hook what is imported already, and wait for the rest."""
        with self._guard:
            self._users += 1
            if self._users > 1:
                return self
            wanted = {name: library.install for library in _LIBRARIES for name in library.MODULES}
            self._arrivals = Arrivals(frozenset(wanted), lambda module: self._hook(wanted, module))
            self._arrivals.install()
            for name in wanted:
                module = sys.modules.get(name)
                if module is not None:
                    self._hook(wanted, module)
        return self

    def restore(self) -> None:
        """Leave the libraries exactly as they were."""
        with self._guard:
            self._users -= 1
            if self._users > 0:
                return
            if self._arrivals is not None:
                self._arrivals.remove()
            while self._patches:
                self._patches.pop().restore()

    def _hook(self, wanted: dict[str, Install], module: ModuleType) -> None:
        patches = Patches()
        try:
            wanted[module.__name__](module, patches)
        except (AttributeError, TypeError, ImportError):
            # A version of the library that looks different: its values are not captured, training goes on.
            patches.restore()
            run = runs.current
            if run is not None:
                run.notice(f"This version of {module.__name__.partition('.')[0]} cannot be captured.")
            return
        with self._guard:
            self._patches.append(patches)
            if self._users == 0:
                patches.restore()


_capture = Capture()


def install() -> Capture:
    """Start capturing for one more block."""
    return _capture.install()

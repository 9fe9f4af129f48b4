"""What a block records without a line of code: one file per library, hooked only while a block is open.

Each file says which `MODULES` it waits for and has an `install` that hooks one of them through :class:`Patches`, so
that every hook can be taken out again. A library that is imported inside the block is hooked as soon as it is there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from ..errors import NoSuchCapture
from ..run import runs
from .arrival import Arrivals
from .patches import Patches

Install = Callable[[Any, Patches], None]

_LIBRARIES = {
    "torch": "torch.steps",
    "monai": "monai.metrics",
    "ignite": "ignite",
    "loaders": "torch.loaders",
    "seeds": "torch.seeds",
    "readers": "readers",
    "networks": "monai.networks",
    "transforms": "monai.transforms",
    "bundles": "monai.bundles",
    "checkpoints": "checkpoints.saves",
    "autolog": "autolog",
    "tensorboard": "tensorboard",
    "distributed": "distributed",
}
"""Which file is behind each name. They are imported when a block opens: loading the magics does not wait for them."""

NAMES = frozenset({*_LIBRARIES, "system"})
"""What can be switched: ``%%mlops_track --capture torch monai`` leaves the others out."""


class Capture:
    """The hooks of all libraries; shared by nested blocks, taken out with the last of them."""

    def __init__(self) -> None:
        self._users = 0
        self._guard = threading.RLock()
        self._arrivals: Arrivals | None = None
        self._patches: list[Patches] = []

    def install(self, names: frozenset[str] | None = None) -> Capture:
        """Hook what is imported already, and wait for the rest; `names` says which captures, None: all of them."""
        with self._guard:
            self._users += 1
            if self._users > 1:
                return self
            chosen = [_library(name) for name in _LIBRARIES if names is None or name in names]
            wanted: dict[str, list[Install]] = {}
            for library in chosen:
                for name in library.MODULES:
                    wanted.setdefault(name, []).append(library.install)
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

    def _hook(self, wanted: dict[str, list[Install]], module: ModuleType) -> None:
        for hook in wanted[module.__name__]:
            self._hook_one(hook, module)

    def _hook_one(self, hook: Install, module: ModuleType) -> None:
        patches = Patches()
        try:
            hook(module, patches)
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


def _library(name: str) -> ModuleType:
    return import_module(f".{_LIBRARIES[name]}", __name__)


_capture = Capture()


def install(names: frozenset[str] | None = None) -> Capture:
    """Start capturing for one more block; inside of another one its choice holds."""
    return _capture.install(names)


def require(names: frozenset[str] | None) -> None:
    """Refuse a choice of captures of which there is no such thing.

    Raises
    ------
    NoSuchCapture
        With the names that there are.
    """
    unknown = sorted((names or frozenset()) - NAMES)
    if unknown:
        raise NoSuchCapture(
            f"There is no capture called {', '.join(unknown)}.", f"Those that there are: {', '.join(sorted(NAMES))}."
        )

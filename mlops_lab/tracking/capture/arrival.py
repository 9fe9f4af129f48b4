"""Tells when a library that we wait for has been imported; nothing is imported on our account."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import local
from types import ModuleType


class Arrivals(MetaPathFinder):
    """A finder that finds nothing itself: it lets the others find and looks over the loader's shoulder.

    Parameters
    ----------
    names
        Full names of the modules to wait for.
    arrived
        Called with the module once its code has run.
    """

    def __init__(self, names: frozenset[str], arrived: Callable[[ModuleType], None]) -> None:
        self._names = names
        self._arrived = arrived
        self._searching = local()

    def install(self) -> None:
        """Begin."""
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """End; harmless when it has ended."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if fullname not in self._names or getattr(self._searching, "busy", False):
            return None
        self._searching.busy = True
        try:
            spec = find_spec(fullname)
        finally:
            self._searching.busy = False
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Watched(spec.loader, self._arrived)
        return spec


class _Watched(Loader):
    """The real loader, plus a word when it is done."""

    def __init__(self, loader: Loader, arrived: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._arrived = arrived

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module keeps its real loader, so that inspect, pickle and pkgutil see nothing unusual.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._arrived(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

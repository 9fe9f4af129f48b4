"""The magics: what ``%load_ext mlops_lab`` adds to IPython. Loading imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import MlopsLabError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .extension import Extension

_loaded: dict[int, Extension] = {}


def load(ipython: InteractiveShell) -> None:
    """Add the magics to `ipython`; harmless when they are there."""
    from .extension import Extension

    if id(ipython) not in _loaded:
        # An error of ours is one sentence on the screen, wherever it is raised.
        MlopsLabError._render_traceback_ = _sentence  # type: ignore[attr-defined]
        _loaded[id(ipython)] = Extension(ipython)


def unload(ipython: InteractiveShell) -> None:
    """Take the magics out again; a run that is still open is ended first."""
    extension = _loaded.pop(id(ipython), None)
    if extension is not None:
        extension.remove()
    if not _loaded and hasattr(MlopsLabError, "_render_traceback_"):
        del MlopsLabError._render_traceback_


def _sentence(error: MlopsLabError) -> list[str]:
    return [str(error)]

"""Trustworthy machine learning for clinical researchers, inside the notebook.

Importing this package loads nothing heavy: every public name is fetched from its room on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_PUBLIC = {
    "track": "tracking:track",
    "active_run": "tracking:active_run",
    "use_dataset": "tracking:use_dataset",
    "list_datasets": "datasets:read_catalogue",
    "search_runs": "runs:search_runs",
    "compare_runs": "runs:compare_runs",
    "recipe": "training:recipe",
    "widgets": "jupyter.widgets",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    try:
        where = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    module, _, attribute = where.partition(":")
    found = import_module(f".{module}", __name__)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Serve ``%load_ext mlops_lab``."""
    from .jupyter.magics import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Serve ``%unload_ext mlops_lab``."""
    from .jupyter.magics import unload

    unload(ipython)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "mlops-lab"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .jupyter.server.app import MlopsLab

    return [{"module": "mlops_lab", "app": MlopsLab}]

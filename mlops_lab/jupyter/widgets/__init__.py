"""The panel's four sections as plain ipywidgets, for Notebook 7, VS Code and wherever widgets work.

``mlops_lab.widgets.Login()``, ``.Datasets()``, ``.Training()``, ``.Runs()``; each is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets import Datasets
    from .login import Login
    from .runs import Runs
    from .training import Training

__all__ = ["Datasets", "Login", "Runs", "Training"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{name.lower()}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

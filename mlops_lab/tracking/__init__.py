"""Tracking: one block of code, its journal, what is captured in it, and its projection to MLflow.

The public names are fetched on first use, so that loading the magics costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .block import Block as Block
    from .block import track as track
    from .data import note_dataset as note_dataset
    from .data import use_dataset as use_dataset
    from .model import Progress as Progress
    from .model import SyncReport as SyncReport
    from .model import WaitingRun as WaitingRun
    from .projection.synchronise import sync as sync
    from .projection.synchronise import waiting as waiting
    from .projection.unsent import Preview as Preview
    from .projection.unsent import preview as preview
    from .run import Run as Run
    from .run import active_run as active_run

_WHERE = {
    "Block": "block",
    "Preview": "projection.unsent",
    "Progress": "model",
    "Run": "run",
    "SyncReport": "model",
    "WaitingRun": "model",
    "active_run": "run",
    "note_dataset": "data",
    "preview": "projection.unsent",
    "sync": "projection.synchronise",
    "track": "block",
    "use_dataset": "data",
    "waiting": "projection.synchronise",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)

"""DVC datasets: every version read from git, and read-only views whose bytes are verified before use.

The public names are fetched on first use, so that loading the magics costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .access import UsedDataset as UsedDataset
    from .access import diff as diff
    from .access import use as use
    from .access import verify as verify
    from .catalogue import read_catalogue as read_catalogue
    from .model import Catalogue as Catalogue
    from .model import Dataset as Dataset
    from .model import DatasetVersion as DatasetVersion
    from .model import DataUsed as DataUsed
    from .model import Diff as Diff
    from .model import FileChange as FileChange
    from .model import Problem as Problem
    from .model import RoleDigest as RoleDigest
    from .specs import resolve as resolve

_WHERE = {
    "Catalogue": "model",
    "DataUsed": "model",
    "Dataset": "model",
    "DatasetVersion": "model",
    "Diff": "model",
    "FileChange": "model",
    "Problem": "model",
    "RoleDigest": "model",
    "UsedDataset": "access",
    "diff": "access",
    "read_catalogue": "catalogue",
    "resolve": "specs",
    "use": "access",
    "verify": "access",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)

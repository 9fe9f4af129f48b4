"""Datasets inside a block: using one version records it on the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .run import active_run, required_run

if TYPE_CHECKING:
    from ..datasets import UsedDataset


def use_dataset(spec: str, path: str | os.PathLike[str] | None = None) -> Path:
    """Fetch and verify a dataset version and give the path of its read-only view.

    Inside a tracked block the run also records which version it was given.

    Parameters
    ----------
    spec
        ``NAME@VERSION``, e.g. ``"brain@v2.0.0"``.
    path
        Any file or folder inside the DVC repository; the current folder by default.
    """
    from .. import datasets

    used = datasets.use(spec, path=os.fspath(path) if path is not None else ".")
    if active_run() is not None:
        note_dataset(used)
    return used.path


def note_dataset(used: UsedDataset) -> None:
    """Record on the current run that it was given `used`.

    Raises
    ------
    NoActiveRun
        Outside of a block.
    """
    required_run().note_dataset(used)

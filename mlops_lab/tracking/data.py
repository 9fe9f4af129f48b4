"""Datasets inside a block: using one version records it on the run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MlopsLabError
from .run import Run, active_run, required_run

if TYPE_CHECKING:
    from ..datasets import UsedDataset


_given: dict[Path, UsedDataset] = {}
"""The versions that this process was given outside of and inside blocks, by the path of their views."""
MOST_ITEMS = 64
"""Entries of a list that are looked at for a path."""


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
    _given[used.path] = used
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


def given_in(values: Mapping[str, Any]) -> dict[str, UsedDataset]:
    """Find the variables that lead into the view of a version that was used earlier in this session.

    Parameters
    ----------
    values
        Variables and their values: paths, texts, and lists, tuples and dictionaries of these (a datalist).

    Returns
    -------
    dict
        Variable and version, verified anew; each version once, under the first of its variables.

    Raises
    ------
    CorruptObject, MissingObjects
        When the version's bytes are no longer what they were.
    """
    found: dict[str, UsedDataset] = {}
    if not _given:
        return found
    for name, value in values.items():
        for used in _leads_to(value, 3):
            if all(known.path != used.path for known in found.values()):
                found[name] = _again(used)
    return found


def given_around(paths: Iterable[str]) -> UsedDataset | None:
    """Find the version that was used earlier in this session and in whose view one of `paths` lies."""
    if not _given:
        return None
    views = [(view, used) for path, used in list(_given.items()) for view in (path, _real(path))]
    return next((used for text in paths for view, used in views if _inside(text, view)), None)


def note_read(run: Run, used: UsedDataset) -> None:
    """Record on `run` that it has read files of `used`, a version that was used earlier in this session."""
    try:
        again = _again(used)
    except MlopsLabError as error:
        run.notice(f"Files of {used.used.name}@{used.used.version} were read, which is not declared: {error}")
        return
    note_given(run, {"": again})


def note_given(run: Run, given: Mapping[str, UsedDataset]) -> None:
    """Record on `run` what :func:`given_in` has found, and say where that is not what the run was told to use."""
    for name, used in given.items():
        told = [data for data in run.data if data.name == used.used.name and data.md5 != used.used.md5]
        run.note_dataset(used)
        if used.notice:
            run.notice(used.notice)
        for data in told:
            how = f"the variable {name} of this cell leads to" if name else "it read files of"
            run.notice(
                f"The run was told to use {data.name}@{data.version}, but {how} "
                f"{used.used.name}@{used.used.version}. Both are recorded."
            )


def _leads_to(value: Any, depth: int) -> list[UsedDataset]:
    if isinstance(value, (str, Path)):
        return [used for path, used in _given.items() if _inside(value, path)]
    if depth == 0 or not isinstance(value, (list, tuple, dict)):
        return []
    parts = islice(value.values() if isinstance(value, dict) else value, MOST_ITEMS)
    return [used for part in parts for used in _leads_to(part, depth - 1)]


@cache
def _real(view: Path) -> Path:
    return Path(os.path.realpath(view))


def _inside(value: str | Path, view: Path) -> bool:
    text, folder = os.fspath(value), os.fspath(view)
    if not text.startswith(os.sep):
        return False  # a view is never below the current folder by chance; and most texts are no paths
    text = os.path.normpath(text)
    return text == folder or text.startswith(folder + os.sep)


def _again(used: UsedDataset) -> UsedDataset:
    from .. import datasets
    from ..datasets.errors import CorruptObject, MissingObjects

    try:
        again = datasets.use(used.version.spec, path=used.repository)
    except (CorruptObject, MissingObjects):
        raise
    except MlopsLabError:
        return used  # its repository has moved on; the view stands as it was verified
    return again if again.path == used.path else used

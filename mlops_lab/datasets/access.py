"""Use, verify and compare versions: the three things that need a version's bytes or its list of files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import readings, views
from .catalogue import Entry, Index, Row, read_index, to_version
from .dvc_config import cache_dir, check, dvc_root
from .errors import CorruptObject, MissingObjects
from .fetching import fetch
from .ledger import Ledger
from .model import DatasetVersion, DataUsed, Diff, FileChange, Problem
from .objects import File, ObjectStore, Presence, files_of, presence
from .participants import project_table
from .roles import role_digests
from .specs import find
from .verifying import Report, corrupt_remote, inspect, verify_objects
from .whereabouts import Whereabouts


@dataclass(frozen=True, slots=True)
class UsedDataset:
    """A version that was made available, every byte of it proven."""

    path: Path
    """Its read-only view: a folder, or the file itself for a single-file dataset."""
    used: DataUsed
    """What a run records of it."""
    version: DatasetVersion
    repository: Path
    notice: str | None = None
    """Something the user should know, e.g. why its files have no roles."""
    files: list[File] = field(default_factory=list, repr=False)
    """Every file of the version, relative to its view's folder."""


@dataclass(frozen=True, slots=True)
class _Located:
    index: Index
    entry: Entry
    row: Row
    root: Path
    store: ObjectStore

    @property
    def legacy(self) -> bool:
        return self.row.output.legacy

    def files(self) -> list[File]:
        output = self.row.output
        return files_of(self.store, output.md5, output.legacy, output.path)

    def version(self) -> DatasetVersion:
        where = Whereabouts(self.index.history).of(self.entry.path, self.row.output)
        return to_version(self.entry, self.row, where)


def use(spec: str, path: str | os.PathLike[str] = ".", report: Report | None = None) -> UsedDataset:
    """Fetch what is missing of a version, verify every object and give a read-only view of it.

    The working tree, git and DVC's lock are not touched. A view that stands is used again after a cheap check.

    Parameters
    ----------
    spec
        ``NAME@X`` as for :func:`mlops_lab.datasets.resolve`.
    path
        Any file or folder inside the repository.
    report
        Called with one line whenever there is progress to tell.

    Raises
    ------
    UnknownDataset, UnknownVersion, AmbiguousVersion
        When `spec` names no single version.
    MissingObjects, FetchFailed, NoDvc
        When files are neither in the cache nor to be had from the remote.
    CorruptObject, UnsafeManifest
        When bytes are not those of the version; the message names the file.
    ViewFailed, BadProjectFile
    """
    found = _locate(spec, path)
    files, before = _list_files(found, report)
    output = found.row.output
    view = views.place_of(found.store.root, found.entry.name, output.md5)
    ledger = Ledger()
    if not views.is_intact(view, files, found.legacy, ledger):
        fetched = _complete(found, files, report)
        if before is not None:
            fetched |= {file.md5 for file in files if not before.has(file.md5, found.legacy)}
        proven = verify_objects(found.store, files, found.legacy, ledger, report, fetched=fetched)
        views.build(view, found.store, files, found.legacy, proven, ledger)

    def read(file: File) -> bytes:
        return (view / file.path).read_bytes()

    table = project_table(found.index.history.top, found.entry.name)
    roles, notice = role_digests(table, files, read)
    readings.note(view, table)
    version = found.version()
    return UsedDataset(
        path=view if output.md5.endswith(".dir") else view / files[0].path,
        used=DataUsed(version.name, version.version, version.md5, version.commit, roles),
        version=version,
        repository=found.index.history.top,
        notice=notice,
        files=files,
    )


def verify(spec: str, path: str | os.PathLike[str] = ".") -> list[Problem]:
    """Hash every object of a version in the cache, whatever is known of it, and list what is wrong; empty when nothing.

    Nothing is fetched: what the cache lacks is reported as missing.
    """
    found = _locate(spec, path)
    output = found.row.output
    listed = str(found.store.path(output.md5, output.legacy))
    try:
        files = found.files()
    except MissingObjects:
        return [Problem(output.path, "missing", listed)]
    except CorruptObject:
        return [Problem(output.path, "corrupt", listed)]
    return inspect(found.store, files, found.legacy, Ledger())


def diff(name: str, before: str, after: str, path: str | os.PathLike[str] = ".", report: Report | None = None) -> Diff:
    """List the files that differ between two versions of one dataset.

    Parameters
    ----------
    name
        Name of the dataset.
    before, after
        Versions as typed after the ``@``.

    Raises
    ------
    MissingObjects, FetchFailed
        When a version's list of files can be had from nowhere.
    """
    old, new = _locate(f"{name}@{before}", path), _locate(f"{name}@{after}", path)
    sides = [({file.path: file.md5 for file in _list_files(side, report)[0]}, side) for side in (old, new)]
    (left, _), (right, _) = sides
    left_size, right_size = (_sizes(side) for side in (old, new))
    added = [FileChange(p, None, right[p], None, right_size(right[p])) for p in sorted(right.keys() - left.keys())]
    removed = [FileChange(p, left[p], None, left_size(left[p]), None) for p in sorted(left.keys() - right.keys())]
    modified = [
        FileChange(p, left[p], right[p], left_size(left[p]), right_size(right[p]))
        for p in sorted(left.keys() & right.keys())
        if left[p] != right[p]
    ]
    return Diff(old.entry.name, old.row.version, new.row.version, added, removed, modified)


def _locate(spec: str, path: str | os.PathLike[str]) -> _Located:
    index = read_index(Path(path))
    entry, row = find(index, spec)
    root = dvc_root(index.history.top, row.output.definition)
    check(root)
    return _Located(index, entry, row, root, ObjectStore(cache_dir(root)))


def _list_files(found: _Located, report: Report | None) -> tuple[list[File], Presence | None]:
    """List the files; where the list had to be fetched, DVC fetched the files with it: also give what was there."""
    try:
        return found.files(), None
    except MissingObjects:
        before = presence(found.store).frozen()
    _fetch(found, [], report)
    try:
        return found.files(), before
    except MissingObjects:
        raise _nowhere(found, "Its list of files") from None
    except CorruptObject:
        output = found.row.output
        raise corrupt_remote("The list of files", found.store, output.md5, output.legacy) from None


def _complete(found: _Located, files: list[File], report: Report | None) -> set[str]:
    """Fetch what is missing and give the md5 of each object that came."""
    missing = presence(found.store).missing(files, found.legacy)
    if not missing:
        return set()
    _fetch(found, missing, report)
    still = presence(found.store).missing(files, found.legacy)
    if still:
        raise _nowhere(found, still[0].path, len(still) - 1)
    return {file.md5 for file in missing}


def _fetch(found: _Located, missing: list[File], report: Report | None) -> None:
    if report:
        report(f"Fetching {found.row.spec} from its remote")
    fetch(found.index.history.top, found.root, found.store, found.row.output, found.row.commit.sha, missing, report)


def _nowhere(found: _Located, what: str, more: int = 0) -> MissingObjects:
    others = f" and {more} more files" if more else ""
    return MissingObjects(
        f"{found.row.spec} is neither in the cache nor in the remote: {what}{others} cannot be had.",
        f"This version was perhaps never published: ask {found.row.commit.author} to run dvc push for it.",
    )


def _sizes(found: _Located) -> Callable[[str], int | None]:
    def size(md5: str) -> int | None:
        try:
            return found.store.path(md5, found.legacy).stat().st_size
        except OSError:
            return None

    return size

"""From what a person types, ``NAME@X``, to one version: never a guess between two."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from . import git
from .catalogue import Entry, Index, Row, read_index, to_version
from .errors import AmbiguousVersion, UnknownDataset, UnknownVersion
from .model import DatasetVersion
from .whereabouts import Whereabouts

_LISTED = 12


def resolve(spec: str, path: str | Path = ".") -> DatasetVersion:
    """Find the version that `spec` names.

    Parameters
    ----------
    spec
        ``NAME@X``, where X is tried as GTO version, stage, git tag, branch or commit, md5 prefix, in that order; or
        ``NAME`` alone for the version at HEAD (the newest one where HEAD does not have the dataset).
    path
        Any file or folder inside the repository.

    Raises
    ------
    UnknownDataset, UnknownVersion
        With what exists in the hint.
    AmbiguousVersion
        With the choices.
    """
    index = read_index(path)
    entry, row = find(index, spec)
    return to_version(entry, row, Whereabouts(index.history).of(entry.path, row.output))


def find(index: Index, spec: str) -> tuple[Entry, Row]:
    """Find the dataset and the row that `spec` names; see :func:`resolve`."""
    entry, wanted = _split(index, spec.strip())
    if not wanted:
        return entry, (entry.row(entry.current) if entry.current else None) or entry.rows[0]
    return entry, _row(index, entry, wanted)


def _split(index: Index, spec: str) -> tuple[Entry, str]:
    # Names and revisions may both contain "@": the longest known name decides. GTO writes stages as NAME#STAGE.
    cuts = [spec, *(spec[:at] for at in range(len(spec) - 1, 0, -1) if spec[at] in "@#")]
    for name in cuts:
        entries = [e for e in index.entries if e.name == name] or [e for e in index.entries if name in e.aliases]
        if len(entries) > 1:
            choices = tuple(sorted(entry.name for entry in entries))
            raise AmbiguousVersion(
                f"{len(entries)} datasets are called {name}.", f"Use one of: {_listing(choices)}.", choices
            )
        if entries:
            return entries[0], spec[len(name) :].removeprefix("@").removeprefix("#")
    names = [entry.name for entry in index.entries]
    asked = spec.partition("@")[0].strip()
    if names and not asked:
        raise UnknownDataset("No dataset is named.", f"Write NAME@VERSION. Datasets here: {_listing(names)}.")
    if not names:
        raise UnknownDataset(
            f"There is no dataset{' ' * bool(asked)}{asked}: this repository has none yet.",
            "Add one with dvc add, then git commit.",
        )
    raise UnknownDataset(f"There is no dataset {asked}.", _suggestion(asked, names, "Datasets here"))


def _row(index: Index, entry: Entry, wanted: str) -> Row:
    steps: tuple[Callable[[], list[Row]], ...] = (
        lambda: [row for row in entry.rows if wanted in row.gto_versions],
        lambda: [row for row in entry.rows if wanted in row.stages],
        lambda: _at_ref(index, entry, wanted, "tag"),
        lambda: _at_ref(index, entry, wanted, "branch"),
        lambda: _at_commit(index, entry, wanted),
        lambda: [row for row in entry.rows if len(wanted) >= 4 and row.output.md5.startswith(wanted.lower())],
        lambda: [row for row in entry.rows if row.version == wanted],
    )
    for step in steps:
        rows = step()
        if len(rows) > 1:
            choices = tuple(row.spec for row in rows)
            raise AmbiguousVersion(
                f"{wanted} could be {len(rows)} versions of {entry.name}.", f"Use one of: {_listing(choices)}.", choices
            )
        if rows:
            return rows[0]
    if git.rev_parse(index.history.top, wanted):
        raise UnknownVersion(
            f"{entry.name} did not exist at {wanted}.",
            f"Versions of it: {_listing([row.version for row in entry.rows])}.",
        )
    names = [row.version for row in entry.rows] + [label for row in entry.rows for label in row.labels]
    raise UnknownVersion(f"{entry.name} has no version {wanted}.", _suggestion(wanted, names, "Versions"))


def _at_ref(index: Index, entry: Entry, wanted: str, kind: str) -> list[Row]:
    for ref in index.history.refs:
        if ref.kind == kind and ref.name == wanted:
            return _at(index, entry, ref.commit)
    return []


def _at_commit(index: Index, entry: Entry, wanted: str) -> list[Row]:
    commit = git.rev_parse(index.history.top, wanted)
    if commit is None and re.fullmatch(r"[0-9a-f]{4,39}", wanted):
        shas = sorted(c.sha for c in index.history.commits if c.sha.startswith(wanted))
        if len(shas) > 1:
            rows = {id(row): row for sha in shas for row in _at(index, entry, sha)}
            return list(rows.values())
    return _at(index, entry, commit) if commit else []


def _at(index: Index, entry: Entry, commit: str) -> list[Row]:
    output = entry.output_at(index.history.state(commit))
    row = entry.row(output.md5) if output else None
    return [row] if row else []


def _suggestion(asked: str, names: list[str], heading: str) -> str:
    names = list(dict.fromkeys(names))
    close = difflib.get_close_matches(asked, names, n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return f"{meant}{heading}: {_listing(names)}."


def _listing(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")

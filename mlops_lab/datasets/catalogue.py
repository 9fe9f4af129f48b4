"""Every version of every dataset of a repository: names, labels and places put on what git remembers."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from . import gto, history
from .definitions import Artifact, Output
from .history import Commit, History, Ref
from .model import Catalogue, Dataset, DatasetVersion, Place
from .whereabouts import Whereabouts

_SHORT = 7


@dataclass
class Row:
    """One content of one dataset, with what is needed to fetch and verify it."""

    output: Output
    commit: Commit
    version: str = ""
    spec: str = ""
    gto_versions: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """Everything that points at this content besides the name it goes by."""
        others = [v for v in self.gto_versions if v != self.version] + [f"#{stage}" for stage in self.stages]
        return others + [tag for tag in self.tags if tag != self.version] + self.branches


@dataclass
class Entry:
    """One dataset: its names, the paths it has had, its rows newest first."""

    name: str
    path: str
    paths: tuple[str, ...]
    """The current path first, then those from before it was renamed."""
    aliases: set[str]
    rows: list[Row]
    current: str | None
    """The md5 at HEAD; None when HEAD does not have the dataset."""

    def row(self, md5: str) -> Row | None:
        """Find the row of a content."""
        return next((row for row in self.rows if row.output.md5 == md5), None)

    def output_at(self, state: dict[str, Output]) -> Output | None:
        """Find the dataset in the state of one commit, under any of its paths."""
        return next((state[path] for path in self.paths if path in state), None)


@dataclass
class Index:
    """The datasets of a repository, as the rest of the room looks them up."""

    history: History
    entries: list[Entry]


def read_catalogue(path: str | Path = ".") -> Catalogue:
    """List every version of every dataset of the repository that holds `path`.

    Parameters
    ----------
    path
        Any file or folder inside the repository.

    Returns
    -------
    Catalogue
        Datasets of HEAD first, by name; versions newest first, one per content.

    Raises
    ------
    NoGit, NoRepository, ForeignRepository, NotDvc
    """
    index = read_index(path)
    where = Whereabouts(index.history)
    datasets = [
        Dataset(
            name=entry.name,
            path=entry.path,
            versions=[to_version(entry, row, where.of(entry.path, row.output)) for row in entry.rows],
        )
        for entry in index.entries
    ]
    notices = list(index.history.notices)
    if not index.history.head:
        notices.insert(0, "Nothing has been committed in this repository yet.")
    return Catalogue(
        repository=str(index.history.top),
        head=index.history.head,
        branch=index.history.branch,
        datasets=datasets,
        notice=" ".join(notices) or None,
    )


def to_version(entry: Entry, row: Row, where: list[Place] | None = None) -> DatasetVersion:
    """Give a row its wire form."""
    return DatasetVersion(
        name=entry.name,
        version=row.version,
        spec=row.spec,
        md5=row.output.md5,
        path=row.output.path,
        commit=row.commit.sha,
        author=row.commit.author,
        date=row.commit.date,
        message=row.commit.message,
        size=row.output.size,
        nfiles=row.output.nfiles,
        labels=row.labels,
        where=where or [],
    )


_indexes: WeakKeyDictionary[History, Index] = WeakKeyDictionary()


def read_index(path: str | Path = ".") -> Index:
    """Read the datasets of the repository that holds `path`, with all that resolving and fetching need."""
    known = history.read(path)
    index = _indexes.get(known)
    if index is None:
        index = _indexes[known] = _build(known)
    return index


def _build(known: History) -> Index:
    refs = [ref for ref in known.refs if ref.commit]
    head = known.state(known.head) if known.head else {}
    artifacts = [a for pipeline in known.pipelines.values() for a in pipeline.artifacts]
    entries = _entries(known, _groups(known, head, artifacts), head, artifacts)
    _give_names(entries, artifacts)
    _give_labels(known, entries, refs)
    for entry in entries:
        _give_versions(entry)
    entries.sort(key=lambda entry: (entry.current is None, entry.name))
    return Index(known, entries)


def _groups(known: History, head: dict[str, Output], artifacts: list[Artifact]) -> list[tuple[str, ...]]:
    """Put the paths of one dataset together: a rename keeps the content in the very commit that changes the path."""
    follows: dict[str, str] = {}
    seen: dict[str, None] = {}
    for commit in known.commits:
        before: dict[str, Output] = {}
        after: dict[str, Output] = {}
        for path, old, new in commit.changes:
            before.update((o.path, o) for o in known.definition(old, path).outputs)
            after.update((o.path, o) for o in known.definition(new, path).outputs)
        seen.update(dict.fromkeys(after))
        seen.update(dict.fromkeys(before))
        gone = {o.md5: p for p, o in before.items() if p not in after and p not in head}
        for path, output in after.items():
            if path not in before and gone.get(output.md5, path) != path:
                follows.setdefault(gone[output.md5], path)
    named: dict[tuple[str, str], str] = {}
    for artifact in artifacts:
        first = named.setdefault((artifact.folder, artifact.name), artifact.path)
        if first != artifact.path and artifact.path in seen and artifact.path not in head:
            follows.setdefault(artifact.path, first)

    def final(path: str) -> str:
        passed = {path}
        while path in follows and follows[path] not in passed:
            path = follows[path]
            passed.add(path)
        return path

    groups: dict[str, list[str]] = {}
    for path in seen:
        groups.setdefault(final(path), []).append(path)
    models = {a.path for a in artifacts if a.type == "model"}
    return [(last, *(p for p in paths if p != last)) for last, paths in groups.items() if last not in models]


def _entries(
    known: History, groups: list[tuple[str, ...]], head: dict[str, Output], artifacts: list[Artifact]
) -> list[Entry]:
    group_of = {path: number for number, paths in enumerate(groups) for path in paths}
    rows: list[dict[str, Row]] = [{} for _ in groups]
    for commit in reversed(known.commits):
        for path, _, new in commit.changes:
            for output in known.definition(new, path).outputs:
                number = group_of.get(output.path)
                if number is not None and output.md5 not in rows[number]:
                    rows[number][output.md5] = Row(output, commit)
    entries: list[Entry] = []
    for paths, found in zip(groups, rows, strict=True):
        now = next((head[path] for path in paths if path in head), None)
        aliases = set(paths)
        for artifact in artifacts:
            if artifact.path in paths:
                aliases |= {artifact.name, f"{artifact.folder}:{artifact.name}".lstrip(":")}
        if found:
            newest_first = list(reversed(found.values()))
            entries.append(Entry("", paths[0], paths, aliases, newest_first, now.md5 if now else None))
    return entries


def _give_names(entries: list[Entry], artifacts: list[Artifact]) -> None:
    """Name each dataset by its artifact, else by its last path component, else (when taken) by its path."""
    wishes: dict[str, list[Entry]] = {}
    for entry in entries:
        artifact = next((a.name for a in artifacts if a.path in entry.paths), None)
        entry.name = artifact or posixpath.basename(entry.path)
        wishes.setdefault(entry.name, []).append(entry)
    for name, same in wishes.items():
        alive = [entry for entry in same if entry.current is not None]
        # A dataset that was deleted does not take the short name from one that lives.
        keeps = alive[0] if len(alive) == 1 else same[0] if len(same) == 1 else None
        for entry in same:
            if entry is not keeps:
                entry.name = entry.path
            entry.aliases |= {entry.name, name}


def _give_labels(known: History, entries: list[Entry], refs: list[Ref]) -> None:
    cancelled = {(r.gto.folder, r.gto.name, r.gto.version) for r in refs if r.gto and r.gto.version and r.gto.cancelled}
    assignments: dict[tuple[str, str, str], Ref] = {}
    for ref in sorted(refs, key=lambda ref: (ref.kind == "remote", ref.created, ref.name)):
        if ref.gto and ref.gto.stage:
            key = (ref.gto.folder, ref.gto.name, ref.gto.stage)
            before = assignments.get(key)
            if not (before and before.gto and before.gto.counter > ref.gto.counter):
                assignments[key] = ref
        elif ref.gto:
            if not ref.gto.cancelled and (ref.gto.folder, ref.gto.name, ref.gto.version) not in cancelled:
                for row in _tagged(known, entries, ref):
                    row.gto_versions.append(ref.gto.version or "")
        else:
            _label(known, entries, ref)
    for (_, _, stage), ref in assignments.items():
        if ref.gto and not ref.gto.cancelled:
            for row in _tagged(known, entries, ref):
                row.stages.append(stage)


def _tagged(known: History, entries: list[Entry], ref: Ref) -> Iterable[Row]:
    """Find the one content that a GTO tag means: the dataset of that name, as it was at the tagged commit."""
    tag = ref.gto
    if tag is None:
        return
    state = known.state(ref.commit)
    full = f"{tag.folder}:{tag.name}" if tag.folder else tag.name
    candidates = [e for e in entries if full in e.aliases or posixpath.join(tag.folder, tag.name) in e.paths]
    if len(candidates) > 1:
        exact = [e for e in candidates if e.name == tag.name] or [e for e in candidates if e.output_at(state)]
        # Two datasets could be meant: no label is better than a wrong one.
        candidates = exact if len(exact) == 1 else []
    for entry in candidates:
        output = entry.output_at(state)
        row = entry.row(output.md5) if output else None
        if row:
            yield row


def _label(known: History, entries: list[Entry], ref: Ref) -> None:
    state = known.state(ref.commit)
    for entry in entries:
        output = entry.output_at(state)
        row = entry.row(output.md5) if output else None
        if row is None:
            continue
        if ref.kind == "tag":
            row.tags.append(ref.name)
        elif ref.kind == "branch" or ref.name.partition("/")[2] not in row.branches:
            row.branches.append(ref.name)


def _give_versions(entry: Entry) -> None:
    lengths = _lengths(sorted(row.output.md5 for row in entry.rows))
    for row in entry.rows:
        row.gto_versions.sort(key=gto.precedence, reverse=True)
        if row.gto_versions:
            row.version = row.gto_versions[0]
        elif row.tags:
            # The oldest tag on this content: a later one must not rename what earlier runs have recorded.
            row.version = row.tags[0]
        else:
            short = row.output.md5[: lengths[row.output.md5]]
            row.version = f"{row.commit.date[:10]}-{short}"
            row.spec = f"{entry.name}@{short}"
        row.spec = row.spec or f"{entry.name}@{row.version}"


def _lengths(digests: list[str]) -> dict[str, int]:
    """Give how many digits tell each of the sorted `digests` from its neighbours, at least seven."""
    lengths = dict.fromkeys(digests, _SHORT)
    for one, next_one in itertools.pairwise(digests):
        common = len(posixpath.commonprefix([one, next_one]))
        for digest in (one, next_one):
            lengths[digest] = max(lengths[digest], common + 1)
    return lengths

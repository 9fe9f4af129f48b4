"""A repository's whole history of dataset definitions, read with four git processes and kept while no ref moves.

Blob ids are immutable, so what was parsed once is never parsed again; refs and HEAD together tell whether the history
is still the one that was read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import git, gto
from .definitions import (
    Definition,
    DefinitionReader,
    Output,
    Pipeline,
    is_dvc_file,
    is_lock,
    is_pipeline,
    parse_pipeline,
)
from .errors import NotDvc

_PATHSPECS = ("*.dvc", "dvc.lock", "*/dvc.lock", "dvc.yaml", "*/dvc.yaml")
_CACHED_BLOBS = 100_000
_ABSENT = "0" * 40


@dataclass(frozen=True, slots=True)
class Commit:
    """Who changed a definition, when and why."""

    sha: str
    author: str
    date: str
    message: str
    changes: tuple[tuple[str, str | None, str | None], ...]
    """Path of a definition file, its blob before and after; None where it did not exist."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch, tag or remote branch."""

    name: str
    """Short name: ``main``, ``v1``, ``origin/main``."""
    kind: str
    """``branch``, ``tag`` or ``remote``."""
    commit: str
    created: int
    gto: gto.GtoTag | None = None


_Definitions = dict[tuple[str, str], Definition]
"""Per path and blob of a definition file: what it says."""
_NOTHING = Definition()


@dataclass(eq=False)
class History:
    """All that git knows about the definitions of one repository."""

    top: Path
    head: str
    branch: str | None
    commits: list[Commit]
    """Newest first."""
    refs: list[Ref]
    files: list[str]
    """Every definition file (``.dvc``, ``dvc.lock``) of the history."""
    pipelines: dict[str, Pipeline]
    """Per ``dvc.yaml`` path; artifacts of older versions included, newest first."""
    notices: list[str] = field(default_factory=list)
    _states: dict[str, dict[str, Output]] = field(default_factory=dict)
    _definitions: _Definitions = field(default_factory=dict)

    def definition(self, blob: str | None, path: str) -> Definition:
        """Give what the definition file `path` said in version `blob`."""
        return self._definitions.get((path, blob), _NOTHING) if blob else _NOTHING

    def state(self, commit: str) -> dict[str, Output]:
        """Give every output as of `commit`, by path."""
        if commit not in self._states:
            found = _look_up(self.top, [commit], self.files)[commit]
            wanted = [pair for pair in found.items() if pair not in self._definitions]
            contents = dict(git.blobs(self.top, {blob for _, blob in wanted}))
            self._read_definitions(wanted, contents)
            self._set_state(commit, found)
        return self._states[commit]

    def _read_definitions(self, pairs: Iterable[tuple[str, str]], contents: dict[str, bytes]) -> None:
        readers: dict[str, DefinitionReader] = {}
        for path, blob in pairs:
            if (path, blob) not in self._definitions and blob in contents:
                reader = readers.get(path)
                if reader is None:
                    pipeline = self.pipelines.get(path.removesuffix("dvc.lock") + "dvc.yaml")
                    reader = readers[path] = DefinitionReader(path, pipeline if is_lock(path) else None)
                self._definitions[path, blob] = reader.read(contents[blob])

    def _set_state(self, commit: str, found: dict[str, str]) -> None:
        outputs = (output for path, blob in found.items() for output in self.definition(blob, path).outputs)
        self._states[commit] = {output.path: output for output in outputs}


_histories: dict[Path, tuple[bytes, History]] = {}
_lock = threading.Lock()


def read(path: str | Path = ".") -> History:
    """Read the history of the repository that holds `path`; a warm one costs one git process.

    Raises
    ------
    NoGit, NoRepository, ForeignRepository, NotDvc
    """
    top, shared = _place(path)
    listing = git.refs(top)
    refs, head, branch = _parse_refs(listing)
    if not head:
        # Detached, or before the first commit: no branch carries the star.
        head, branch = git.commit(top) or "", git.branch(top)
    key = b"%s\n%s\n%s" % (listing, head.encode(), (branch or "").encode())
    with _lock:
        known = _histories.get(top)
    if known and known[0] == key:
        return known[1]
    history = _read(top, head, branch, refs, known[1] if known else None)
    if (shared / "shallow").exists():
        history.notices.insert(0, "This is a shallow clone: its history is cut, and older versions are not listed.")
    _require_dvc(history, Path(path))
    with _lock:
        _histories[top] = (key, history)
    return history


_places: dict[Path, tuple[Path, Path]] = {}


def _place(path: str | Path) -> tuple[Path, Path]:
    """Give the top of the working tree and the git directory that it shares with other working trees."""
    folder = Path(path).expanduser().absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    # The nearest .git decides, so a repository made inside a known one since is seen.
    nearest = next((place for place in (folder, *folder.parents) if (place / ".git").exists()), folder)
    if nearest not in _places:
        _places[nearest] = (git.top(nearest), git.common_directory(nearest))
    return _places[nearest]


def _parse_refs(listing: bytes) -> tuple[list[Ref], str, str | None]:
    refs: list[Ref] = []
    head, branch = "", None
    kinds = {"refs/heads/": "branch", "refs/tags/": "tag", "refs/remotes/": "remote"}
    for line in listing.decode("utf-8", "surrogateescape").splitlines():
        star, sha, peeled, created, name = line.split("\0")
        prefix = next(p for p in kinds if name.startswith(p))
        short = name.removeprefix(prefix)
        if kinds[prefix] == "remote" and short.endswith("/HEAD"):
            continue
        tag = gto.parse(short) if kinds[prefix] == "tag" else None
        refs.append(Ref(short, kinds[prefix], peeled or sha, int(created or 0), tag))
        if star == "*":
            head, branch = sha, short
    return refs, head, branch


def _read(top: Path, head: str, branch: str | None, refs: list[Ref], before: History | None) -> History:
    commits = _parse_log(git.log(top, _PATHSPECS, with_head=bool(head))) if head or refs else []
    touched = dict.fromkeys(path for commit in commits for path, _, _ in commit.changes)
    files = [path for path in touched if not is_pipeline(path)]
    yamls = [path for path in touched if is_pipeline(path)]
    tips = [commit for commit in dict.fromkeys((head, *(ref.commit for ref in refs))) if commit]
    known = before._definitions if before and len(before._definitions) < _CACHED_BLOBS else {}
    found = _look_up(top, tips, files + yamls)
    pairs = dict.fromkeys(pair for commit in tips for pair in found[commit].items())
    pairs |= dict.fromkeys((path, blob) for c in commits for path, *both in c.changes for blob in both if blob)
    wanted = {blob for path, blob in pairs if (path, blob) not in known and (path, blob) not in _parsed_pipelines}
    contents = dict(git.blobs(top, wanted))
    # HEAD comes first among the pairs: it decides what a name means now, and the past only adds names that it lacks.
    pipelines = _pipelines([pair for pair in pairs if is_pipeline(pair[0])], contents)
    history = History(top, head, branch, commits, refs, files, pipelines)
    if before and before.pipelines == pipelines:
        history._definitions = known
    elif known:
        contents.update(git.blobs(top, {blob for _, blob in pairs} - contents.keys()))
    history._read_definitions((pair for pair in pairs if not is_pipeline(pair[0])), contents)
    for commit in tips:
        history._set_state(commit, {path: blob for path, blob in found[commit].items() if not is_pipeline(path)})
    newest = {path: new for c in reversed(commits) for path, _, new in c.changes}
    unsupported = sum(history.definition(newest[path], path).unsupported for path in files)
    if unsupported:
        history.notices.append(
            f"{unsupported} tracked outputs have no md5 of DVC's own (cloud-versioned, external) and are not listed."
        )
    return history


def _look_up(top: Path, commits: list[str], paths: list[str]) -> dict[str, dict[str, str]]:
    """Give the blobs of `paths` in each of `commits`."""
    ids = iter(git.look_up(top, [f"{commit}:{path}" for commit in commits for path in paths]))
    return {commit: {path: blob for path in paths if (blob := next(ids))} for commit in commits}


def _parse_log(data: bytes) -> list[Commit]:
    commits: list[Commit] = []
    tokens = data.split(b"\0")
    at = 0
    while at < len(tokens) - 1:
        sha, author, date, message = (t.decode("utf-8", "replace") for t in tokens[at : at + 4])
        at += 4
        changes: list[tuple[str, str | None, str | None]] = []
        while at < len(tokens) - 1 and tokens[at].lstrip(b"\n").startswith(b":"):
            _, _, old, new, _ = tokens[at].decode().split()
            name = tokens[at + 1]
            at += 2
            try:
                path = name.decode()
            except UnicodeDecodeError:
                continue
            # The line-based protocol of cat-file cannot ask for a name with a line break in it.
            if "\n" not in path and (is_dvc_file(path) or is_lock(path) or is_pipeline(path)):
                changes.append((path, _present(old), _present(new)))
        commits.append(Commit(sha.lstrip("\n\x01"), author, date, message, tuple(changes)))
    return commits


def _present(blob: str) -> str | None:
    return None if blob.startswith(_ABSENT) else blob


def _pipelines(pairs: list[tuple[str, str]], contents: dict[str, bytes]) -> dict[str, Pipeline]:
    versions: dict[str, list[Pipeline]] = {}
    for path, blob in pairs:
        if (path, blob) in _parsed_pipelines or blob in contents:
            versions.setdefault(path, []).append(_pipeline(path, blob, contents))
    return {
        path: Pipeline(
            tuple(dict.fromkeys(artifact for one in known for artifact in one.artifacts)),
            known[0].wdirs,
            known[0].not_data,
        )
        for path, known in versions.items()
    }


_parsed_pipelines: dict[tuple[str, str], Pipeline] = {}


def _pipeline(path: str, blob: str, contents: dict[str, bytes]) -> Pipeline:
    found = _parsed_pipelines.get((path, blob))
    if found is None:
        if len(_parsed_pipelines) > _CACHED_BLOBS:
            _parsed_pipelines.clear()
        found = _parsed_pipelines[path, blob] = parse_pipeline(contents[blob], path)
    return found


def _require_dvc(history: History, path: Path) -> None:
    if history.files:
        return
    folder = path.expanduser().absolute()
    inside = [place for place in (folder, *folder.parents) if place.is_relative_to(history.top)]
    if any((place / ".dvc" / "config").is_file() for place in (history.top, *inside)):
        return
    if not git.tracked(history.top, "*.dvc/config"):
        raise NotDvc(
            f"The repository {history.top} has no DVC in it, so it has no dataset versions.",
            "Run dvc init in it, then dvc add for the folder with your images.",
        )

"""The git command line, typed: the only place of the room that runs it.

git alone ties the physical floor on long histories (libraries are slower), and reading through it changes nothing:
no lock is taken and no hook, pager, prompt or file system monitor is started.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .errors import ForeignRepository, GitFailed, NoGit, NoRepository

_SCRUBBED = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
}
_FIXED = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",
}
# Personal settings that would change what git prints, or run programs of the repository's choice.
_SETTINGS = ("core.fsmonitor=false", "core.quotePath=false", "log.showSignature=false", "log.showRoot=true")

MOST_FILES = 1000
"""Files that are asked about in one command; a longer one may be refused."""


def top(path: str | os.PathLike[str] = ".") -> Path:
    """Find the top of the working tree that holds `path`, a file or a folder.

    Raises
    ------
    NoGit, NoRepository, ForeignRepository
    """
    return Path(os.fsdecode(_output(_folder(path), ("rev-parse", "--show-toplevel")).rstrip(b"\n")))


def common_directory(path: str | os.PathLike[str] = ".") -> Path:
    """Give the git directory that all working trees of the repository share."""
    folder = _folder(path)
    return folder / os.fsdecode(_output(folder, ("rev-parse", "--git-common-dir")).rstrip(b"\n"))


def commit(path: str | os.PathLike[str] = ".") -> str | None:
    """Give HEAD's commit as 40 hex digits; None before the first commit."""
    return rev_parse(path, "HEAD")


def branch(path: str | os.PathLike[str] = ".") -> str | None:
    """Give the name of the current branch; None on a detached HEAD."""
    code, out, _ = _run(_folder(path), ("symbolic-ref", "--quiet", "--short", "HEAD"), allowed=(0, 1))
    return os.fsdecode(out.rstrip(b"\n")) if code == 0 else None


@dataclass(frozen=True, slots=True)
class State:
    """Where a working tree stands."""

    top: Path
    commit: str | None
    """40 hex digits; None before the first commit."""
    branch: str | None
    """None on a detached HEAD."""
    dirty: bool
    """Do tracked files differ from the commit? Submodules count, whose commits it names."""
    remote: str | None
    """As configured, credentials and all: see :func:`without_credentials`."""


def state(path: str | os.PathLike[str] = ".") -> State:
    """Give in three processes what :func:`top`, :func:`commit`, :func:`branch`, :func:`dirty` and the remote are.

    Raises
    ------
    NoGit, NoRepository, ForeignRepository, GitFailed
    """
    folder = _folder(path)
    place = top(folder)
    lines = _output(folder, ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no")).split(b"\0")
    said = {}
    for line in lines:
        if line.startswith(b"# branch."):
            key, _, value = line[len(b"# branch.") :].partition(b" ")
            said[key] = os.fsdecode(value)
    oid, head = said.get(b"oid", ""), said.get(b"head", "")
    current = None if head in ("", "(detached)") else head
    return State(
        top=place,
        commit=oid if re.fullmatch(r"[0-9a-f]{40,64}", oid) else None,
        branch=current,
        dirty=any(line and not line.startswith(b"# ") for line in lines),
        remote=_configured_remote(folder, current),
    )


def _configured_remote(folder: Path, current: str | None) -> str | None:
    """Give the URL of the remote that `current` follows, else of origin, else of the first."""
    query = r"^(remote\..*\.url|branch\..*\.remote)$"
    _, out, _ = _run(folder, ("config", "--null", "--get-regexp", query), allowed=(0, 1))
    urls: dict[str, str] = {}
    followed = ""
    for entry in os.fsdecode(out).split("\0"):
        key, _, value = entry.partition("\n")
        if key.startswith("remote."):
            urls.setdefault(key[len("remote.") : -len(".url")], value)
        elif current and key == f"branch.{current}.remote":
            followed = value
    return urls.get(followed) or urls.get("origin") or next(iter(urls.values()), None)


def changes(path: str | os.PathLike[str], pathspecs: Sequence[str] = ()) -> str:
    """Give as a patch what tracked files (those of `pathspecs`) differ from HEAD in, staged or not; no binaries."""
    flags = ("--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short")
    return os.fsdecode(_output(_folder(path), ("diff", *flags, "HEAD", "--", *pathspecs)))


def dirty(path: str | os.PathLike[str] = ".", *, untracked: bool = False) -> bool:
    """Tell whether tracked files differ from HEAD (with `untracked`, also whether unknown files lie about)."""
    mode = "normal" if untracked else "no"
    return bool(_output(_folder(path), ("status", "--porcelain", "-z", f"--untracked-files={mode}")))


def tracks(path: str | os.PathLike[str]) -> bool:
    """Tell whether git knows the file at `path`: added, even if not committed yet."""
    place = Path(path)
    return bool(_output(_folder(place.parent), ("ls-files", "-z", "--", place.name)))


def untracked(top: Path, files: Iterable[Path]) -> list[str]:
    """List those of `files` that git does not know and is not told to ignore; only their folders are looked at."""
    wanted = [os.fspath(file) for file in files][:MOST_FILES]
    if not wanted:
        return []
    arguments = ("--literal-pathspecs", "ls-files", "-z", "--others", "--exclude-standard", "--", *wanted)
    return [os.fsdecode(name) for name in _output(top, arguments).split(b"\0") if name]


def remote_url(path: str | os.PathLike[str] = ".") -> str | None:
    """Give the URL of the remote that the current branch follows (else origin, else the first), without credentials."""
    folder = _folder(path)
    names = os.fsdecode(_output(folder, ("remote",))).split()
    if not names:
        return None
    current = branch(folder)
    followed = ""
    if current:
        _, out, _ = _run(folder, ("config", "--get", f"branch.{current}.remote"), allowed=(0, 1))
        followed = os.fsdecode(out.rstrip(b"\n"))
    name = next((n for n in (followed, "origin", names[0]) if n in names), names[0])
    url = os.fsdecode(_output(folder, ("remote", "get-url", "--", name)).rstrip(b"\n"))
    return without_credentials(url)


def without_credentials(url: str) -> str:
    """Remove user name, password and query (where tokens hide) from `url`; ``ssh://git@host`` keeps its user.

    A path and the short form ``git@host:path`` hold no secret and stay as they are.
    """
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    userinfo, _, host = parts.netloc.rpartition("@")
    user = userinfo.partition(":")[0]
    keep = bool(user) and parts.scheme in ("ssh", "git+ssh", "ssh+git")
    return urlunsplit((parts.scheme, f"{user}@{host}" if keep else host, parts.path, "", ""))


def rev_parse(path: str | os.PathLike[str], revision: str) -> str | None:
    """Give the commit that `revision` names, None when it names none (or several)."""
    if not revision or revision.startswith("-") or "\0" in revision:
        return None
    code, out, _ = _run(
        _folder(path),
        ("rev-parse", "--quiet", "--verify", "--end-of-options", revision + "^{commit}"),
        allowed=(0, 1, 128),
    )
    found = out.strip().decode()
    return found if code == 0 and re.fullmatch(r"[0-9a-f]{40,64}", found) else None


def refs(top: Path) -> bytes:
    """List HEAD's star, object, peeled object, creation date and name of every branch, tag and remote branch.

    The raw bytes serve as freshness key; :func:`mlops_lab.datasets.history.read` parses them.
    """
    form = "%(HEAD)%00%(objectname)%00%(*objectname)%00%(creatordate:unix)%00%(refname)"
    return _output(top, ("for-each-ref", f"--format={form}", "refs/heads", "refs/tags", "refs/remotes"))


def log(top: Path, pathspecs: Sequence[str], *, with_head: bool) -> bytes:
    """Read the raw changes of `pathspecs` in every commit that a branch, tag or HEAD reaches, newest first.

    ``--full-history`` and first-parent merges find versions that plain ``git log`` simplifies away: those of a
    discarded branch and those made inside a merge. ``--all`` is not used because it adds stashes. There must be a ref,
    or HEAD, for git has no history otherwise.
    """
    arguments = ("log", *(("HEAD",) if with_head else ()), "--branches", "--tags", "--remotes", "--date-order")
    arguments += ("--full-history", "--diff-merges=first-parent", "--raw", "-z", "--no-abbrev", "--no-renames")
    arguments += ("--no-color", "--no-ext-diff", "--no-notes", "--no-mailmap", "--encoding=UTF-8")
    arguments += ("--format=%x01%H%x00%an%x00%aI%x00%s", "--", *pathspecs)
    return _output(top, arguments)


def look_up(top: Path, names: Sequence[str]) -> list[str | None]:
    """Resolve object names such as ``<commit>:<path>`` to object ids in one process; None where nothing is."""
    if not names:
        return []
    out = _output(top, ("cat-file", "--batch-check=%(objectname)"), stdin=_lines(names))
    answers = out.split(b"\n")[: len(names)]
    return [None if b" " in answer else answer.decode() for answer in answers]


def blobs(top: Path, ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Read objects by id in one process; those that a shallow or partial clone lacks are left out."""
    wanted = list(ids)
    if not wanted:
        return
    out = _output(top, ("cat-file", "--batch"), stdin=_lines(wanted))
    at = 0
    for blob in wanted:
        end = out.index(b"\n", at)
        header = out[at:end]
        at = end + 1
        if header.endswith(b" missing"):
            continue
        size = int(header.rsplit(b" ", 1)[1])
        yield blob, out[at : at + size]
        at += size + 1


def tracked(top: Path, pathspec: str) -> list[str]:
    """List the files of the index that match `pathspec`."""
    out = _output(top, ("ls-files", "-z", "--", pathspec))
    return [os.fsdecode(name) for name in out.split(b"\0") if name]


def _lines(names: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(name) + b"\n" for name in names)


def _folder(path: str | os.PathLike[str]) -> Path:
    folder = Path(path).expanduser()
    # A notebook that was never saved has a path but no file: its folder decides.
    while not folder.is_dir():
        if folder == folder.parent:
            raise NoRepository(f"There is no folder {path}.", "Check the path.")
        folder = folder.parent
    return folder.absolute()


def _output(folder: Path, arguments: Sequence[str], stdin: bytes | None = None) -> bytes:
    return _run(folder, arguments, stdin=stdin)[1]


def _run(
    folder: Path, arguments: Sequence[str], *, stdin: bytes | None = None, allowed: tuple[int, ...] = (0,)
) -> tuple[int, bytes, str]:
    command = ["git", "--no-pager"]
    for setting in _SETTINGS:
        command += ["-c", setting]
    environment = {key: value for key, value in os.environ.items() if key not in _SCRUBBED}
    environment.update(_FIXED)
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            input=b"" if stdin is None else stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        if not folder.is_dir():
            raise NoRepository(f"There is no folder {folder}.", "Check the path.") from None
        raise NoGit("git is not installed on this machine.", "Install git and make sure it is on the PATH.") from None
    complaint = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode in allowed and "dubious ownership" not in complaint:
        return done.returncode, done.stdout, complaint
    raise _explain(folder, complaint, done.returncode)


def _explain(folder: Path, complaint: str, code: int) -> NoRepository | ForeignRepository | GitFailed:
    if "dubious ownership" in complaint:
        return ForeignRepository(
            f"Another user owns the repository of {folder}, so git does not read it.",
            "If you trust it, run: git config --global --add safe.directory <top of that repository>",
        )
    if "not a git repository" in complaint or "must be run in a work tree" in complaint:
        return NoRepository(
            f"{folder} is not inside a git repository.", "Open a notebook in your project, or run git init."
        )
    last = complaint.splitlines()[-1] if complaint else f"exit status {code}"
    return GitFailed(f"git could not read {folder}: {last}", "Run git fsck in that repository.")

"""Where a run comes from: the commit, the notebook and cell or script, the command, and the person; as MLflow tags."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ...connection import tags as names
from ...errors import MlopsLabError
from ...privacy.secrets import MASK, is_secret_name, mask_text

if TYPE_CHECKING:
    from ...datasets.git import State

LONGEST_COMMAND = 2000
LONGEST_PATCH = 1_000_000
"""Characters of uncommitted changes that are kept."""
LARGEST_NOTEBOOK = 32_000_000
"""Bytes of a notebook that is searched for its cell; nobody waits for a larger one."""

_CELL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PATH_TOKEN = re.compile(r"(?<=/t/)[^/]+|(?<=/token/)[^/]+")
_SHORT = re.compile(r"(?:(?P<user>[^/@]*)@)?(?P<host>[^/@:]+):(?!//)(?P<path>.+)")


class _Cell(msgspec.Struct):
    source: str | list[str] = ""
    id: str = ""


class _Notebook(msgspec.Struct):
    cells: list[_Cell] = []


def shell() -> Any:
    """Give the running IPython, or None; IPython is never imported on our account."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None


def notebook() -> Path | None:
    """Find the notebook that runs us, from what Jupyter, VS Code or nbclient's caller tell; None outside of one."""
    running = shell()
    told = running.user_ns.get("__vsc_ipynb_file__") if running is not None else None
    told = told or os.environ.get("MLOPS_LAB_NOTEBOOK") or os.environ.get("JPY_SESSION_NAME")
    if not told or not str(told).endswith(".ipynb"):
        return None
    path = Path(str(told))
    if path.is_absolute() and path.exists():
        return path
    # Jupyter tells the path below the folder it was started in; a kernel starts in the notebook's own folder.
    try:
        beside = Path.cwd() / path.name
    except OSError:  # the folder was deleted under the kernel
        return path
    return beside if beside.exists() else path


def verified_user() -> str | None:
    """Give the name under which the server knows the person, as it was verified at login; None where it knows none."""
    from ...connection.session import read_session

    try:
        session = read_session()
    except MlopsLabError:
        return None
    return session.user if session is not None and session.user else None


def user() -> str:
    """Name the person: as the server knows them, else as the system does."""
    known = verified_user()
    if known:
        return known
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def code_tags(folder: Path | None) -> dict[str, str]:
    """Give the tags that say which code runs, how it was started, and by whom.

    Parameters
    ----------
    folder
        Where it was started; None where that folder no longer exists.

    Returns
    -------
    dict
        Tags as :mod:`mlops_lab.connection.tags` names them, without credentials and without paths of this computer
        where a repository makes them relative.
    """
    from . import script

    tags: dict[str, str] = {}
    path = notebook()
    place = code_folder(path, folder)
    top = git_tags(tags, place, path or script.path()) if place is not None else None
    running = shell()
    if path is not None:
        tags[names.SOURCE_TYPE] = "NOTEBOOK"
        tags[names.NOTEBOOK] = tags[names.SOURCE_NAME] = _relative(path, top)
    else:
        started = sys.argv[0] if sys.argv and sys.argv[0] and running is None else ""
        tags[names.SOURCE_TYPE] = "NOTEBOOK" if running is not None else "LOCAL"
        tags[names.SOURCE_NAME] = _relative(_absolute(started), top) if started else "notebook"
    if running is not None:
        tags.update(cell_tags(running, path))
    tags[names.COMMAND] = command(top)
    person = verified_user()
    if person:
        tags[names.PERSON] = person
    return tags


def code_folder(path: Path | None, folder: Path | None) -> Path | None:
    """Give the folder of the code: that of the notebook at `path`, else `folder`, where it was started."""
    return path.parent if path is not None and path.is_absolute() else folder


def git_tags(tags: dict[str, str], folder: Path, code: Path | None = None) -> Path | None:
    """Add the tags of the repository around `folder` and give its top; None, and no tags, where there is none.

    A notebook or script (`code`) that git does not know is an uncommitted change too, and so is an imported module:
    the commit does not hold them. Submodules need no tags of their own: the commit names theirs, and one that stands
    elsewhere makes the tree dirty.
    """
    from ...datasets import git
    from . import script

    try:
        state = git.state(folder)
        if state.commit:
            tags[names.GIT_COMMIT] = state.commit
            dirty = state.dirty or (code is not None and code.is_absolute() and not _is_known(code, state.top))
            dirty = dirty or bool(git.untracked(state.top, script.modules(state.top)))
            tags[names.GIT_DIRTY] = "true" if dirty else "false"
    except MlopsLabError:
        return None
    if state.branch:
        tags[names.GIT_BRANCH] = state.branch
    url = public_url(state.remote) if state.remote else ""
    if url and "/" in url:
        tags[names.GIT_REMOTE] = url
    name = _repository(state, url)
    if name:
        tags[names.REPOSITORY] = name
    return state.top


def _is_known(code: Path, top: Path) -> bool:
    from ...datasets import git

    return Path(os.path.realpath(code)).is_relative_to(os.path.realpath(top)) and git.tracks(code)


def public_url(url: str) -> str:
    """Give `url` without what is nobody's business: credentials, tokens, people's names, paths of this computer.

    ``https://user:password@host/x.git`` becomes ``https://host/x.git``; ``git@host:x.git`` stays; ``ada@host:x.git``
    becomes ``host:x.git``; a local path is reduced to its last part.
    """
    text = url.strip()
    if "://" in text:
        try:
            parts = urlsplit(text)
            if parts.scheme.endswith("file"):
                return _last_part(parts.path)
            userinfo, _, host = parts.netloc.rpartition("@")
        except ValueError:
            return ""
        host = f"git@{host}" if "ssh" in parts.scheme and userinfo.partition(":")[0] == "git" else host
        text = urlunsplit((parts.scheme, host, _PATH_TOKEN.sub(MASK, parts.path), "", ""))
    else:
        short = _SHORT.fullmatch(text)
        if short is None:
            return _last_part(text)
        text = f"{'git@' if short['user'] == 'git' else ''}{short['host']}:{short['path']}"
    return mask_text(text)


def cell_tags(running: Any, path: Path | None) -> dict[str, str]:
    """Say which cell runs.

    Parameters
    ----------
    running
        IPython's shell.
    path
        The notebook's file, where it is known.

    Returns
    -------
    dict
        Execution count; the cell's id, which JupyterLab and Notebook tell with the request; and the cell's place in
        the file as it was saved last. Where no id is told (nbclient, VS Code), the place is that of the only cell
        with this source.
    """
    tags = {}
    # The list begins with an empty entry; the shell's own counter is raised before the cell or after it, by version.
    history = getattr(getattr(running, "history_manager", None), "input_hist_raw", None) or [""]
    if len(history) > 1:
        tags[names.CELL] = str(len(history) - 1)
    told = _told_id(running)
    if told:
        tags[names.CELL_ID] = told
    found = _find_cell(path, told, history[-1]) if path is not None else None
    if found is not None:
        index, identity = found
        tags[names.CELL_INDEX] = str(index)
        if identity:
            tags[names.CELL_ID] = identity
    return tags


def _told_id(running: Any) -> str:
    try:
        told = running.get_parent().get("metadata", {}).get("cellId")
    except Exception:  # a shell without a kernel, or one whose messages look different
        return ""
    # VS Code tells an address that holds the notebook's path: that is no id of the notebook format.
    return told if isinstance(told, str) and _CELL_ID.fullmatch(told) else ""


def _find_cell(path: Path, identity: str, source: str) -> tuple[int, str] | None:
    try:
        if path.stat().st_size > LARGEST_NOTEBOOK:
            return None
        cells = msgspec.json.decode(path.read_bytes(), type=_Notebook).cells
    except (OSError, msgspec.MsgspecError):
        return None
    if identity:
        return next(((index, identity) for index, cell in enumerate(cells, 1) if cell.id == identity), None)
    wanted = source.strip()
    same = [
        (index, cell.id)
        for index, cell in enumerate(cells, 1)
        if wanted and ("".join(cell.source) if isinstance(cell.source, list) else cell.source).strip() == wanted
    ]
    return same[0] if len(same) == 1 else None


def command(top: Path | None = None) -> str:
    """Say how this program was started, as one would type it.

    Parameters
    ----------
    top
        Top of the repository; absolute paths below it become relative, of others the last part is kept.

    Returns
    -------
    str
        E.g. ``"python -m project.train --lr 0.1"``, ``"torchrun --nproc-per-node=2 train.py"``, ``"mlops-lab ..."``,
        ``"jupyter kernel"``. Secrets are masked; code given with ``-c`` is left out.
    """
    running = shell()
    if running is not None:
        return "jupyter kernel" if hasattr(running, "kernel") else "ipython"
    words = list(sys.orig_argv) or list(sys.argv)
    program, rest = os.path.basename(words[0]) or "python", _without_code(words[1:])
    if rest and os.path.isabs(rest[0]) and os.path.dirname(rest[0]) == os.path.dirname(sys.executable):
        program, rest = os.path.basename(rest[0]), rest[1:]  # a command that pip put beside the interpreter
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local = os.environ.get("LOCAL_WORLD_SIZE", "1")
        world = os.environ.get("WORLD_SIZE", local)
        nodes = int(world) // int(local) if world.isdigit() and local.isdigit() and int(local) else 1
        program = " ".join(["torchrun", *([f"--nnodes={nodes}"] if nodes > 1 else []), f"--nproc-per-node={local}"])
        rest = [word for word in rest if word != "-u"]
    words = [_portable(word, top) for word in _without_secrets(rest)]
    text = " ".join([program, *(word if MASK in word else shlex.quote(word) for word in words)])
    return mask_text(text)[:LONGEST_COMMAND]


def _without_code(words: list[str]) -> list[str]:
    """Leave the code of ``python -c`` out; multiprocessing starts its children so."""
    for at, word in enumerate(words):
        if word == "-c":
            return [*words[: at + 1], "..."]
        if word == "-m" or not (word.startswith("-") or (at and words[at - 1] in ("-X", "-W"))):
            break
    return words


def _without_secrets(words: list[str]) -> list[str]:
    """Mask the values of options whose names are those of secrets: ``--token=x``, ``--password x``."""
    found: list[str] = []
    secret = False
    for word in words:
        option, equals, value = word.partition("=")
        named = option.startswith("-") and is_secret_name(option.lstrip("-"))
        if named and equals and value:
            word = f"{option}={MASK}"
        elif secret and not word.startswith("--"):
            word = MASK
        secret = named and not equals
        found.append(word)
    return found


def _portable(word: str, top: Path | None) -> str:
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if not value.startswith(("/", "~")):
        return word
    path = Path(value)
    shown = path.name
    if top is not None and path.is_relative_to(top):
        shown = path.relative_to(top).as_posix()
    return f"{option}{equals}{shown}"


def uncommitted_changes(folder: Path) -> str:
    """Give what the tracked files around `folder` differ from the commit in, as a patch.

    Nothing calls this unless the project's policy asks for it: a patch may hold anything. Notebooks are left out, for
    their outputs are data; the code of the tracked cells is recorded anyway.

    Returns
    -------
    str
        The patch with its secrets masked, cut where it is longer than `LONGEST_PATCH`; empty where there is none.
    """
    from ...datasets import git

    try:
        patch = git.changes(git.top(folder), (".", ":(exclude,glob)**/*.ipynb"))
    except MlopsLabError:
        return ""
    if len(patch) > LONGEST_PATCH:
        patch = f"{patch[:LONGEST_PATCH]}\n(cut here: {len(patch) - LONGEST_PATCH} characters more)\n"
    return mask_text(patch)


def _repository(state: State, url: str) -> str:
    last = re.split(r"[/:]", url.rstrip("/"))[-1].removesuffix(".git") if url else ""
    if last:
        return last
    # A repository that is somebody's home folder is called like that person.
    return state.top.name if state.top != Path.home() else ""


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1].partition("?")[0]


def _absolute(script: str) -> Path:
    try:
        return Path(script).resolve()
    except OSError:
        return Path(script)


def _relative(path: Path, top: Path | None) -> str:
    if top is not None and path.is_absolute():
        try:
            return path.resolve().relative_to(top.resolve()).as_posix()
        except ValueError:
            pass
    return path.name

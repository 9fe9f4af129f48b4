"""Where a run comes from: the commit, the notebook or script, and the person; as MLflow tags."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Any

from ..connection import tags as names
from ..errors import MlopsLabError


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


def user() -> str:
    """Name the person: as the server knows them, else as the system does."""
    from ..connection.session import read_session

    try:
        session = read_session()
    except MlopsLabError:
        session = None
    if session is not None and session.user:
        return session.user
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def code_tags(folder: Path | None) -> dict[str, str]:
    """Give the tags that say which code ran, started in `folder`; None where that folder no longer exists."""
    tags: dict[str, str] = {}
    path = notebook()
    place = path.parent if path is not None and path.is_absolute() else folder
    top = _git(tags, place, path) if place is not None else None
    if path is not None:
        tags[names.SOURCE_TYPE] = "NOTEBOOK"
        tags[names.NOTEBOOK] = tags[names.SOURCE_NAME] = _relative(path, top)
    else:
        script = sys.argv[0] if sys.argv and sys.argv[0] and shell() is None else ""
        tags[names.SOURCE_TYPE] = "NOTEBOOK" if shell() is not None else "LOCAL"
        tags[names.SOURCE_NAME] = _relative(_absolute(script), top) if script else "notebook"
    return tags


def _git(tags: dict[str, str], folder: Path, code: Path | None) -> Path | None:
    """Add the tags of the repository around `folder` and give its top; None, and no tags, where there is none.

    A notebook (`code`) that git does not know is an uncommitted change too: the commit does not hold it.
    """
    from ..datasets import git

    try:
        top = git.top(folder)
        commit, branch = git.commit(folder), git.branch(folder)
        if commit:
            tags[names.GIT_COMMIT] = commit
            unknown = code is not None and code.is_absolute() and not git.tracks(code)
            tags[names.GIT_DIRTY] = "true" if unknown or git.dirty(folder) else "false"
        if branch:
            tags[names.GIT_BRANCH] = branch
    except MlopsLabError:
        return None
    return top


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

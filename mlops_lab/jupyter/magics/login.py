"""`%mlops_login`: who we are on which server. The secret is asked for, never typed on the line and never printed."""

from __future__ import annotations

import atexit
import getpass
import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError

from ...connection.errors import Forbidden, WrongCredentials
from ...errors import MlopsLabError
from .options import Options

if TYPE_CHECKING:
    from ...connection.session import Session


class CannotAsk(MlopsLabError):
    """The notebook runs where nobody can answer a question."""

    code = "cannot_ask"


def login_options() -> Options:
    """Describe the options of ``%mlops_login``. There is none for a secret: lines are saved with the notebook."""
    options = Options("%mlops_login")
    options.add_argument("uri", metavar="URI", nargs="?", default="")
    options.add_argument("--user", metavar="NAME", default="")
    options.add_argument("--token", action="store_true")
    options.add_argument("--ca", metavar="FILE", default="")
    return options


def log_in(chosen: Namespace) -> str:
    """Log in, keep the session, and say so in one sentence.

    Raises
    ------
    MlopsLabError
        The server does not answer, is no MLflow server, or refuses name, password or token.
    """
    uri = chosen.uri or _ask("Address of the MLflow server: ")
    session = _open_door(uri, chosen) if not (chosen.user or chosen.token) else None
    if session is None:
        session = _with_secret(uri, chosen)
    from ...connection.session import write_session

    write_session(_session_file(), session)
    who = f" as {session.user}" if session.user else ""
    return f"Logged in to {session.uri}{who} (MLflow {session.server_version or 'of unknown version'})."


def _open_door(uri: str, chosen: Namespace) -> Session | None:
    """Try without a secret; None where the server wants to know who we are."""
    try:
        return _checked(uri=uri, ca_bundle=chosen.ca)
    except (WrongCredentials, Forbidden):
        return None


def _with_secret(uri: str, chosen: Namespace) -> Session:
    if chosen.token:
        return _checked(uri=uri, auth="token", token=_ask("Token: ", secret=True), ca_bundle=chosen.ca)
    user = chosen.user or _ask("User name: ")
    password = _ask(f"Password of {user}: ", secret=True)
    return _checked(uri=uri, auth="basic", username=user, password=password, ca_bundle=chosen.ca)


def _checked(**login: Any) -> Session:
    """Ask the server whether it takes this login."""
    from ...connection.check import check_login
    from ...connection.model import LoginRequest

    return check_login(LoginRequest(**login))


def _session_file() -> Path:
    """Give the session file of our Jupyter server, else one of our own that goes with this process."""
    from ...connection.session import SESSION_VARIABLE, remove_session
    from ...home import home, private_folder

    known = os.environ.get(SESSION_VARIABLE)
    if known:
        return Path(known)
    path = private_folder(home() / "sessions") / f"{os.getpid()}.json"
    os.environ[SESSION_VARIABLE] = str(path)
    atexit.register(remove_session, path)
    return path


def _ask(prompt: str, secret: bool = False) -> str:
    try:
        return (getpass.getpass(prompt) if secret else input(prompt)).strip()
    except (StdinNotImplementedError, EOFError):
        raise CannotAsk(
            "The login needs an answer, and nobody can type one here.",
            "Log in before you run the notebook without a screen, e.g. with MLFLOW_TRACKING_URI.",
        ) from None

"""The session file: which server this Jupyter talks to, and the secret for it.

One file per Jupyter server, mode 0600, written atomically. Kernels inherit only its path (``MLOPS_LAB_SESSION``),
so a secret is never in a notebook, an environment or a log.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from mlops_lab import wire
from mlops_lab.connection.errors import BadAddress, SessionNotKept, UnsafeSession
from mlops_lab.connection.model import AuthKind, LoginRequest
from mlops_lab.connection.process import Known

SESSION_VARIABLE = "MLOPS_LAB_SESSION"
"""Environment variable with the path of the session file."""
AUTH_PLUGIN = "mlops_lab"
"""Name under which MLflow finds our request auth provider."""
SCHEMA_VERSION = 1

_URI = "MLFLOW_TRACKING_URI"
_AUTH = "MLFLOW_TRACKING_AUTH"
_CA = "MLFLOW_TRACKING_SERVER_CERT_PATH"
POINTERS = (_URI, _AUTH, _CA, SESSION_VARIABLE)
"""The variables through which a kernel finds its server; none of them holds a secret."""
SECRETS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""MLflow's own variables for credentials. They are bound to no server: MLflow would send them to any."""

Origin = tuple[str, str, int]
"""Scheme, host and port: the reach of a secret."""


class Session(msgspec.Struct, kw_only=True):
    """One login: a server, and who we are there."""

    schema_version: int = SCHEMA_VERSION
    uri: str
    auth: AuthKind = "none"
    username: str = ""
    password: str = ""
    token: str = ""
    ca_bundle: str = ""
    user: str | None = None
    server_version: str | None = None
    embedded: bool = False
    """Is it our own embedded server? Then the session follows it to another port."""
    host: str = ""
    """Machine of the Jupyter server that keeps this session."""
    keeper: Known | None = None
    """Process of that Jupyter server; where it has died without cleaning up, another removes the file."""

    def request(self) -> LoginRequest:
        """Give what a user would type to make this login again."""
        return LoginRequest(self.uri, self.auth, self.username, self.password, self.token, self.ca_bundle)

    def __repr__(self) -> str:
        # A session that ends up in a log or a traceback must not take its secret along.
        return f"Session(uri={self.uri!r}, auth={self.auth!r}, user={self.user!r})"


def origin(uri: str) -> Origin | None:
    """Give scheme, host and port of `uri`, or None when it is no http(s) address."""
    try:
        parts = urlsplit(uri)
        scheme = parts.scheme.lower()
        if scheme not in ("http", "https") or not parts.hostname:
            return None
        return scheme, parts.hostname.lower(), parts.port or (443 if scheme == "https" else 80)
    except ValueError:
        return None


def clean_uri(uri: str) -> str:
    """Bring a typed address into the form that we store: no spaces, query, fragment or trailing slash.

    Raises
    ------
    BadAddress
        When it is no http(s) address, or carries a password that would end up in links and logs.
    """
    text = uri.strip()
    if "://" not in text:
        raise BadAddress(f"'{text}' is not a web address.", "Write it with http:// or https:// in front.")
    if origin(text) is None:
        raise BadAddress(
            "The address of a tracking server starts with http:// or https:// and names a host.",
            "For example https://mlflow.hospital.example.",
        )
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise BadAddress(
            "The address contains a user name or password, which would show up in links and logs.",
            "Remove it from the address and use the fields for name and password.",
        )
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def read_session(path: str | os.PathLike[str] | None = None) -> Session | None:
    """Read the current session.

    Parameters
    ----------
    path
        The session file. By default the one that ``MLOPS_LAB_SESSION`` names; where that is not set, the server in
        MLflow's own environment variables, if it is an http(s) one.

    Returns
    -------
    Session or None
        None when nobody is logged in.

    Raises
    ------
    UnsafeSession
        When the file belongs to somebody else, or others may read or write it.
    """
    if path is None:
        path = os.environ.get(SESSION_VARIABLE)
        if not path:
            return environment_session(os.environ)
    try:
        # O_NOFOLLOW and fstat on the open file: what is checked is what is read.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnsafeSession(
            f"The session file {os.fspath(path)} cannot be read ({error.strerror}).", "Log out and log in again."
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise UnsafeSession(
                f"The session file {os.fspath(path)} is open to other users, so its password is not used.",
                "Log out and log in again; a new file is made that only you can read.",
            )
        data = file.read()
    try:
        session = wire.decode(data, Session)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise UnsafeSession(f"The session file {os.fspath(path)} is damaged.", "Log out and log in again.") from None
    return session if session.schema_version == SCHEMA_VERSION else None


def write_session(path: str | os.PathLike[str], session: Session) -> None:
    """Write the session file: whole or not at all, readable by its owner only.

    Raises
    ------
    SessionNotKept
        When the disk is full or the folder closed to us; an earlier file is untouched.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(wire.encode(session))
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise SessionNotKept(
            f"The session file cannot be written ({error.strerror}), so you are not logged in.",
            f"Make room, or give yourself write access, in {target.parent}.",
        ) from None


def remove_session(path: str | os.PathLike[str]) -> None:
    """Remove the session file; one that is already gone is fine."""
    Path(path).unlink(missing_ok=True)


def environment_session(environ: Mapping[str, str]) -> Session | None:
    """Read the server that MLflow's own variables name, or None when they name none on the web."""
    uri = environ.get(_URI, "")
    try:
        uri = clean_uri(uri)
    except BadAddress:
        return None
    username, password, token = (environ.get(name, "") for name in SECRETS)
    # MLflow prefers name and password to a token; so do we.
    auth: AuthKind = "basic" if username and password else "token" if token else "none"
    return Session(
        uri=uri,
        auth=auth,
        username=username if auth == "basic" else "",
        password=password if auth == "basic" else "",
        token=token if auth == "token" else "",
        ca_bundle=environ.get(_CA, ""),
    )


def refuse_unusable_environment(environ: Mapping[str, str]) -> None:
    """Say so when ``MLFLOW_TRACKING_URI`` names something that we cannot use, instead of using another server.

    Raises
    ------
    BadAddress
        For local stores (``file:``, ``sqlite:``), addresses without a scheme, and addresses with a password in them.
    """
    try:
        if environ.get(_URI):
            clean_uri(environ[_URI])
    except BadAddress as error:
        raise BadAddress(
            f"The variable {_URI} does not name an MLflow server that can be used: {error.message}",
            f"{error.hint} Or remove the variable and log in.".strip(),
        ) from None


def point(environ: MutableMapping[str, str], session: Session | None, path: str | os.PathLike[str]) -> None:
    """Set the pointers that kernels inherit (or that a running kernel refreshes); never a secret.

    MLflow's own credential variables are taken out: MLflow would send them to whichever server is current.

    Parameters
    ----------
    session
        The login; None after a logout, when nothing but the path of the session file is left.
    path
        Where the session file is, or will be after the next login.
    """
    wanted: dict[str, str] = {SESSION_VARIABLE: os.fspath(path)}
    if session is not None:
        wanted |= {_URI: session.uri, _AUTH: AUTH_PLUGIN}
        if session.ca_bundle:
            wanted[_CA] = session.ca_bundle
    for name in (*POINTERS, *SECRETS):
        if name in wanted:
            environ[name] = wanted[name]
        else:
            environ.pop(name, None)

"""The login check: is this an MLflow server, and does it accept us? No secret leaves before the first is answered."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from mlops_lab.connection import certificate
from mlops_lab.connection.errors import (
    ConnectionProblem,
    Forbidden,
    NotMlflow,
    OtherName,
    Refused,
    SentElsewhere,
    UnknownAuthority,
    Unreachable,
    UntrustedCertificate,
    WrongCredentials,
    WrongScheme,
)
from mlops_lab.connection.model import LoginRequest
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import Session, clean_uri
from mlops_lab.connection.transport import CA_HINT, not_mlflow, read_answer

_SEARCH = "experiments/search"
_ONE = {"max_results": 1}


def check_login(request: LoginRequest, timeout: float = 10.0) -> Session:
    """Log in as `request` says and give the session, which is written nowhere yet.

    Raises
    ------
    BadAddress, Unreachable, UntrustedCertificate, WrongScheme, NotMlflow, WrongCredentials, Forbidden
        Each with a sentence of its own; see :mod:`mlops_lab.connection.errors`.
    """
    session = Session(
        uri=clean_uri(request.uri),
        auth=request.auth,
        username=request.username if request.auth == "basic" else "",
        password=request.password if request.auth == "basic" else "",
        token=request.token.strip() if request.auth == "token" else "",
        ca_bundle=_file(request.ca_bundle.strip()),
    )
    server = TrackingServer.of(session, timeout)
    try:
        wanted = _look(server)
        user, version = _knock(server, wanted)
    finally:
        server.close()
    session.user = user or (session.username or None)
    session.server_version = version
    return session


def _file(typed: str) -> str:
    """Give a typed path in the form that holds everywhere: kernels run in other folders than this process."""
    return os.path.abspath(os.path.expanduser(typed)) if typed else ""


def _look(server: TrackingServer) -> str:
    """Ask without any secret who answers there; give the kind of login that it asks for, where it says one."""
    wanted = ""
    try:
        response = server.raw("GET", _SEARCH, params=_ONE, anonymous=True)
        wanted = str(response.headers.get("www-authenticate", "")).lower()
        answer = read_answer(response, server.uri)
    except WrongCredentials:
        if server.auth == "none":
            raise WrongCredentials(
                f"{urlsplit(server.uri).netloc} asks for a login.", "Choose name and password, or a token."
            ) from None
        return wanted
    except (Forbidden, NotMlflow) as problem:
        # Some gateways send strangers away with 403 or to a sign-in page, yet let a token through.
        if server.auth != "none" and isinstance(problem, Forbidden):
            return wanted
        if server.auth == "token" and isinstance(problem, SentElsewhere):
            return wanted
        raise
    except Refused as refusal:
        raise _better(server, not_mlflow(server.uri)) from refusal
    except WrongScheme:
        raise
    except Unreachable as problem:
        raise (_better(server, problem) if problem.status is None else problem) from None
    if not _is_search_answer(server, answer, anonymous=True):
        raise not_mlflow(server.uri)
    return wanted


def _knock(server: TrackingServer, wanted: str) -> tuple[str | None, str | None]:
    """Ask as ourselves; give the name that the server knows us by, and its version."""
    if server.auth == "none":
        return None, _version(server)
    try:
        user = server.whoami()
        answer = server.get(_SEARCH, _ONE)
    except Refused as refusal:
        raise not_mlflow(server.uri) from refusal
    except Unreachable as problem:
        # MLflow's own accounts answer a token with a plain 500.
        if server.auth == "token" and problem.status == 500 and wanted.startswith("basic"):
            raise WrongCredentials(
                f"{urlsplit(server.uri).netloc} takes name and password, not a token.", "Log in with those."
            ) from None
        raise
    if user is None and not _is_search_answer(server, answer):
        raise not_mlflow(server.uri)
    return user, _version(server)


def _is_search_answer(server: TrackingServer, answer: dict[str, object], anonymous: bool = False) -> bool:
    if isinstance(answer.get("experiments"), list):
        return True
    # A user who may see no experiment gets {}, which many an API could answer.
    return not answer and _version(server, anonymous) is not None


def _version(server: TrackingServer, anonymous: bool = False) -> str | None:
    try:
        return server.version(anonymous)
    except ConnectionProblem:
        return None


def _better(server: TrackingServer, problem: ConnectionProblem) -> ConnectionProblem:
    """Look whether `problem` can be said more precisely: http written for https, or what the certificate says."""
    parts = urlsplit(server.uri)
    host = parts.hostname or ""
    if parts.scheme == "http" and certificate.speaks_tls(host, parts.port or 80):
        return WrongScheme(f"{parts.netloc} speaks https, not http.", "Write the address with https:// in front.")
    if not isinstance(problem, UntrustedCertificate):
        return problem
    shown = certificate.shown(host, parts.port or 443)
    if isinstance(problem, UnknownAuthority) and shown.issuer:
        signed = f"The certificate of {parts.netloc} is signed by '{shown.issuer}'"
        if server.ca_bundle:
            lacks = f"{signed}, which is not in {server.ca_bundle}."
            return UnknownAuthority(lacks, "Ask the administrator for the present certificate of that authority.")
        return UnknownAuthority(f"{signed}, an authority that this computer does not know.", CA_HINT)
    if isinstance(problem, OtherName) and shown.names:
        return OtherName(
            f"The certificate of {parts.netloc} was issued for {' and '.join(shown.names[:4])}, not for {host}.",
            "Use the name that the server's administrator gives.",
        )
    return problem

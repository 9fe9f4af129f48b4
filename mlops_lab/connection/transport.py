"""From HTTP to sentences: how requests are sent, and what each kind of failure means for the person at the screen."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from mlops_lab.connection.errors import (
    BadAddress,
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
    WrongName,
    WrongScheme,
)
from mlops_lab.connection.model import AuthKind
from mlops_lab.connection.session import origin

_PATIENCE = {408, 425, 429}
_BEHIND_A_PROXY = {502, 503, 504}
_NO_TLS_THERE = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
_NO_SUCH_NAME = ("name or service not known", "nodename nor servname", "name resolution", "no address associated")
_LONGEST_MESSAGE = 500


CA_HINT = (
    "Ask the administrator for the certificate of that authority (a file such as ca.crt) and give its path under "
    "'Private certificate authority'; in a notebook: %mlops_login URI --ca FILE."
)


def authorization(auth: AuthKind, username: str, password: str, token: str) -> dict[str, str]:
    """Give the header that proves who we are; empty for a server that asks for nothing.

    Raises
    ------
    WrongCredentials
        When the secret is missing, or cannot be sent in a header. (httpx would quote it in its own message.)
    """
    if auth == "none":
        return {}
    if auth == "basic":
        if not username or not password:
            raise WrongCredentials("Name and password are both needed.", "Fill in both fields.")
        if ":" in username:
            raise WrongCredentials("A user name cannot contain a colon.", "Check the name.")
        return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")}
    if not token or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise WrongCredentials(
            "The token is empty or contains spaces or characters that no token has.", "Copy the token again."
        )
    return {"Authorization": "Bearer " + token}


def new_client(uri: str, ca_bundle: str, timeout: float) -> httpx.Client:
    """Make a client for one server. It follows no redirect, so what it sends reaches that server or nobody."""
    local = is_loopback(uri)
    verify: ssl.SSLContext | bool = False if local and uri.startswith("http://") else _trust(ca_bundle)
    return httpx.Client(
        verify=verify,
        # A hospital's proxy cannot reach this machine's own loopback.
        trust_env=not local,
        timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
        follow_redirects=False,
        headers={"User-Agent": "mlops-lab", "Accept": "application/json"},
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
    )


def is_loopback(uri: str) -> bool:
    """Tell whether `uri` names this very machine."""
    host = urlsplit(uri).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _trust(ca_bundle: str) -> ssl.SSLContext:
    if ca_bundle:
        try:
            return ssl.create_default_context(cafile=os.path.expanduser(ca_bundle))
        except FileNotFoundError:
            raise BadAddress(
                f"There is no certificate file {ca_bundle} on the computer that JupyterLab runs on.",
                "Upload the file that the administrator gave (such as ca.crt) and give its path there.",
            ) from None
        except (OSError, ssl.SSLError):
            raise BadAddress(
                f"The certificate file {ca_bundle} cannot be read as PEM.",
                "Give the path of a file that starts with -----BEGIN CERTIFICATE-----.",
            ) from None
    import certifi

    # The machine's own store carries what an administrator installed; certifi is what MLflow itself trusts.
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    named = os.environ.get("REQUESTS_CA_BUNDLE", "")
    if os.path.isfile(named):
        context.load_verify_locations(named)
    return context


def explain_failure(error: httpx.RequestError, uri: str) -> ConnectionProblem:
    """Say what a request that got no answer means."""
    host = urlsplit(uri).netloc
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate(cause, host)
    if isinstance(cause, ssl.SSLError) and (cause.reason or "").upper() in _NO_TLS_THERE:
        return WrongScheme(
            f"{host} does not speak https.", "If this is the right server, write the address with http:// in front."
        )
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(
            f"{host} did not answer in time.", "Check the address, the network or VPN, and whether the server is up."
        )
    text = str(error).lower()
    if any(words in text for words in _NO_SUCH_NAME):
        return Unreachable(
            f"There is no computer named {urlsplit(uri).hostname} on this network.",
            "Check the spelling, and the network or VPN.",
        )
    if "refused" in text:
        return Unreachable(f"Nothing answers at {host}.", "Check host and port, and whether the server is running.")
    return Unreachable(
        f"The connection to {host} failed.", "Check the address, the network or VPN, and whether the server is up."
    )


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> UntrustedCertificate:
    detail = error.verify_message or ""
    if "expired" in detail:
        return UntrustedCertificate(f"The certificate of {host} has expired.", "Ask its administrator to renew it.")
    if "not yet valid" in detail:
        return UntrustedCertificate(
            f"The certificate of {host} is not valid yet.",
            "Check the clock of this computer, then ask its administrator.",
        )
    if "mismatch" in detail.lower() or "not valid for" in detail:
        return OtherName(
            f"The certificate of {host} was issued for another name.",
            "Use the name that the server's administrator gives.",
        )
    return UnknownAuthority(
        f"The certificate of {host} is signed by an authority that this computer does not know.", CA_HINT
    )


def read_answer(response: httpx.Response, uri: str) -> dict[str, Any]:
    """Give the JSON object that MLflow answered, or raise what its status means."""
    check_status(response, uri)
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise not_mlflow(uri)
    return document


def check_status(response: httpx.Response, uri: str) -> None:
    """Raise the error that the status of `response` means; return when it is a success."""
    status = response.status_code
    if 200 <= status < 300:
        return
    host = urlsplit(uri).netloc
    if status < 400:
        raise _redirect(response, uri)
    error_code, detail = _detail(response)
    if status == 401:
        raise WrongCredentials(
            f"{host} did not accept this login.", "Check name and password, or the token, and log in again."
        )
    if status == 403:
        raise _forbidden(host, error_code, detail, response)
    if status in _PATIENCE or (status >= 500 and status != 501):
        raise _asks_for_patience(host, detail, response)
    if status == 421:
        raise WrongName(
            f"The server does not answer to the name {host} (HTTP 421).",
            detail or "Use the address that its administrator gives; its name stands in the server's certificate.",
        )
    if not error_code and status in (404, 405):
        raise not_mlflow(uri)
    if not error_code and status == 413:
        raise Refused(
            f"{host} does not take a request of this size (HTTP 413).",
            "Ask the administrator of the proxy in front of MLflow to allow larger ones.",
            status=status,
        )
    raise Refused(detail or f"{host} refused the request (HTTP {status}).", error_code=error_code, status=status)


def _asks_for_patience(host: str, detail: str, response: httpx.Response) -> Unreachable:
    status = response.status_code
    wait = _retry_after(response.headers.get("retry-after", ""))
    again = "in a minute" if wait is None else f"in {wait:.0f} second{'' if round(wait) == 1 else 's'}"
    if status == 429:
        message = f"{host} asks this computer to wait (HTTP 429): {detail or 'it sent too many requests.'}"
        hint = f"Try again {again}; wrong passwords count too."
    elif status in _BEHIND_A_PROXY:
        message = f"The MLflow server behind {host} does not answer at the moment (HTTP {status})."
        hint = f"It may be starting again: try again {again}; if it stays, tell its administrator."
    else:
        message = f"{host} cannot serve us at the moment (HTTP {status}{': ' + detail if detail else ''})."
        hint = "Try again in a moment; if it stays, tell the server's administrator."
    return Unreachable(message, hint, status=status, retry_after=wait)


def _retry_after(text: str) -> float | None:
    """Read the header ``Retry-After``, which gives seconds or a date; None where it gives neither."""
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def not_mlflow(uri: str) -> NotMlflow:
    """Give the answer for a server that is something else."""
    return NotMlflow(
        f"What answers at {uri} is not an MLflow tracking server.",
        "Check the address: it is the one at which the MLflow page opens in a browser, without what follows '#'.",
    )


def _redirect(response: httpx.Response, uri: str) -> ConnectionProblem:
    target = urljoin(str(response.url), response.headers.get("location", ""))
    there = origin(target)
    here = origin(uri)
    if there is None or here is None:
        return not_mlflow(uri)
    place = f"{there[0]}://{urlsplit(target).netloc.rpartition('@')[2]}"
    if there[:2] == ("https", here[1]) and here[0] == "http":
        return WrongScheme(f"{urlsplit(uri).netloc} wants https.", f"Write the address like this: {place}")
    if here[0] == "http" and there[0] == "https" and here[2] == there[2]:
        return WrongScheme(
            f"{urlsplit(uri).netloc} wants https, and goes by another name: {place}.",
            "If that is the tracking server, log in with that address.",
        )
    if there != here:
        return SentElsewhere(
            f"{uri} sends us on to {place}; nothing secret was sent there.",
            "If that is the tracking server, log in with its address; a sign-in page needs a token instead.",
        )
    return SentElsewhere(
        f"{uri} sends us on to {place}{urlsplit(target).path}, which is not how MLflow answers.",
        "Check the address; a server behind a sign-in page needs a token.",
    )


def _forbidden(host: str, error_code: str, detail: str, response: httpx.Response) -> Forbidden:
    if "invalid host header" in response.text[:300].lower():
        return Forbidden(
            f"The MLflow server does not answer to the name {host}.",
            "Its administrator can add the name with --allowed-hosts.",
        )
    if error_code and detail:
        return Forbidden(f"{host} does not allow this: {detail}", "Ask the server's administrator for access.")
    return Forbidden(f"{host} does not allow this.", "Ask the server's administrator for access.")


def _detail(response: httpx.Response) -> tuple[str, str]:
    """Give MLflow's error code and its message in one line; both empty where something else answered."""
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(document, dict) or not isinstance(document.get("error_code"), str):
        return "", ""
    # MLflow appends the statement of its database, with values that are none of the reader's business.
    message = " ".join(str(document.get("message", "")).split()).partition(" [SQL:")[0]
    return document["error_code"], message[:_LONGEST_MESSAGE]

"""Under which name and ports people reach the server, and whether it answers there."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from operate.errors import Problem

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_TIMEOUT = 10.0
_WITHOUT_ROOT = (18, 19)
_WITHOUT_ISSUER = (2, 20, 21)
"""OpenSSL's numbers for a certificate whose authority is not known, see X509_STORE_CTX_get_error(3)."""


def clean_name(text: str) -> str:
    """Give a host name or an IPv4 address as the certificate and the configuration hold it.

    Raises
    ------
    Problem
        When it is neither.
    """
    name = text.strip().rstrip(".").lower()
    if is_address(name):
        return name
    labels = name.split(".")
    if len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit():
        return name
    raise Problem(
        f"{text!r} is neither a host name nor an IPv4 address: give the name that people type, "
        "without https:// and without a port, e.g. mlflow.hospital.example"
    )


def is_address(name: str) -> bool:
    """Tell an IPv4 address from a name."""
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def mlflow_uri(env: Mapping[str, str]) -> str:
    """Give the address for browsers and for MLFLOW_TRACKING_URI."""
    return _uri(env, "MLFLOW_PORT", "85")


def objects_uri(env: Mapping[str, str]) -> str:
    """Give the address of the object store."""
    return _uri(env, "MINIO_PORT", "8002")


def _uri(env: Mapping[str, str], port: str, default: str) -> str:
    number = env.get(port) or default
    return f"https://{env['SERVER_NAME']}" + ("" if number == "443" else f":{number}")


def here(env: Mapping[str, str]) -> str:
    """Give the address under which this machine itself reaches nginx's ports."""
    bind = env.get("BIND_ADDRESS") or "0.0.0.0"
    return "127.0.0.1" if bind == "0.0.0.0" else bind


def mistrust(code: int, reason: str) -> str:
    """Say, after "is" or "that is", why clients do not trust a certificate, and what is missing.

    Parameters
    ----------
    code
        OpenSSL's number of what is wrong.
    reason
        OpenSSL's words for it.
    """
    root = "the authority's root, which researchers get, in tls/ca.crt"
    if code in _WITHOUT_ISSUER:
        return f"not trusted ({reason}): missing is either its chain in tls/server.crt, or {root}"
    return f"not trusted ({reason}): missing is {root}" if code in _WITHOUT_ROOT else f"not trusted: {reason}"


def silence(env: Mapping[str, str], authority: Path) -> str | None:
    """Ask for both addresses as a researcher's machine does, TLS and Host included.

    Parameters
    ----------
    env
        The settings of .env.
    authority
        The certificate that vouches for the server's; the system's own where this file does not exist.

    Returns
    -------
    str or None
        What is wrong, in half a sentence; None when MLflow asks who is there and the store refuses a stranger.
    """
    for uri, port, path, expected in (
        (mlflow_uri(env), env.get("MLFLOW_PORT") or "85", "/api/2.0/mlflow/users/current", {401}),
        (objects_uri(env), env.get("MINIO_PORT") or "8002", "/", {401, 403}),
    ):
        problem = _ask(env, uri.partition("://")[2], int(port), path, authority, expected)
        if problem:
            return f"{uri} {problem}"
    return None


def _ask(env: Mapping[str, str], host: str, port: int, path: str, authority: Path, expected: set[int]) -> str | None:
    try:
        context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
        plain = socket.create_connection((here(env), port), timeout=_TIMEOUT)
        with plain, context.wrap_socket(plain, server_hostname=env["SERVER_NAME"]) as channel:
            channel.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
            answer = http.client.HTTPResponse(channel)
            answer.begin()
            status = answer.status
    except ssl.SSLCertVerificationError as error:
        return f"shows a certificate that is {mistrust(error.verify_code, error.verify_message)}"
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer on port {port}: {error}"
    return (
        None if status in expected else f"answers {status} where {' or '.join(map(str, sorted(expected)))} was expected"
    )


def bind_problem(env: Mapping[str, str]) -> str | None:
    """Say what is wrong with the address of this machine on which nginx's ports are to be opened."""
    bind = env.get("BIND_ADDRESS") or "0.0.0.0"
    how = "write one of its IPv4 addresses, or 0.0.0.0 for all of them."
    if not is_address(bind):
        return f"BIND_ADDRESS is not an IPv4 address of this machine: {how}"
    with socket.socket() as probe:
        try:
            probe.bind((bind, 0))
        except OSError as error:
            return f"BIND_ADDRESS cannot be used on this machine ({error.strerror}): {how}"
    return None


def taken_ports(env: Mapping[str, str]) -> list[str]:
    """Name the ports of .env on which another program of this machine listens."""
    taken: list[str] = []
    if bind_problem(env):
        return taken
    for name, default in (("MLFLOW_PORT", "85"), ("MINIO_PORT", "8002")):
        port = env.get(name) or default
        if not port.isdigit() or not 0 < int(port) < 65536:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((env.get("BIND_ADDRESS") or "0.0.0.0", int(port)))
            except PermissionError:
                continue  # a port below 1024, which the container engine may open and this user may not
            except OSError as error:
                taken.append(f"{name} is {port}, and that port cannot be opened here: {error.strerror}")
    return taken

"""What the connection room tells others: who we are on which server, and how the embedded server is doing."""

from __future__ import annotations

from typing import Literal

import msgspec

AuthKind = Literal["none", "basic", "token"]


class LoginRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a user types to log in. Lives in memory only; the session file is written by the broker."""

    uri: str
    auth: AuthKind = "none"
    username: str = ""
    password: str = ""
    token: str = ""
    ca_bundle: str = ""
    """Path of a PEM file with the hospital's private certificate authority, in the panel also relative to the folder
    that JupyterLab serves; empty for the system's."""

    def __repr__(self) -> str:
        # A request that ends up in a log or a traceback must not take its secret along.
        return f"LoginRequest(uri={self.uri!r}, auth={self.auth!r})"


class EmbeddedServer(msgspec.Struct):
    """The MLflow server that mlops_lab runs on this machine for one person."""

    state: Literal["stopped", "starting", "running", "failed"]
    uri: str | None = None
    pid: int | None = None
    elapsed: float = 0.0
    """Seconds since the start was asked for, while starting."""
    step: str = ""
    """What it is doing now, e.g. ``"creating the database"``."""
    message: str | None = None
    """Why it failed, one sentence."""
    hint: str | None = None


class ConnectionState(msgspec.Struct):
    """The connection as the panel, the widgets and `%mlops_status` show it. Never holds a secret."""

    status: Literal["disconnected", "connected", "unreachable"]
    embedded: EmbeddedServer
    uri: str | None = None
    auth: AuthKind = "none"
    user: str | None = None
    """The name that the server knows us by; None where the server has no users."""
    server_version: str | None = None
    message: str | None = None
    """Why it is unreachable, one sentence."""
    hint: str | None = None

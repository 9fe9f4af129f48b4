"""The connection as a widget: the embedded server, and the login to an MLflow server."""

from __future__ import annotations

import html
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ...connection.model import ConnectionState, LoginRequest
from .secret import SecretField
from .section import Pulse, Section, wide

if TYPE_CHECKING:
    from ...connection.broker import Broker

_AUTH = (("no login", "none"), ("name and password", "basic"), ("token", "token"))
_LOOK_EVERY = 0.5


class Login(Section):
    """Start or stop the embedded MLflow server, or log in to one; the magics use the same login."""

    def __init__(self) -> None:
        self.status = w.HTML()
        self.start_server = w.Button(
            description="Start server", icon="play", tooltip="An MLflow server on this computer"
        )
        self.stop_server = w.Button(description="Stop server", icon="stop")
        self.address = w.Text(description="Server address", placeholder="https://mlflow.hospital.example", **wide())
        self.auth = w.Dropdown(description="Log in with", options=_AUTH, value="none", **wide())
        self.username = w.Text(description="Name", **wide())
        self.secret = SecretField("Password", **wide())
        self.ca_bundle = w.Text(
            description="CA file",
            placeholder="for a private certificate authority: a PEM file",
            **wide(),
        )
        self.log_in = w.Button(description="Log in", icon="sign-in", button_style="primary")
        self.log_out = w.Button(description="Log out", icon="sign-out")
        fields = [self.address, self.auth, self.username, self.secret, self.ca_bundle]
        buttons = [self.start_server, self.stop_server, self.log_in, self.log_out]
        self._pulse = Pulse(self._look, _LOOK_EVERY)
        super().__init__(
            "Connection",
            [
                self.status,
                w.HBox([self.start_server, self.stop_server]),
                *fields,
                w.HBox([self.log_in, self.log_out]),
            ],
            [*fields, *buttons],
        )
        self.auth.observe(lambda change: self._fit_fields(), "value")
        self.start_server.on_click(lambda button: self._start())
        self.stop_server.on_click(lambda button: self._stop())
        self.log_in.on_click(lambda button: self._log_in())
        self.log_out.on_click(lambda button: self._log_out())
        self._fit_fields()
        with self.working("Looking for a server"):
            self._show(broker().state())
            if self._state.embedded.state == "starting":
                self._pulse.start()

    def settle(self) -> None:
        state: ConnectionState | None = getattr(self, "_state", None)
        local = state.embedded.state if state else "stopped"
        self.start_server.disabled = local in ("starting", "running")
        self.stop_server.disabled = local not in ("starting", "running")
        self.log_out.disabled = state is None or state.uri is None

    def close(self) -> None:
        """Remove the widget; the connection stays."""
        self._pulse.stop()
        super().close()

    def _log_in(self) -> None:
        secret = self.secret.take()
        kind = self.auth.value
        request = LoginRequest(
            uri=self.address.value.strip(),
            auth=kind,
            username=self.username.value.strip() if kind == "basic" else "",
            password=secret if kind == "basic" else "",
            token=secret if kind == "token" else "",
            ca_bundle=self.ca_bundle.value.strip(),
        )
        with self.working("Logging in"):
            self._show(broker().login(request))
            self.tell("Logged in.", "done")

    def _log_out(self) -> None:
        self.secret.take()
        with self.working("Logging out"):
            self._show(broker().logout())
            self.tell("Logged out; the password is forgotten.", "done")

    def _start(self) -> None:
        with self.working("Starting the server"):
            self._show(broker().start_embedded())
            self._pulse.start()
            self.tell("")

    def _stop(self) -> None:
        with self.working("Stopping the server"):
            self._show(broker().stop_embedded())
            self.tell("The server has stopped; its runs are kept.", "done")

    def _look(self) -> bool:
        """Follow a start until it has ended, well or not."""
        try:
            state = broker().state()
        except Exception as error:
            self.tell_error(error)
            return False
        self._show(state)
        self.settle()
        return state.embedded.state == "starting"

    def _show(self, state: ConnectionState) -> None:
        self._state = state
        lines = [_connection_line(state), _embedded_line(state)]
        self.status.value = "<br>".join(line for line in lines if line)
        if state.uri and not self.address.value:
            self.address.value = state.uri

    def _fit_fields(self) -> None:
        kind = self.auth.value
        self.secret.take()
        self.secret.description = "Token" if kind == "token" else "Password"
        self.username.layout.display = None if kind == "basic" else "none"
        self.secret.layout.display = None if kind != "none" else "none"


def broker() -> Broker:
    """Give the broker of this kernel: a guest at its Jupyter server's session, or with a session of its own."""
    from ...connection.session import SESSION_VARIABLE
    from ...home import home, private_folder

    known = os.environ.get(SESSION_VARIABLE)
    return _broker(known or str(private_folder(home() / "sessions") / f"{os.getpid()}.json"))


@cache
def _broker(path: str) -> Broker:
    from ...connection.broker import Broker

    return Broker(Path(path))


def _connection_line(state: ConnectionState) -> str:
    if state.status == "disconnected":
        return _line("○", "Not connected.", "Start the server on this computer, or log in to yours.")
    if state.status == "unreachable":
        return _line("✕", state.message or f"{state.uri} does not answer.", state.hint or "")
    who = f" as {state.user}" if state.user else ""
    version = f" (MLflow {state.server_version})" if state.server_version else ""
    link = html.escape(state.uri or "", quote=True)
    page = f' · <a href="{link}" target="_blank" rel="noopener noreferrer">open its page</a>' if state.uri else ""
    return _line("●", f"Connected to {state.uri}{who}{version}.", "") + page


def _embedded_line(state: ConnectionState) -> str:
    local = state.embedded
    if local.state == "starting":
        step = f": {local.step}" if local.step else ""
        return _line("◐", f"The server on this computer is starting{step} ({local.elapsed:.0f} s).", "")
    if local.state == "failed":
        return _line("✕", local.message or "The server on this computer did not start.", local.hint or "")
    return ""


def _line(sign: str, text: str, hint: str) -> str:
    said: Any = html.escape(f"{text} {hint}".strip())
    return f'<span aria-hidden="true">{sign}</span> {said}'

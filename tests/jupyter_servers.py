"""A real JupyterLab server in a process of its own, as a fixture factory."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

START_LIMIT = 90.0
"""Seconds for JupyterLab to answer on a busy machine."""


@dataclass
class JupyterServer:
    """One running JupyterLab: where it is, how to get in, and what it has said."""

    url: str
    token: str
    root: Path
    runtime: Path
    log: Path
    process: subprocess.Popen[bytes]

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call our API as the panel does."""
        headers = {"Authorization": f"token {self.token}"}
        return httpx.request(method, f"{self.url}mlops-lab/{path}", headers=headers, timeout=60, **options)

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Call our API and read the answer."""
        return self.request(method, path, **options).json()

    def files(self) -> list[Path]:
        """Every file that JupyterLab or its user wrote: notebooks, settings, workspaces, logs, sessions."""
        return [file for place in (self.root, self.log.parent) for file in place.rglob("*") if file.is_file()]

    def stop(self) -> None:
        """End it as Ctrl-C twice would."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


StartJupyter = Callable[..., JupyterServer]


def launch_jupyter(root: Path, *, home: Path, own: Path, environment: dict[str, str] | None = None) -> JupyterServer:
    """Start JupyterLab on `root`, with `own` for all that it keeps, and wait until it answers."""
    own.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    port = free_port()
    log = own / "log.txt"
    variables = {
        **os.environ,
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "MLOPS_LAB_HOME": str(home),
        **(environment or {}),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"),
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    quiet = own / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false"}')
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=variables, stdout=sink, stderr=sink, cwd=root, start_new_session=True)
    server = JupyterServer(f"http://127.0.0.1:{port}/", token, root, own / "runtime", log, process)
    try:
        _wait(server)
    except BaseException:
        server.stop()
        raise
    return server


def _starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartJupyter]:
    started: list[JupyterServer] = []

    def start(root: Path, *, home: Path, environment: dict[str, str] | None = None) -> JupyterServer:
        own = tmp_path_factory.mktemp("jupyter")
        started.append(launch_jupyter(root, home=home, own=own, environment=environment))
        return started[-1]

    yield start
    for server in started:
        server.stop()


start_jupyter = pytest.fixture(_starter, name="start_jupyter")
"""Start JupyterLab servers; all are stopped at the end of the test."""
start_jupyter_once = pytest.fixture(_starter, scope="module", name="start_jupyter_once")
"""The same, stopped at the end of the module."""


def _wait(server: JupyterServer) -> None:
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}api/status?token={server.token}", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{server.log.read_text()[-3000:]}")

"""Real MLflow servers that a test may stop and start again, with and without accounts."""

from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from mlops_lab.connection import process
from mlops_lab.connection.rest import TrackingServer
from tests.conftest import missing
from tests.jupyter_servers import free_port

ADMIN = "an-admin-password-42"
ANNA = "annas-own-password-7"
START_LIMIT = 240.0
"""Seconds for MLflow to answer on a busy machine."""


@dataclass
class MlflowServer:
    """One MLflow server with its own folder and port; both stay the same when it is started again."""

    place: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    child: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", *self.options, "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db"]
        command += ["--artifacts-destination", "./artifacts"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment = {
            **clean,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **self.environment,
        }
        with (self.place / "log").open("ab") as log:
            self.child = subprocess.Popen(
                command,
                cwd=self.place,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        process.adopt(self.child)
        try:
            self._wait(self.child)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it with everything that it started."""
        child, self.child = self.child, None
        known = process.know(child.pid) if child else None
        if child and known:
            process.end_group(child.pid, [known, *process.descendants(child.pid)])

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit and child.poll() is None:
            try:
                if httpx.get(f"{self.uri}/health", trust_env=False).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        pytest.fail((self.place / "log").read_text()[-3000:])


@pytest.fixture(scope="module")
def group_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server without accounts, as a small group runs one. A test may stop it, and starts it again."""
    server = MlflowServer(tmp_path_factory.mktemp("group-server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server with basic authentication; anna may see nothing by default. Yields its URI."""
    if importlib.util.find_spec("flask_wtf") is None:
        missing("MLflow's account app", 'pip install "mlflow[auth]"')
    place = tmp_path_factory.mktemp("accounts")
    (place / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///auth.db\n"
        f"admin_username = admin\nadmin_password = {ADMIN}\nauth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    server = MlflowServer(
        place,
        options=("--app-name", "basic-auth"),
        environment={
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
            "MLFLOW_AUTH_CONFIG_PATH": str(place / "auth.ini"),
        },
    )
    server.start()
    try:
        admin = TrackingServer(server.uri, auth="basic", username="admin", password=ADMIN)
        admin.post("users/create", {"username": "anna", "password": ANNA})
        yield server.uri
    finally:
        server.stop()

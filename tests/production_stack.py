"""The hospital's server as its operator runs it, natively: ./mlops-server with a stand-in for docker compose."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.stack.engine.images import PATH
from tests.stack.engine.interpolation import read_variables
from tests.stack.engine.places import quiet_port
from tests.stack.engine.watchdog import OWNER

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "mlflow_server"
ENGINE = shlex.join([sys.executable, str(ROOT / "tests" / "stack" / "engine")])
_NOT_COPIED = shutil.ignore_patterns(
    ".env", "tls", "data", "backups", ".native", ".last-start.json", "__pycache__", ".*_cache"
)
_PROGRAMS = {
    "mariadbd": "apt-get install mariadb-server",
    "nginx": "apt-get install nginx",
    "envsubst": "apt-get install gettext-base",
    "openssl": "apt-get install openssl",
    "curl": "apt-get install curl",
    "weed": 'pip install ".[test]"',
}


@dataclass
class ProductionStack:
    """One server in a folder of its own; it stays the same when it is stopped and started again."""

    folder: Path
    clients: list[httpx.Client] = field(default_factory=list)
    start_seconds: float = 0.0
    """How long its first start took."""

    @classmethod
    def make(cls, folder: Path, **settings: str) -> ProductionStack:
        """Copy the server, let ``init`` write its secrets, and give it free ports; it does not run yet."""
        shutil.copytree(SERVER, folder, ignore=_NOT_COPIED)
        stack = cls(folder)
        stack.operate("init", "--name", "localhost").check_returncode()
        ports = {"MLFLOW_PORT": quiet_port(), "MINIO_PORT": quiet_port()}
        # SeaweedFS has no admin API of MinIO's; it is given the bucket's key at its start.
        stack.set(BIND_ADDRESS="127.0.0.1", MINIO_KEYS="existing", **{name: str(port) for name, port in ports.items()})
        stack.set(**settings)
        return stack

    @property
    def env(self) -> dict[str, str]:
        """What .env says."""
        return read_variables(self.folder / ".env")

    @property
    def uri(self) -> str:
        """Where researchers reach MLflow."""
        return f"https://localhost:{self.env['MLFLOW_PORT']}"

    @property
    def objects_uri(self) -> str:
        """Where the object store is reached."""
        return f"https://localhost:{self.env['MINIO_PORT']}"

    @property
    def ca(self) -> Path:
        """The certificate that every user's machine must trust."""
        return self.folder / "tls" / "ca.crt"

    @property
    def administrator(self) -> tuple[str, str]:
        """Name and password of MLflow's first account."""
        return self.env["MLFLOW_ADMIN_USER"], self.env["MLFLOW_ADMIN_PASSWORD"]

    def set(self, **values: str) -> None:
        """Change .env as an operator with an editor would."""
        file = self.folder / ".env"
        lines = [line for line in file.read_text("utf-8").splitlines() if line.partition("=")[0] not in values]
        file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n", "utf-8")

    def unset(self, name: str) -> None:
        """Remove a line of .env."""
        file = self.folder / ".env"
        lines = [line for line in file.read_text("utf-8").splitlines() if line.partition("=")[0] != name]
        file.write_text("\n".join(lines) + "\n", "utf-8")

    def operate(
        self, *arguments: str, given: str = "", environment: Mapping[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run ``./mlops-server`` as its operator does; `given` is what they type."""
        return subprocess.run(
            [sys.executable, str(self.folder / "mlops-server"), *arguments],
            cwd=self.folder,
            env={**self.environment(), **(environment or {})},
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def engine(self, *arguments: str, given: str = "", timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run the stand-in for ``docker compose`` itself."""
        return subprocess.run(
            [*shlex.split(ENGINE), *arguments],
            cwd=self.folder,
            env=self.environment(),
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        began = time.monotonic()
        answer = self.operate("start")
        self.start_seconds = self.start_seconds or time.monotonic() - began
        if answer.returncode:
            pytest.fail(f"{answer.stderr}\n{self.engine('logs', '--tail', '30').stdout}")

    def end(self) -> None:
        """End everything that runs for it."""
        for client in self.clients:
            client.close()
        self.engine("down").check_returncode()

    def add_user(self, name: str) -> str:
        """Make an account; gives its password."""
        answer = self.operate("user", "add", name, "--json")
        assert answer.returncode == 0, answer.stderr
        password: str = json.loads(answer.stdout)["password"]
        return password

    def share(self, experiment: str, name: str, level: str) -> None:
        """Let an account see (READ), change (EDIT) or own (MANAGE) an experiment."""
        answer = self.operate("share", experiment, name, level)
        assert answer.returncode == 0, answer.stderr

    def port(self, service: str) -> int:
        """Give the port of this machine on which a service of the inner network listens, as in ``db:3306``."""
        ports: dict[str, int] = json.loads((self.folder / ".native" / "state.json").read_text())["ports"]
        return ports[service]

    def client(self, account: tuple[str, str] | None = None, **options: Any) -> httpx.Client:
        """Give a client of MLflow that trusts the server's authority; without an account it is nobody."""
        return self._client(self.uri, auth=account, **options)

    def objects_client(self, **options: Any) -> httpx.Client:
        """Give a client of the object store that trusts the server's authority and has no key."""
        return self._client(self.objects_uri, **options)

    def _client(self, base: str, **options: Any) -> httpx.Client:
        known = {"verify": self._trust, "trust_env": False, "timeout": 120.0, **options}
        client = httpx.Client(base_url=base, **known)
        self.clients.append(client)
        return client

    @cached_property
    def _trust(self) -> Any:
        return httpx.create_ssl_context(verify=str(self.ca), trust_env=False)

    def environment(self) -> dict[str, str]:
        """Give the variables under which the operator's command finds the stand-in for its engine."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "MLOPS_"))}
        return {**clean, "MLOPS_SERVER_COMPOSE": ENGINE, OWNER: str(os.getpid())}


def require_programs() -> None:
    """Skip a test on a machine that lacks a program of the stack; in CI, fail it."""
    for program, how in _PROGRAMS.items():
        if shutil.which(program, path=PATH) is None:
            missing(program, how)


@pytest.fixture(scope="session")
def production_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductionStack]:
    """A running server that tests share: they make accounts and experiments of their own, and stop nothing.

    Mark what uses it with ``pytest.mark.xdist_group("stack")``, so that there is one.
    """
    require_programs()
    stack = ProductionStack.make(tmp_path_factory.mktemp("production") / "mlflow_server")
    try:
        stack.start()
        print(f"The production server started in {stack.start_seconds:.1f} s.")
        yield stack
    finally:
        stack.end()

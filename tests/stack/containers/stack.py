"""The production stack in containers, driven by the operator's own command in a copy of `mlflow_server/`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from tests.jupyter_servers import free_port

from . import images
from .images import timed
from .podman import Podman

PROJECT = "mlops-server-test"
SERVICES = ("db", "objects", "mlflow", "nginx")


class ContainerStack:
    """One server in containers.

    Parameters
    ----------
    folder
        A copy of `mlflow_server/`, which this makes.
    podman
        The engine.
    """

    def __init__(self, folder: Path, podman: Podman) -> None:
        self.folder = folder
        self.podman = podman
        shutil.copytree(
            images.SERVER, folder, ignore=shutil.ignore_patterns(".env", "tls", "data", "backups", "__pycache__")
        )

    @property
    def settings(self) -> dict[str, str]:
        """What .env says."""
        lines = (self.folder / ".env").read_text("utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    @property
    def uri(self) -> str:
        """Where researchers reach MLflow."""
        return f"https://localhost:{self.settings['MLFLOW_PORT']}"

    @property
    def authority(self) -> Path:
        """The certificate that researchers are given."""
        return self.folder / "tls" / "ca.crt"

    @property
    def administrator(self) -> tuple[str, str]:
        """Name and password of MLflow's first account."""
        return self.settings["MLFLOW_ADMIN_USER"], self.settings["MLFLOW_ADMIN_PASSWORD"]

    def network(self, name: str) -> str:
        """What the engine calls a network of the compose file."""
        return f"{PROJECT}_{name}"

    def container(self, service: str) -> str:
        """What the engine calls a service's container."""
        return f"{PROJECT}_{service}_1"

    def address(self, service: str, network: str = "backend") -> str:
        """A container's address in a network."""
        return str(self.networks(service)[self.network(network)]["IPAddress"])

    def networks(self, service: str) -> dict[str, dict[str, Any]]:
        """The networks that a container is on."""
        found: dict[str, dict[str, Any]] = self._inspect(service)["NetworkSettings"]["Networks"]
        return found

    def published(self, service: str) -> dict[str, list[str]]:
        """The ports of a container that the machine passes on, each with the machine's own ports for it."""
        ports = self._inspect(service)["NetworkSettings"]["Ports"] or {}
        return {port: [place["HostPort"] for place in places] for port, places in ports.items() if places}

    def process(self, service: str) -> int:
        """The process id, on this machine, of a service's first process."""
        return int(self._inspect(service)["State"]["Pid"])

    def _inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.podman("inspect", "--type", "container", self.container(service)))
        return found[0]

    def read(self, service: str, file: str) -> list[str]:
        """The lines of a file in a service's container."""
        return self.podman("exec", self.container(service), "cat", file).splitlines()

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container, whatever its exit status."""
        return self.podman.run("exec", self.container(service), *command)

    def healthy(self, service: str) -> bool:
        """Run a service's health check, as the engine does by the clock."""
        return self.podman.run("healthcheck", "run", self.container(service)).returncode == 0

    def wait_healthy(self, service: str, seconds: float = 120) -> None:
        """Wait until a service's health check succeeds."""
        limit = time.monotonic() + seconds
        while not self.healthy(service):
            assert time.monotonic() < limit, f"{service} does not get well again\n{self.last_words()}"
            time.sleep(0.5)

    def operate(self, *arguments: str, stdin: str = "", timeout: float = 420) -> str:
        """Run `./mlops-server` as an operator does, with podman-compose as its engine.

        Parameters
        ----------
        arguments
            Of the command.
        stdin
            What the operator types.
        timeout
            Seconds.

        Returns
        -------
        str
            What it printed.
        """
        compose = shutil.which("podman-compose", path=str(Path(sys.executable).parent)) or "podman-compose"
        with timed(f"mlops-server {' '.join(arguments)}"):
            done = subprocess.run(
                [str(self.folder / "mlops-server"), *arguments],
                cwd=self.folder,
                env={
                    **os.environ,
                    **self.podman.environment,
                    "MLOPS_SERVER_COMPOSE": compose,
                    "COMPOSE_PROJECT_NAME": PROJECT,
                },
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        if done.returncode != 0:
            raise AssertionError(
                f"mlops-server {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}\n"
                + self.last_words()
            )
        return done.stdout

    def last_words(self) -> str:
        """What each container said last."""
        said = [self.podman("ps", "--all")]
        for name in self.podman("ps", "--all", "--format", "{{.Names}}").split():
            lines = self.podman.run("logs", "--tail", "15", name)
            said.append(f"--- {name}\n{lines.stdout}{lines.stderr}")
        return "\n".join(said)

    def set(self, **values: str) -> None:
        """Put settings into .env."""
        file = self.folder / ".env"
        text = file.read_text("utf-8")
        for name, value in values.items():
            text = re.sub(rf"(?m)^(# )?{name}=.*$\n?", "", text)
            text += f"{name}={value}\n"
        file.write_text(text, "utf-8")


def cache() -> Path:
    """The folder that keeps the images between test sessions; the variable MLOPS_LAB_TEST_CACHE names another one."""
    chosen = os.environ.get("MLOPS_LAB_TEST_CACHE")
    return (Path(chosen) if chosen else user_cache_path("mlops-lab-tests")) / "containers"


@contextmanager
def own_podman() -> Iterator[Podman]:
    """A podman without containers, and without them again in the end.

    Other test sessions wait meanwhile, those with another cache too: the networks of all of them have the same names.
    """
    with FileLock(str(Path(tempfile.gettempdir()) / "mlops-lab-containers.lock"), timeout=1800):
        podman = Podman(cache())
        podman.clear()
        try:
            yield podman
        finally:
            podman.clear()


@contextmanager
def running_stack(folder: Path, podman: Podman) -> Iterator[ContainerStack]:
    """The stack, initialised and started with the operator's command."""
    with timed("all images"):
        chosen = images.build_all(podman)
    stack = ContainerStack(folder, podman)
    stack.operate("init", "--name", "localhost")
    stack.set(
        **chosen,
        BIND_ADDRESS="127.0.0.1",
        MLFLOW_PORT=str(free_port()),
        MINIO_PORT=str(free_port()),
        MINIO_KEYS="existing",
    )
    settings = stack.settings
    store = images.build_store_with_key(
        podman, settings["MINIO_ACCESS_KEY"], settings["MINIO_SECRET_KEY"], settings["MINIO_BUCKET"]
    )
    stack.set(MINIO_IMAGE=store)
    try:
        stack.operate("start")
        yield stack
    finally:
        podman.clear()
        podman.run("rmi", "--force", store)

"""The container engine: ``docker compose``, or what the variable MLOPS_SERVER_COMPOSE names."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from operate.errors import Problem

VARIABLE = "MLOPS_SERVER_COMPOSE"
JOBS = "migrate"
"""The service whose image, network and variables every other one-shot job borrows."""
PROBES = {
    "db": ["sh", "/opt/mlops/db/health.sh"],
    "objects": [
        "sh",
        "-c",
        "if command -v mcli >/dev/null; then timeout 4 mcli ready local; else timeout 4 mc ready local; fi",
    ],
    "mlflow": ["python", "-m", "mlops_server", "health", "--url", "http://127.0.0.1:5000"],
    "nginx": ["/bin/sh", "/opt/mlops/nginx/health.sh"],
}
"""The health check of each service, as in compose.yaml: some engines never run it by themselves."""
_PROBE_LIMIT = 30.0
"""Seconds for one health check, the engine's own work included."""
SERVICES = (*PROBES, "check", "migrate", "seed")
"""Every service of compose.yaml: those that stay, then the jobs."""
_INSTALL = "on Ubuntu apt install docker.io docker-compose-v2, on Debian Docker's own package docker-compose-plugin"


class Engine:
    """The engine, seen from the server's folder."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        try:
            self._words = shlex.split(os.environ.get(VARIABLE) or env.get(VARIABLE) or "docker compose")
        except ValueError:
            raise Problem(f"{VARIABLE} has a quote without its end: write it like podman-compose.") from None
        # A variable of this shell would win over .env, unseen.
        self._environment = {name: value for name, value in os.environ.items() if name not in _settings(folder, env)}

    def require(self) -> None:
        """See that there is an engine and that it answers.

        Raises
        ------
        Problem
            When there is none, or it does not run, or this user may not use it.
        """
        program = self._words[0]
        if shutil.which(program) is None:
            other = " (podman-compose is here: to use it, write MLOPS_SERVER_COMPOSE=podman-compose into .env)"
            raise Problem(
                f"The program {program} is not installed: install Docker Engine with its compose plugin ({_INSTALL}), "
                f"or name another engine in {VARIABLE}." + (other if shutil.which("podman-compose") else "")
            )
        if self._words[:2] == ["docker", "compose"]:
            if subprocess.run([*self._words, "version"], capture_output=True).returncode:
                raise Problem(f"docker has no compose plugin here: install it ({_INSTALL}).")
            answer = subprocess.run([program, "info"], capture_output=True, text=True)
            if answer.returncode:
                raise Problem(_in_plain_words(answer.stderr + answer.stdout, self._words))

    def up(self, *services: str) -> None:
        """Start services as the compose file has them now, without what they depend on."""
        self._quietly("up", "-d", "--no-deps", *services)

    def stop(self, *services: str) -> None:
        """Stop services; without names all of them."""
        self._quietly("stop", *services)

    def resume(self, *services: str) -> None:
        """Start services again that were stopped, exactly as they were."""
        self._quietly("start", *services)

    def restart(self, service: str) -> None:
        """Start a service anew, with the files that are mounted into it as they are now."""
        self._quietly("restart", service)

    def states(self) -> dict[str, str]:
        """Give the state of each service that has a container: running, exited, ..."""
        text = self._quietly("ps", "--format", "json")
        found: dict[str, str] = {}
        for row in _rows(text):
            labels = row.get("Labels") if isinstance(row.get("Labels"), dict) else {}
            name = row.get("Service") or (labels or {}).get("com.docker.compose.service")
            if name:
                found[str(name)] = str(row.get("State", "")).lower()
        return found

    def healthy(self, service: str) -> str | None:
        """Run a service's health check: None when it is well, else what it said."""
        try:
            answer = self._ask(["exec", "-T", service, *PROBES[service]], limit=_PROBE_LIMIT)
        except subprocess.TimeoutExpired:
            return f"no answer within {_PROBE_LIMIT:.0f} seconds"
        return None if answer.returncode == 0 else _last_line(answer.stderr or answer.stdout) or "no answer"

    def job(
        self, *arguments: str, volumes: Iterable[str] = (), user: str | None = None, given: str | None = None
    ) -> str:
        """Run a one-shot job in the MLflow image, and give what it printed.

        Parameters
        ----------
        arguments
            Of ``python -m mlops_server``.
        volumes
            Folders that it sees besides, as FOLDER:PATH.
        user
            Who it runs as, UID:GID; the server's own user by default.
        given
            What it reads from its standard input.

        Raises
        ------
        Problem
            With what the job said when it failed.
        """
        options = [word for volume in volumes for word in ("-v", volume)] + (["-u", user] if user else [])
        return self._quietly("run", "--rm", "--no-deps", "-T", *options, JOBS, *arguments, given=given)

    def seed(self) -> None:
        """Make the bucket and its key, where they are not there yet, as the store's administrator."""
        self._quietly("run", "--rm", "--no-deps", "-T", "seed")

    def inside(self, service: str, *command: str) -> str:
        """Run a command in a service's container, and give what it printed."""
        return self._quietly("exec", "-T", service, *command)

    def stream(
        self, service: str, *command: str, source: IO[bytes] | int = subprocess.DEVNULL, errors: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a command in a service's container whose input or output is large."""
        return subprocess.Popen(
            [*self._words, "exec", "-T", service, *command],
            cwd=self._folder,
            env=self._environment,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    def show(self, *arguments: str) -> int:
        """Let the engine speak for itself, e.g. its logs."""
        return subprocess.call([*self._words, *arguments], cwd=self._folder, env=self._environment)

    def last_words(self, service: str) -> str:
        """Give the last line that a service said."""
        answer = self._ask(["logs", "--no-color", "--tail", "5", service])
        return _last_line(answer.stdout or answer.stderr).partition("|")[2].strip()

    def explain(self, errors: str) -> str:
        """Reduce what the engine and its command said to the line that matters."""
        return _in_plain_words(errors, self._words)

    def _quietly(self, *arguments: str, given: str | None = None) -> str:
        answer = self._ask(arguments, given)
        if answer.returncode:
            raise Problem(_in_plain_words(answer.stderr or answer.stdout, self._words))
        return answer.stdout

    def _ask(
        self, arguments: Sequence[str], given: str | None = None, limit: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self._words, *arguments],
                cwd=self._folder,
                env=self._environment,
                input=given if given is not None else "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
            )
        except OSError as error:
            raise Problem(
                f"The program {self._words[0]} cannot be started ({error.strerror}): install Docker Engine with its "
                f"compose plugin, or name another engine in {VARIABLE}."
            ) from None


def _settings(folder: Path, env: Mapping[str, str]) -> set[str]:
    """Name every variable that .env may set, also those that are only mentioned in the example."""
    example = (folder / ".env.example").read_text("utf-8") if (folder / ".env.example").exists() else ""
    mentioned = {line.lstrip("# ").partition("=")[0] for line in example.splitlines() if "=" in line}
    return (mentioned | set(env)) - {VARIABLE}


def _rows(text: str) -> list[dict[str, Any]]:
    """Read a list of containers: one JSON array, or one object a line."""
    try:
        whole = json.loads(text or "[]")
        return list(whole) if isinstance(whole, list) else [whole]
    except json.JSONDecodeError:
        pass
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [row for row in rows if isinstance(row, dict)]


def json_line(text: str) -> Any:
    """Read the last line of JSON in what a job printed; engines print lines of their own before it."""
    for line in reversed(text.splitlines()):
        if line[:1] in "{[":
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                continue
    raise Problem("A job of the server did not answer as it should: look at ./mlops-server logs.")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _in_plain_words(errors: str, words: Sequence[str]) -> str:
    lowered = errors.lower()
    if "permission denied" in lowered and "docker" in lowered and "sock" in lowered:
        return (
            "Your account may not use Docker: run this with sudo, or let an administrator add you to the group docker."
        )
    if "cannot connect to the docker daemon" in lowered or "is the docker daemon running" in lowered:
        return "Docker is installed but does not run: start it, e.g. sudo systemctl start docker"
    if "unknown command: docker compose" in lowered or "'compose' is not a docker command" in lowered:
        return f"docker has no compose plugin here: install it ({_INSTALL})."
    required = [line for line in errors.splitlines() if "required variable" in line]
    line = required[-1] if required else _last_line(errors)
    return line or f"{' '.join(words[:2])} failed and did not say why: try ./mlops-server logs"


def interrupted() -> None:
    """Say what Ctrl-C leaves behind."""
    print("\nInterrupted. ./mlops-server status shows what runs; the command can be given again.", file=sys.stderr)

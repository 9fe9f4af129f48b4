"""Starting, asking and ending the processes that stand in for containers."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlops_lab.connection import process
from tests.stack.engine.errors import EngineError
from tests.stack.engine.images import PATH, additions, entrypoint
from tests.stack.engine.places import Places, find_paths, make_folders
from tests.stack.engine.project import Project
from tests.stack.engine.state import Running, State

PATIENCE = 10.0
"""Seconds between asking a process to end and ending it, as in a compose file without ``stop_grace_period``."""


@dataclass(frozen=True)
class Launch:
    """How one service starts: its words, its variables, its folder."""

    words: list[str]
    environment: dict[str, str]
    folder: Path
    places: Places

    @property
    def digest(self) -> str:
        """Tell two launches apart."""
        known = [self.words, self.environment]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def prepare(
    project: Project,
    state: State,
    name: str,
    *,
    home: Path | None = None,
    command: Sequence[str] = (),
    volumes: Sequence[str] = (),
    variables: Sequence[str] = (),
) -> Launch:
    """Work out how a service starts; what it finds in its container is made below `home`."""
    service = project.service(name)
    home = home or state.home(name)
    paths = find_paths(project, name, home, volumes)
    make_folders(paths)
    places = Places(name, state.ports, paths, published=name in project.published)
    given = {key: "" if value is None else str(value) for key, value in (service.get("environment") or {}).items()}
    given.update(variable.partition("=")[::2] for variable in variables)
    words = places.all([*map(str, service.get("entrypoint") or []), *map(str, command or service.get("command") or [])])
    folder = home / "work"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": PATH,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TMPDIR": str(paths.get("/tmp", folder)),
        **{key: places.native(value) for key, value in given.items()},
        **additions(project, name, places, given),
    }
    return Launch([*entrypoint(project, name), *words], environment, folder, places)


def run_job(launch: Launch, log: Path | None = None) -> int:
    """Run to the end; to the terminal, or into `log`."""
    if log is None:
        return subprocess.call(launch.words, env=launch.environment, cwd=launch.folder)
    with log.open("ab") as sink:
        return subprocess.call(
            launch.words, env=launch.environment, cwd=launch.folder, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )


def start(state: State, name: str, launch: Launch) -> None:
    """Start a service that stays, unless that very one runs already."""
    running = state.services.get(name)
    if running and running.alive and running.digest == launch.digest:
        return
    stop(state, name)
    with state.log(name).open("ab") as sink:
        child = subprocess.Popen(
            launch.words,
            env=launch.environment,
            cwd=launch.folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    known = process.know(child.pid)
    state.services[name] = Running(child.pid, known.birth if known else "", launch.digest)


def stop(state: State, name: str) -> None:
    """End a service with everything that it started."""
    running = state.services.get(name)
    if not running or running.exit_code is not None:
        return
    known = process.Known(running.pid, running.birth)
    process.end_group(running.pid, [known, *process.descendants(running.pid)], PATIENCE)


def stop_all(project: Project, state: State, names: Sequence[str]) -> None:
    """End services, those first that wait for others."""
    order = project.in_order(names, with_needs=False)
    if set(order) >= {name for name, one in state.services.items() if one.alive}:
        # Nothing is left that could miss another one, as at the end of a test.
        with ThreadPoolExecutor() as together:
            list(together.map(lambda name: stop(state, name), order))
        return
    for name in reversed(order):
        stop(state, name)


def healthy(project: Project, state: State, name: str) -> str:
    """Run a service's health check once: ``healthy``, ``unhealthy``, or nothing where there is none."""
    check = project.service(name).get("healthcheck")
    if not check:
        return ""
    test = check["test"]
    kind, words = ("CMD-SHELL", [test]) if isinstance(test, str) else (test[0], [str(word) for word in test[1:]])
    launch = prepare(project, state, name)
    command = ["sh", "-c", launch.places.native(words[0])] if kind == "CMD-SHELL" else launch.places.all(words)
    limit = float(str(check.get("timeout", "30s")).removesuffix("s"))
    try:
        answer = subprocess.run(
            [resolve(command[0]), *command[1:]],
            env=launch.environment,
            cwd=launch.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return "unhealthy"
    return "healthy" if answer.returncode == 0 else "unhealthy"


def wait_healthy(project: Project, state: State, name: str) -> None:
    """Wait until a service's health check succeeds.

    Raises
    ------
    EngineError
        When the service ended, or took longer than its health check allows.
    """
    check = project.service(name).get("healthcheck") or {}
    seconds = [float(str(check.get(key, "0s")).removesuffix("s")) for key in ("start_period", "interval")]
    limit = time.monotonic() + seconds[0] + seconds[1] * int(check.get("retries", 3))
    while health := healthy(project, state, name):
        running = state.services.get(name)
        # Asked afterwards: once it has ended, its port may be somebody else's, who answers.
        if running is None or not running.alive:
            raise EngineError(f"dependency failed to start: {name} exited; its last words: {last_words(state, name)}")
        if health == "healthy":
            return
        if time.monotonic() > limit:
            raise EngineError(f"dependency failed to start: {name} is unhealthy; see {state.log(name)}")
        time.sleep(0.2)


def last_words(state: State, name: str) -> str:
    """Give the last line that a service said."""
    log = state.log(name)
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "(nothing)"


def execute(project: Project, state: State, name: str, command: Sequence[str], variables: Sequence[str]) -> int:
    """Run a command beside a running service, with its variables, as ``exec`` does inside its container."""
    running = state.services.get(name)
    if running is None or not running.alive:
        raise EngineError(f'service "{name}" is not running')
    launch = prepare(project, state, name, variables=variables)
    words = launch.places.all(command)
    os.chdir(launch.folder)
    try:
        os.execve(resolve(words[0]), words, launch.environment)
    except OSError as error:
        raise EngineError(f'exec failed: "{shlex.join(words)}": {error.strerror}') from error


def run_once(
    project: Project, state: State, name: str, command: Sequence[str], volumes: Sequence[str], variables: Sequence[str]
) -> int:
    """Run a job in the foreground, with a temporary folder of its own."""
    home = Path(tempfile.mkdtemp(prefix=f"mlops-native-{name}-"))
    try:
        return run_job(prepare(project, state, name, home=home, command=command, volumes=volumes, variables=variables))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def resolve(program: str) -> str:
    """Find a program where the stand-ins for the images look for it."""
    return shutil.which(program, path=PATH) or program

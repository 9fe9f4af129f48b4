"""How the embedded server is put on its feet: interpreter, command line, lock, state file, port, health, log.

The child holds an advisory lock on ``server.lock`` as long as it lives, so that one folder never has two servers, also
where several machines share it. The state file says which process it is; see :mod:`mlops_lab.connection.process`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import msgspec

from mlops_lab import wire
from mlops_lab.connection import process
from mlops_lab.connection.errors import ServerFailed
from mlops_lab.connection.process import Known

HOST = "127.0.0.1"
SCHEMA_VERSION = 1

_MARK = "X-Mlops-Lab-Server"

_STEPS = (
    ("Uvicorn running", "answering the first request"),
    ("Started server process", "opening the port"),
    ("Security middleware", "loading the web server"),
    ("Updating database tables", "updating the database"),
    ("Creating initial MLflow database tables", "creating the database"),
    ("Registry store URI", "opening the database"),
)
"""Words of MLflow's log, latest first, and what they mean for the person who waits."""

_REASONS = (
    ("No space left on device", "The disk is full, so the embedded server cannot store anything."),
    ("database or disk is full", "The disk is full, so the embedded server cannot store anything."),
    ("Can't locate revision", "The embedded server's database was made by a newer MLflow than the one installed here."),
    ("database disk image is malformed", "The embedded server's database file is damaged."),
    ("Permission denied", "The embedded server may not write in its folder."),
    ("No module named", "The environment that should run the embedded server is not complete."),
)


class Record(msgspec.Struct, kw_only=True):
    """The state file: which process the server is, or how the last one ended."""

    schema_version: int = SCHEMA_VERSION
    host: str = msgspec.field(default_factory=socket.gethostname)
    port: int = 0
    leader: Known | None = None
    """Leader of the server's process group; None while there is none."""
    members: list[Known] = []
    """Others of the group, noted once it is up: they name it where the leader alone was killed."""
    mark: str = ""
    """Sent by the server with each answer: proof that it is ours, and not another's on the same port."""
    up: bool = False
    """Has it ever answered?"""
    asked_at: float = 0.0
    time_limit: float = 120.0
    failure: str = ""
    hint: str = ""

    @property
    def pid(self) -> int | None:
        """The leader's pid."""
        return self.leader.pid if self.leader else None

    def uri(self) -> str:
        """Give the server's address."""
        return f"http://{HOST}:{self.port}"

    def elsewhere(self) -> bool:
        """Tell whether it was started on another machine that shares the folder."""
        return self.leader is not None and self.host != socket.gethostname()


def take_lock(place: Path) -> FileIO | None:
    """Take the lock of the one server; None when somebody has it. Closing the file gives it back."""
    file = FileIO(os.open(place / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return None
        raise ServerFailed(
            f"The file system of {place} has no file locks, which a database needs.",
            "Set MLOPS_LAB_HOME to a folder on a local disk.",
        ) from None
    return file


def is_locked(place: Path) -> bool:
    """Tell whether a server, or somebody who starts one, has the lock."""
    try:
        lock = take_lock(place)
    except ServerFailed:
        return False
    if lock is None:
        return True
    lock.close()
    return False


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Be the only one to change the state file."""
    with open(place / "state.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(place: Path) -> Record | None:
    """Read the state file; None where there is none that we understand."""
    try:
        record = wire.decode((place / "state.json").read_bytes(), Record)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None
    return record if record.schema_version == SCHEMA_VERSION else None


def write(place: Path, record: Record) -> None:
    """Write the state file, whole or not at all."""
    draft = place / f".state.{secrets.token_hex(4)}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(wire.encode(record))
    os.replace(draft, place / "state.json")


def note_up(place: Path, record: Record) -> None:
    """Note that the server of `record` has answered, and which processes it consists of."""
    with writing(place):
        current = read(place)
        if current is not None and current.leader is not None and current.leader == record.leader and not current.up:
            current.up = True
            current.members = process.descendants(current.leader.pid)
            write(place, current)


def sweep(place: Path) -> None:
    """End what a killed server left behind. Its leader is gone, since the lock is free, but a worker may live on."""
    previous = read(place)
    if previous is not None and not previous.elsewhere():
        end(previous)


def end(record: Record) -> bool:
    """End the server of `record`, all of its group; True when nothing of it is left.

    One that has answered gets time to finish what it writes; one that never did has nothing to lose.
    """
    if record.leader is None:
        return True
    members = [record.leader, *record.members]
    if process.alive(record.leader):
        members += process.descendants(record.leader.pid)
    return process.end_group(record.leader.pid, members, patience=10.0 if record.up else 2.0)


def interpreter(python: str | None) -> str:
    """Choose the Python that runs the server.

    Raises
    ------
    ServerFailed
        When there is none with MLflow's server in it.
    """
    if python is not None:
        found = shutil.which(os.path.expanduser(python))
        if found is None:
            raise ServerFailed(f"There is no Python at {python}.", "Give the path of one whose environment has mlflow.")
        return found
    # find_spec looks without importing: mlflow would cost this process seconds and 170 MB. Flask is what tells the
    # full mlflow from mlflow-skinny, which has no server.
    if sys.executable and importlib.util.find_spec("mlflow") and importlib.util.find_spec("flask"):
        return sys.executable
    raise ServerFailed(
        "MLflow is not installed in this environment, so no server can be started here.",
        f"Install it with: {sys.executable or 'python'} -m pip install mlflow. Or log in to a running server.",
    )


def spawn(place: Path, lock: FileIO, port: int, python: str) -> Record:
    """Start the server process and write the state file. The lock passes to the child."""
    log = place / "server.log"
    command = [python, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    # Relative to the folder, because its path may hold characters that mean something in a database URI.
    command += ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "./artifacts"]
    mark = secrets.token_hex(8)
    command += ["--uvicorn-opts", f"--no-access-log --header {_MARK}:{mark}"]
    try:
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            child = subprocess.Popen(
                command,
                cwd=place,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Its own session: an interrupt of the kernel or the terminal must not reach it.
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
    except OSError as error:
        raise ServerFailed(f"The embedded server could not be started ({error.strerror}).", f"See {place}.") from error
    process.adopt(child)
    # A child that is dead by now is remembered too: whoever waits sees at once that it is gone.
    leader = process.know(child.pid) or Known(child.pid, "dead at birth")
    record = Record(port=port, leader=leader, mark=mark, asked_at=time.time())
    with writing(place):
        write(place, record)
    return record


def _environment() -> dict[str, str]:
    # The caller's MLflow settings are for clients, and may hold secrets of other servers.
    kept = {name: value for name, value in os.environ.items() if not name.lstrip("_").startswith("MLFLOW_")}
    kept.pop("MLOPS_LAB_SESSION", None)
    return kept | {
        # Measured: 6-17 s and 2 processes with these, 56-65 s and 16 processes without.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "PYTHONUNBUFFERED": "1",
        # A file of the user's that is called like a module must not be imported in its place.
        "PYTHONSAFEPATH": "1",
    }


def is_free(port: int) -> bool:
    """Tell whether a server could listen on `port` of this machine now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    with socket.socket() as probe:
        # macOS lets us bind beside a program that listens on all addresses; that one would answer, though.
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) != 0


def any_free_port() -> int:
    """Give a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def healthy(record: Record, timeout: float = 1.0) -> bool:
    """Ask the server of `record` whether it is up; somebody else's server on its port does not count."""
    connection = http.client.HTTPConnection(HOST, record.port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status == 200 and answer.getheader(_MARK) == record.mark
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def step(log: Path) -> str:
    """Say what a starting server is doing, from what its log says."""
    text = _tail(log, 1 << 16)
    return next((meaning for words, meaning in _STEPS if words in text), "loading MLflow")


def lost_port(log: Path) -> bool:
    """Tell whether the server ended because its port was taken meanwhile."""
    return "address already in use" in _tail(log, 1 << 16).lower()


def reason(log: Path) -> ServerFailed:
    """Say why a server that is gone did not start."""
    text = _tail(log, 1 << 16)
    sentence = next((meaning for words, meaning in _REASONS if words in text), "The embedded server did not start.")
    last = last_line(log)
    return ServerFailed(sentence, f"Its last words: {last}" if last else f"Its log {log} is empty.")


def last_line(log: Path) -> str:
    """Give the last line of the log that says something, shortened to what fits on a screen."""
    lines = [" ".join(line.split()) for line in _tail(log, 1 << 13).splitlines()]
    return next((line[:300] for line in reversed(lines) if any(map(str.isalnum, line))), "")


def _tail(log: Path, size: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""

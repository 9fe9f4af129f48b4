"""The MLflow server that mlops_lab runs on this machine for one person: sqlite, local artifacts, 127.0.0.1.

It belongs to the person, not to a Jupyter: it keeps running when JupyterLab stops, other notebooks and the command
line find it through its state file, and it ends with ``mlops-lab server stop`` or the panel's Stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mlops_lab.connection import launch, process
from mlops_lab.connection.errors import PortTaken, ServerFailed
from mlops_lab.connection.launch import Record
from mlops_lab.connection.model import EmbeddedServer
from mlops_lab.home import home, private_folder

DEFAULT_PORT = 5117
NEIGHBOURS = 50
"""Ports from the default one upwards that are tried before one is left to chance."""
TIME_LIMIT = 120.0
"""Seconds after which a start has failed."""

Report = Callable[[EmbeddedServer], None]

_POLL = 0.2


def folder() -> Path:
    """Give the folder with database, artifacts, log and state of the embedded server."""
    return private_folder(home() / "server")


def log_path() -> Path:
    """Give the server's log, which begins anew with each start."""
    return folder() / "server.log"


def start(
    port: int | None = None,
    wait: bool = True,
    report: Report | None = None,
    *,
    python: str | None = None,
    time_limit: float = TIME_LIMIT,
    cancelled: Callable[[], bool] | None = None,
) -> EmbeddedServer:
    """Start the embedded server, or find the one that runs already; two who start at once get the same one.

    Parameters
    ----------
    port
        Insist on this port. By default the last one is used again (at first 5117), or a free one where it is busy.
    wait
        Return when the server answers. Otherwise return at once, with state ``"starting"``.
    report
        Called with the state whenever it changes while waiting.
    python
        Interpreter of an environment that has mlflow; by default the one that runs us.
    time_limit
        Seconds to wait before the start has failed and is undone.
    cancelled
        Asked while waiting; when it says True the start is undone and the state ``"stopped"`` returned.

    Raises
    ------
    PortTaken
        When `port` was asked for and another program has it.
    ServerFailed
        When the server cannot be started; the hint is the last line of its log where it has one.
    """
    place = folder()
    lost = False
    for _ in range(3):
        lock = launch.take_lock(place)
        if lock is None:
            found = _join_running(place, wait, report, time_limit)
            if found is not None:
                return found
            continue
        with lock:
            if cancelled and cancelled():
                return EmbeddedServer(state="stopped")
            launch.sweep(place)
            record = launch.spawn(place, lock, _choose_port(place, port, lost), launch.interpreter(python))
        if not wait:
            return status()
        try:
            return _wait(place, record, report, time_limit, cancelled)
        except _LostPort:
            if port is not None:
                raise port_taken(port) from None
            lost = True
    raise ServerFailed(
        "The embedded server did not start, because other programs keep taking its port.", "Try again in a moment."
    )


def stop() -> EmbeddedServer:
    """Stop the embedded server and all its processes, whoever started it; one that is not running is fine.

    Raises
    ------
    ServerFailed
        When it runs on another machine, or does not end.
    """
    place = folder()
    record = launch.read(place)
    patience = time.monotonic() + 5.0
    while (record is None or record.leader is None) and launch.is_locked(place) and time.monotonic() < patience:
        # Somebody is about to start it, and has not written yet which process it is.
        time.sleep(_POLL / 4)
        record = launch.read(place)
    if record is None:
        return EmbeddedServer(state="stopped")
    if record.elsewhere() and launch.is_locked(place):
        raise _elsewhere(record)
    if not record.elsewhere() and not launch.end(record):
        raise ServerFailed(
            f"The embedded server (process {record.pid}) does not end.", "Look at it with your system's task manager."
        )
    with launch.writing(place):
        launch.write(place, Record(port=record.port))
    return EmbeddedServer(state="stopped")


def status() -> EmbeddedServer:
    """Say how the embedded server is doing; any process of this user may ask, and nothing is changed by asking."""
    place = folder()
    record = launch.read(place)
    if record is None:
        return EmbeddedServer(state="stopped")
    if record.leader is None:
        if record.failure:
            return EmbeddedServer(state="failed", message=record.failure, hint=record.hint or None)
        return EmbeddedServer(state="stopped")
    if record.elsewhere():
        if not launch.is_locked(place):
            return EmbeddedServer(state="stopped")
        problem = _elsewhere(record)
        return EmbeddedServer(state="failed", message=problem.message, hint=problem.hint)
    if not process.alive(record.leader):
        return _gone(place, record)
    uri, pid = record.uri(), record.leader.pid
    if launch.healthy(record):
        if not record.up:
            launch.note_up(place, record)
        return EmbeddedServer(state="running", uri=uri, pid=pid)
    if record.up:
        busy = "The embedded server is running but does not answer at the moment."
        return EmbeddedServer(state="running", uri=uri, pid=pid, message=busy)
    elapsed = max(0.0, time.time() - record.asked_at)
    if elapsed > max(record.time_limit, TIME_LIMIT):
        late = _late(place, record.time_limit)
        return EmbeddedServer(state="failed", uri=uri, pid=pid, elapsed=elapsed, message=late.message, hint=late.hint)
    return EmbeddedServer(state="starting", uri=uri, pid=pid, elapsed=elapsed, step=launch.step(log_path()))


def check_port(port: int) -> None:
    """Make sure that `port` can be had.

    Raises
    ------
    PortTaken
        When it is busy, or no port at all.
    """
    if not 1 <= port <= 65535:
        raise PortTaken(f"{port} is not a port.", "Choose a number from 1024 to 65535.")
    if not launch.is_free(port):
        raise port_taken(port)


def port_taken(port: int) -> PortTaken:
    """Give the answer for a port that another program has."""
    return PortTaken(
        f"Port {port} is used by another program, so the embedded server was not started.",
        "Choose another port, or leave it empty and a free one is found.",
    )


class _LostPort(Exception):
    """Somebody took the port between our look and the server's own bind."""


def _choose_port(place: Path, asked: int | None, lost: bool) -> int:
    """Choose a port: a familiar one, or any where others took that in the very moment of this start."""
    if asked is not None:
        check_port(asked)
        return asked
    if lost:
        return launch.any_free_port()
    record = launch.read(place)
    # Neighbours come before what the system offers: its offers are also the ports of outgoing connections, one of
    # which may sit on ours when we want it again.
    wishes = [record.port] if record is not None and record.port else []
    wishes += range(DEFAULT_PORT, DEFAULT_PORT + NEIGHBOURS)
    for port in wishes:
        if launch.is_free(port):
            return port
    return launch.any_free_port()


def _join_running(place: Path, wait: bool, report: Report | None, time_limit: float) -> EmbeddedServer | None:
    """Go along with a start that another made; None when that one is gone and we should try ourselves."""
    deadline = time.monotonic() + time_limit
    # A starter holds the lock for a moment before its record is written.
    quiet = time.monotonic() + 5.0
    said: EmbeddedServer | None = None
    while time.monotonic() < deadline:
        current = status()
        if current.state == "running":
            if report:
                report(current)
            return current
        if current.state == "starting":
            quiet = time.monotonic() + 5.0
            if not wait:
                return current
            said = _tell(report, current, said)
        elif not launch.is_locked(place):
            return None
        record = launch.read(place)
        if record is not None and record.elsewhere():
            raise _elsewhere(record)
        if time.monotonic() > quiet:
            if record is None or record.leader is None or not launch.end(record):
                raise ServerFailed(
                    "Another program holds the embedded server's folder.", f"See which one uses {place}."
                )
            return None
        time.sleep(_POLL)
    raise _late(place, time_limit)


def _wait(
    place: Path, record: Record, report: Report | None, time_limit: float, cancelled: Callable[[], bool] | None
) -> EmbeddedServer:
    """Follow our own start to its end, good or bad; a bad one leaves no process and says why."""
    assert record.leader is not None
    deadline = time.monotonic() + time_limit
    said: EmbeddedServer | None = None
    while True:
        if not process.alive(record.leader):
            current = launch.read(place)
            if current is None or current.leader != record.leader:
                return status()  # stopped (or replaced) by somebody else while it started
            launch.end(record)
            if launch.lost_port(log_path()):
                raise _LostPort
            raise _fail(place, record, launch.reason(log_path()))
        if cancelled and cancelled():
            return stop()
        if launch.healthy(record):
            launch.note_up(place, record)
            current_state = EmbeddedServer(state="running", uri=record.uri(), pid=record.leader.pid)
            if report:
                report(current_state)
            return current_state
        if time.monotonic() > deadline:
            launch.end(record)
            raise _fail(place, record, _late(place, time_limit))
        said = _tell(report, status(), said)
        time.sleep(_POLL)


def _tell(report: Report | None, current: EmbeddedServer, said: EmbeddedServer | None) -> EmbeddedServer | None:
    if report and (said is None or said.step != current.step or current.elapsed - said.elapsed >= 1.0):
        report(current)
        return current
    return said


def _fail(place: Path, record: Record, problem: ServerFailed) -> ServerFailed:
    with launch.writing(place):
        current = launch.read(place)
        if current is not None and current.leader == record.leader:
            launch.write(place, Record(port=record.port, failure=problem.message, hint=problem.hint))
    return problem


def _gone(place: Path, record: Record) -> EmbeddedServer:
    assert record.leader is not None
    if not process.same_boot(record.leader):
        return EmbeddedServer(state="stopped")
    if record.up:
        last = launch.last_line(log_path())
        return EmbeddedServer(
            state="failed",
            message="The embedded server has ended unexpectedly.",
            hint=f"Start it again; nothing that it stored is lost. Its last words: {last}"
            if last
            else "Start it again; nothing that it stored is lost.",
        )
    problem = launch.reason(log_path())
    return EmbeddedServer(state="failed", message=problem.message, hint=problem.hint)


def _late(place: Path, time_limit: float) -> ServerFailed:
    last = launch.last_line(log_path())
    return ServerFailed(
        f"The embedded server did not answer within {time_limit:.0f} seconds.",
        f"Its last words: {last}" if last else f"Its log {log_path()} is empty; the machine may be overloaded.",
    )


def _elsewhere(record: Record) -> ServerFailed:
    return ServerFailed(
        f"The embedded server of this folder is running on another machine, {record.host}.",
        "Stop it there, or set MLOPS_LAB_HOME to a folder of this machine.",
    )

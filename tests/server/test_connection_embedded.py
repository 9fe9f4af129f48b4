"""The embedded server's life: started once, found again, never mistaken, never 'starting' for ever."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops_lab.connection import embedded, launch, open_server, process
from mlops_lab.connection.broker import Broker
from mlops_lab.connection.errors import PortTaken, ServerFailed
from mlops_lab.connection.model import ConnectionState, EmbeddedServer, LoginRequest
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import POINTERS, SECRETS, read_session
from tests.jupyter_servers import free_port

LIMIT = 240.0
"""A machine that runs the whole suite at once may be slow; no test here is about speed."""


@pytest.fixture(autouse=True)
def home(mlops_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in (*POINTERS, *SECRETS):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores what a broker sets
        monkeypatch.delenv(name)
    monkeypatch.setattr(embedded, "TIME_LIMIT", LIMIT)
    yield mlops_home
    embedded.stop()


@pytest.fixture
def broker(home: Path, tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "runtime" / "session.json")
    yield made
    made.stop_embedded()
    made.close()


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], str]:
    """An interpreter that runs `script` in place of MLflow."""

    def make(script: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


def ask(code: str) -> str:
    """Ask in a process of its own, as the command line does."""
    script = f"from mlops_lab.connection import embedded, open_server\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def until(look: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT
    while not look():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_two_who_start_it_at_once_get_one_server_that_others_find_and_stop(home: Path) -> None:
    code = f"print(embedded.start(time_limit={LIMIT}).uri, flush=True)"
    script = f"from mlops_lab.connection import embedded\n{code}"
    starters = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {starter.communicate()[0].strip() for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0]
    assert len(said) == 1
    [uri] = said
    # Its starters are gone; it belongs to the person.
    found = embedded.status()
    assert (found.state, found.uri) == ("running", uri)
    assert found.pid is not None
    assert embedded.start().pid == found.pid
    assert ask("print(open_server().version())") == TrackingServer(uri).version()
    assert (home / "server").stat().st_mode & 0o077 == 0
    record = launch.read(home / "server")
    assert record is not None
    assert record.members
    assert ask("print(embedded.stop().state)") == "stopped"
    assert not process.alive(launch.Known(found.pid, record.leader.birth))
    assert not any(process.alive(member) for member in record.members)
    assert embedded.status() == EmbeddedServer(state="stopped")
    assert not launch.is_locked(home / "server")
    assert embedded.stop().state == "stopped"


def test_a_server_that_is_killed_is_noticed_and_comes_back_on_its_port_with_its_runs(broker: Broker) -> None:
    steps: list[str] = []

    def poll() -> ConnectionState:
        state = broker.state()
        steps.append(state.embedded.step)
        return state

    # Far from the system's own choices, so that nobody sits on it when the server wants it back.
    port = next(filter(launch.is_free, (random.randrange(20_000, 30_000) for _ in range(100))))
    first = broker.start_embedded(port)
    assert first.embedded.state == "starting"
    assert first.status == "disconnected"
    until(lambda: poll().embedded.state != "starting")
    state = broker.state()
    assert (state.status, state.embedded.state, state.uri) == ("connected", "running", state.embedded.uri)
    assert state.uri == f"http://127.0.0.1:{port}"
    assert state.server_version
    assert os.environ["MLFLOW_TRACKING_URI"] == state.uri
    # What the log said, in words for people: at least the loading and one later step were seen.
    assert "loading MLflow" in steps
    assert len(set(steps) - {""}) >= 2
    run_id = open_server().create_run("0", run_name="before the fall")["info"]["run_id"]

    # The leader alone dies; the worker that it leaves behind still has port and database.
    assert state.embedded.pid is not None
    os.kill(state.embedded.pid, signal.SIGKILL)
    until(lambda: broker.state().embedded.state == "failed")
    fallen = broker.state()
    assert fallen.status == "unreachable"
    assert "not running" in (fallen.message or "")
    assert "ended unexpectedly" in (fallen.embedded.message or "")
    record = launch.read(embedded.folder())
    assert record is not None
    orphans = record.members

    broker.start_embedded()
    until(lambda: broker.state().status == "connected")
    again = broker.state()
    assert again.uri == state.uri
    assert not any(process.alive(orphan) for orphan in orphans)
    assert open_server().get_run(run_id)["info"]["run_name"] == "before the fall"

    stopped = broker.stop_embedded()
    assert (stopped.status, stopped.embedded.state, stopped.uri) == ("disconnected", "stopped", None)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_stop_while_it_starts_stops_it_and_a_later_login_is_not_undone(
    broker: Broker, home: Path, tmp_path: Path
) -> None:
    broker.start_embedded()
    state = broker.stop_embedded()
    assert (state.status, state.embedded.state) == ("disconnected", "stopped")
    assert not launch.is_locked(home / "server")
    # Started by other hands, it is joined by a panel that is not connected, but not after a logout.
    embedded.start(time_limit=LIMIT)
    until(lambda: broker.state().status == "connected")
    assert broker.logout().status == "disconnected"
    assert broker.state().embedded.state == "running"
    assert broker.state().status == "disconnected"
    # A second JupyterLab finds it at its start, and its end does not take it away.
    os.environ.pop("MLOPS_LAB_SESSION")
    second = Broker(tmp_path / "runtime" / "second.json")
    assert second.state().status == "connected"
    second.close()
    assert embedded.status().state == "running"
    assert broker.start_embedded().status == "connected"
    session = read_session(tmp_path / "runtime" / "session.json")
    assert session is not None
    assert session.embedded


def test_a_port_that_was_asked_for_and_is_taken_is_said_at_once(broker: Broker) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for start in (lambda: embedded.start(port), lambda: broker.start_embedded(port)):
            with pytest.raises(PortTaken) as caught:
                start()
            assert f"Port {port} is used by another program" in caught.value.message
            assert "free one" in caught.value.hint
    assert broker.state().embedded.state == "stopped"
    with pytest.raises(PortTaken):
        embedded.start(99999)


def test_a_busy_last_port_gives_way_to_a_free_one(home: Path, fake: Callable[[str], str]) -> None:
    idle = fake("exec sleep 600")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        busy = other.getsockname()[1]
        launch.write(embedded.folder(), launch.Record(port=busy))
        embedded.start(wait=False, python=idle)
        record = launch.read(home / "server")
        assert record is not None
        assert record.port not in (0, busy)
        embedded.stop()
    last = free_port()
    launch.write(embedded.folder(), launch.Record(port=last))
    assert embedded.start(wait=False, python=idle).uri == f"http://127.0.0.1:{last}"


def test_a_server_that_dies_while_starting_is_one_sentence_and_its_last_words(
    home: Path, fake: Callable[[str], str]
) -> None:
    python = fake("echo starting up; echo 'sqlite3.OperationalError: database or disk is full' >&2; exit 1")
    with pytest.raises(ServerFailed) as caught:
        embedded.start(python=python)
    assert caught.value.message == "The disk is full, so the embedded server cannot store anything."
    assert "sqlite3.OperationalError: database or disk is full" in caught.value.hint
    seen = embedded.status()
    assert (seen.state, seen.message, seen.hint) == ("failed", caught.value.message, caught.value.hint)
    assert not launch.is_locked(home / "server")


def test_a_death_that_nobody_waited_for_is_seen_by_the_next_who_asks(fake: Callable[[str], str]) -> None:
    embedded.start(wait=False, python=fake("echo 'Error: something odd'; exit 3"))
    until(lambda: embedded.status().state == "failed")
    assert "something odd" in (embedded.status().hint or "")


def test_a_server_that_never_answers_fails_within_the_limit_and_is_ended(
    home: Path, fake: Callable[[str], str], tmp_path: Path
) -> None:
    # It ignores TERM and has a child, as a hanging server would.
    python = fake(f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/child; echo thinking; wait; wait; wait")
    seen: list[EmbeddedServer] = []
    with pytest.raises(ServerFailed) as caught:
        embedded.start(python=python, time_limit=1.0, report=seen.append)
    assert "did not answer within 1 seconds" in caught.value.message
    assert "thinking" in caught.value.hint
    assert {state.state for state in seen} == {"starting"}
    assert process.know(int((tmp_path / "child").read_text())) is None
    assert embedded.status().state == "failed"


def test_a_recycled_pid_is_neither_taken_for_the_server_nor_killed(home: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        known = process.know(stranger.pid)
        assert known is not None
        earlier = process.Known(stranger.pid, known.birth + "0")
        launch.write(embedded.folder(), launch.Record(port=free_port(), leader=earlier, members=[earlier], up=True))
        assert embedded.status().state in ("stopped", "failed")
        assert embedded.stop().state == "stopped"
        assert stranger.poll() is None
        # The same by the right name is ended: the proof that the test would notice.
        process.adopt(stranger)
        assert process.end_group(stranger.pid, [known])
        assert stranger.poll() is not None
    finally:
        stranger.kill()


def test_somebody_elses_server_on_the_port_is_not_taken_for_ours(
    home: Path, mlflow_server: str, fake: Callable[[str], str]
) -> None:
    # We lost the race for the port: our server hangs, and another's, perhaps another person's, answers in its place.
    embedded.start(wait=False, python=fake("exec sleep 600"))
    record = launch.read(home / "server")
    assert record is not None
    record.port = int(mlflow_server.rpartition(":")[2])
    launch.write(home / "server", record)
    assert TrackingServer(mlflow_server).version()
    assert embedded.status().state == "starting"


def test_a_port_that_is_lost_while_starting_is_replaced(home: Path, fake: Callable[[str], str], tmp_path: Path) -> None:
    python = fake(
        f"echo $* >> {tmp_path}/asked; "
        f"[ $(wc -l < {tmp_path}/asked) = 1 ] && echo '[Errno 98] address already in use' && exit 1; exit 7"
    )
    with pytest.raises(ServerFailed):
        embedded.start(python=python)
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert first.split()[6] != second.split()[6]
    (tmp_path / "asked").unlink()
    port = free_port()
    with pytest.raises(PortTaken, match=str(port)):
        embedded.start(port, python=python)


def test_a_server_of_another_machine_that_shares_the_folder_is_not_doubled(
    home: Path, fake: Callable[[str], str]
) -> None:
    place = embedded.folder()
    embedded.start(wait=False, python=fake("exec sleep 600"))
    record = launch.read(place)
    assert record is not None
    elsewhere = launch.Record(**{name: getattr(record, name) for name in record.__struct_fields__})
    elsewhere.host = "login-node-7"
    launch.write(place, elsewhere)
    for act in (embedded.start, embedded.stop):
        with pytest.raises(ServerFailed, match="login-node-7"):
            act()
    assert "login-node-7" in (embedded.status().message or "")
    launch.write(place, record)


def test_a_damaged_state_file_counts_as_none(home: Path) -> None:
    (embedded.folder() / "state.json").write_text('{"port": "five"')
    assert embedded.status() == EmbeddedServer(state="stopped")


def test_a_python_that_is_not_there_is_a_sentence(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed) as caught:
        embedded.start(python=str(tmp_path / "no-such-python"))
    assert "no-such-python" in caught.value.message


def test_an_environment_without_mlflow_says_what_to_install(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2])])
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    for start in (broker.start_embedded, embedded.start):
        with pytest.raises(ServerFailed) as caught:
            start()
        assert "MLflow is not installed" in caught.value.message
        assert "pip install mlflow" in caught.value.hint


def test_the_server_inherits_no_secret_and_no_setting_of_the_clients(
    fake: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:////somewhere/else.db")
    monkeypatch.setenv("MLOPS_LAB_SESSION", "/run/session.json")
    embedded.start(wait=False, python=fake(f"env > {tmp_path}/seen.part; mv {tmp_path}/seen.part {tmp_path}/seen"))
    until((tmp_path / "seen").exists)
    seen = (tmp_path / "seen").read_text()
    assert "MLFLOW_DISABLE_TELEMETRY=true" in seen
    for word in ("correct-horse", "somewhere/else", "MLOPS_LAB_SESSION"):
        assert word not in seen


def test_an_interrupt_of_the_kernel_does_not_reach_the_server(home: Path, fake: Callable[[str], str]) -> None:
    started = embedded.start(wait=False, python=fake("exec sleep 600"))
    assert started.pid is not None
    assert os.getsid(started.pid) == started.pid != os.getsid(0)


def test_a_start_that_fails_in_the_background_is_told_by_the_state(
    broker: Broker, fake: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", fake("echo 'ModuleNotFoundError: No module named flask'; exit 1"))
    broker.start_embedded()
    until(lambda: broker.state().embedded.state != "starting")
    state = broker.state()
    assert (state.status, state.embedded.state) == ("disconnected", "failed")
    assert "not complete" in (state.embedded.message or "")
    assert "No module named flask" in (state.embedded.hint or "")


def test_logging_in_to_the_embedded_servers_address_is_the_same_as_starting_it(
    broker: Broker, mlflow_server: str
) -> None:
    state = broker.login(LoginRequest(mlflow_server))
    assert (state.status, state.auth, state.user) == ("connected", "none", None)
    # It is another home's server: ours is stopped, and that does not make the connection a dead one.
    assert state.embedded.state == "stopped"
    assert broker.stop_embedded().status == "connected"

"""Logging in to a real MLflow server with accounts, and the broker that keeps the login."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlops_lab.connection import open_server, process, refresh_environment
from mlops_lab.connection.broker import Broker
from mlops_lab.connection.check import check_login
from mlops_lab.connection.errors import Forbidden, NotConnected, Unreachable, WrongCredentials
from mlops_lab.connection.model import LoginRequest
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import POINTERS, SECRETS, Session, read_session, write_session
from tests.jupyter_servers import free_port
from tests.mlflow_servers import ADMIN, ANNA


@pytest.fixture
def environ(mlops_home: Path, monkeypatch: pytest.MonkeyPatch) -> os._Environ[str]:
    """The environment of a fresh Jupyter server, put back afterwards."""
    for name in (*POINTERS, *SECRETS):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores what a broker sets
        monkeypatch.delenv(name)
    return os.environ


@pytest.fixture
def broker(environ: object, tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "runtime" / f"mlops-lab-{os.getpid()}.json")
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runtime" / f"mlops-lab-{os.getpid()}.json"


def anna(uri: str, password: str = ANNA) -> LoginRequest:
    return LoginRequest(uri, "basic", "anna", password)


class Recorder:
    """Another server on this machine, which writes down every header that it receives."""

    def __init__(self) -> None:
        heard = self.heard = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(dict(self.headers))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b"3.17.2" if self.path == "/version" else b'{"experiments": []}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def other() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


def test_the_right_password_is_told_from_a_wrong_one_and_from_none(accounts: str) -> None:
    session = check_login(anna(accounts))
    assert (session.user, session.auth) == ("anna", "basic")
    assert session.server_version
    for request in (
        anna(accounts, "wrong"),
        LoginRequest(accounts, "basic", "nobody", ANNA),
        LoginRequest(accounts, "token", token="wrong"),
        LoginRequest(accounts),
    ):
        with pytest.raises(WrongCredentials) as caught:
            check_login(request)
        assert ANNA not in str(caught.value)


def test_a_user_without_rights_is_connected_and_sees_only_what_is_granted(accounts: str) -> None:
    admin = TrackingServer(accounts, auth="basic", username="admin", password=ADMIN)
    foreign = admin.create_experiment(f"not annas {secrets.token_hex(4)}")
    server = TrackingServer.of(check_login(anna(accounts)))

    def seen() -> set[str]:
        return {found["experiment_id"] for found in server.search_experiments()}

    before = seen()
    assert not before & {"0", foreign}
    for experiment in ("0", foreign):
        with pytest.raises(Forbidden):
            server.create_run(experiment)
    own = server.create_experiment(f"annas {secrets.token_hex(4)}")
    assert seen() == before | {own}


def test_a_login_is_kept_in_one_private_file_and_in_no_environment(
    broker: Broker, file: Path, accounts: str, environ: os._Environ[str]
) -> None:
    state = broker.login(anna(accounts))
    assert (state.status, state.uri, state.auth, state.user) == ("connected", accounts, "basic", "anna")
    assert ANNA not in repr(state)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ANNA in file.read_text()
    assert ANNA not in str(dict(environ))
    assert (environ["MLFLOW_TRACKING_URI"], environ["MLFLOW_TRACKING_AUTH"]) == (accounts, "mlops_lab")
    assert open_server().whoami() == "anna"
    assert broker.server().whoami() == "anna"


def test_a_failed_login_leaves_the_earlier_session_as_it_was(broker: Broker, file: Path, accounts: str) -> None:
    broker.login(anna(accounts))
    before = file.read_bytes()
    with pytest.raises(WrongCredentials):
        broker.login(anna(accounts, "wrong"))
    with pytest.raises(Unreachable):
        broker.login(LoginRequest(f"http://127.0.0.1:{free_port()}"))
    assert file.read_bytes() == before
    assert (broker.state().status, broker.state().user) == ("connected", "anna")
    assert broker.server().whoami() == "anna"


def test_logging_out_forgets_server_and_secret(
    broker: Broker, file: Path, accounts: str, environ: os._Environ[str]
) -> None:
    broker.login(anna(accounts))
    state = broker.logout()
    assert (state.status, state.uri, state.user) == ("disconnected", None, None)
    assert not file.exists()
    assert "MLFLOW_TRACKING_URI" not in environ
    assert "MLFLOW_TRACKING_AUTH" not in environ
    for ask in (broker.server, open_server):
        with pytest.raises(NotConnected):
            ask()


def test_a_login_to_another_server_never_sends_it_the_first_ones_secret(
    broker: Broker, accounts: str, other: Recorder
) -> None:
    broker.login(anna(accounts))
    broker.login(LoginRequest(other.uri))
    broker.server().search_experiments()
    broker.state()
    assert len(other.heard) >= 3
    assert all("Authorization" not in headers for headers in other.heard)


def test_a_wrong_address_does_not_receive_a_password_meant_for_mlflow(broker: Broker, other: Recorder) -> None:
    # The recorder asks for no login, so the anonymous look comes first; only then the password, which the user gave.
    broker.login(anna(other.uri))
    assert "Authorization" not in other.heard[0]
    assert any("Authorization" in headers for headers in other.heard)


def test_closing_removes_the_file_and_puts_the_environment_back(
    tmp_path: Path, accounts: str, environ: os._Environ[str]
) -> None:
    environ["MLFLOW_TRACKING_URI"] = accounts
    environ["MLFLOW_TRACKING_USERNAME"], environ["MLFLOW_TRACKING_PASSWORD"] = "anna", ANNA
    file = tmp_path / "mlops-lab-5.json"
    made = Broker(file)
    assert ANNA not in str(dict(environ))
    made.close()
    made.close()
    assert not file.exists()
    assert (environ["MLFLOW_TRACKING_URI"], environ["MLFLOW_TRACKING_PASSWORD"]) == (accounts, ANNA)
    assert "MLOPS_LAB_SESSION" not in environ


def test_a_server_named_by_the_environment_is_the_first_connection(
    file: Path, accounts: str, environ: os._Environ[str]
) -> None:
    environ["MLFLOW_TRACKING_URI"] = accounts + "/"
    environ["MLFLOW_TRACKING_USERNAME"], environ["MLFLOW_TRACKING_PASSWORD"] = "anna", ANNA
    made = Broker(file)
    try:
        state = made.state()
        assert (state.status, state.uri, state.user) == ("connected", accounts, "anna")
        assert state.server_version
        session = read_session(file)
        assert session is not None
        assert (session.user, session.server_version) == ("anna", state.server_version)
    finally:
        made.close()


def test_a_tracking_uri_that_is_a_folder_is_left_alone(file: Path, environ: os._Environ[str]) -> None:
    environ["MLFLOW_TRACKING_URI"] = "sqlite:///mine.db"
    made = Broker(file)
    try:
        assert made.state().status == "disconnected"
        assert environ["MLFLOW_TRACKING_URI"] == "sqlite:///mine.db"
    finally:
        made.close()


def test_a_dead_server_is_a_state_with_a_sentence_and_comes_back(broker: Broker, other: Recorder) -> None:
    assert broker.login(LoginRequest(other.uri)).status == "connected"
    other.close()
    state = _until(broker, "unreachable")
    assert "Nothing answers at" in (state.message or "")
    assert state.hint
    assert state.uri == other.uri
    port = int(other.uri.rpartition(":")[2])
    again = ThreadingHTTPServer(("127.0.0.1", port), other.server.RequestHandlerClass)
    threading.Thread(target=again.serve_forever, args=(0.02,), daemon=True).start()
    try:
        assert _until(broker, "connected").message is None
    finally:
        again.shutdown()
        again.server_close()


def test_a_withdrawn_password_is_noticed(broker: Broker, accounts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = TrackingServer(accounts, auth="basic", username="admin", password=ADMIN)
    admin.post("users/create", {"username": "bert", "password": "a-password-of-bert"})
    broker.login(LoginRequest(accounts, "basic", "bert", "a-password-of-bert"))
    admin.patch("users/update-password", {"username": "bert", "password": "something-else-12"})
    monkeypatch.setattr("mlops_lab.connection.watch.THOROUGH", 0.0)
    assert "did not accept this login" in (_until(broker, "unreachable").message or "")


def test_polling_the_state_does_not_flood_the_server(broker: Broker, other: Recorder) -> None:
    broker.login(LoginRequest(other.uri))
    before = len(other.heard)
    for _ in range(50):
        assert broker.state().status == "connected"
    assert len(other.heard) - before <= 3


def test_a_login_in_a_kernel_shows_in_the_panel_and_the_other_way_round(
    broker: Broker, file: Path, accounts: str, other: Recorder, environ: os._Environ[str]
) -> None:
    kernel = Broker(file)  # a guest: MLOPS_LAB_SESSION names this file already
    kernel.login(LoginRequest(other.uri))
    assert broker.state().uri == other.uri
    broker.login(anna(accounts))
    environ["MLFLOW_TRACKING_URI"] = other.uri  # what the kernel inherited before
    refresh_environment()
    assert environ["MLFLOW_TRACKING_URI"] == accounts
    assert kernel.server().whoami() == "anna"
    kernel.close()
    assert read_session(file) is not None
    kernel.logout()
    assert broker.state().status == "disconnected"


def test_a_session_file_opened_to_others_is_a_state_not_a_crash(broker: Broker, file: Path, accounts: str) -> None:
    broker.login(anna(accounts))
    file.chmod(0o644)
    state = broker.state()
    assert state.status == "unreachable"
    assert "open to other users" in (state.message or "")
    assert broker.logout().status == "disconnected"
    assert broker.login(anna(accounts)).status == "connected"


def test_what_a_killed_jupyter_left_behind_is_removed_and_what_a_living_one_keeps_is_not(
    file: Path, environ: object
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    died = process.know(child.pid)
    child.communicate(b"\n")
    host = os.uname().nodename
    left = {
        "mlops-lab-100001.json": Session(uri="http://a.example", keeper=died, host=host),
        "mlops-lab-100002.json": Session(uri="http://b.example", keeper=process.know(os.getppid()), host=host),
        "mlops-lab-100003.json": Session(uri="http://c.example", keeper=died, host="another-machine"),
    }
    for name, session in left.items():
        write_session(file.with_name(name), session)
    made = Broker(file)
    try:
        kept = sorted(path.name for path in file.parent.iterdir())
        assert kept == ["mlops-lab-100002.json", "mlops-lab-100003.json"]
    finally:
        made.close()


def test_mlflow_itself_logs_in_through_the_plugin_and_tells_no_other_server(
    broker: Broker, accounts: str, other: Recorder, environ: os._Environ[str]
) -> None:
    broker.login(anna(accounts))
    script = (
        "import sys, mlflow\n"
        "name = 'via plugin ' + sys.argv[2]\n"
        "mlflow.create_experiment(name)\n"
        "print(mlflow.get_experiment_by_name(name).name)\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "print(mlflow.search_experiments())\n"
    )
    tag = secrets.token_hex(4)
    kernel = subprocess.run(
        [sys.executable, "-c", script, other.uri, tag],
        env=dict(environ) | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        capture_output=True,
        text=True,
    )
    assert kernel.stdout.split("\n")[0] == f"via plugin {tag}", kernel.stderr
    assert kernel.returncode == 0, kernel.stderr
    assert other.heard
    assert all("Authorization" not in headers for headers in other.heard)


def _until(broker: Broker, status: str):
    """Poll as the panel does until `status` shows."""
    for _ in range(200):
        state = broker.state()
        if state.status == status:
            return state
        time.sleep(0.1)
    pytest.fail(f"the state stayed {state}")

"""The session file and the pointers: who may read the secret, and where it may go."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from mlops_lab.connection import open_server
from mlops_lab.connection.errors import BadAddress, NotConnected, SessionNotKept, UnsafeSession
from mlops_lab.connection.mlflow_auth import SessionAuthProvider
from mlops_lab.connection.model import LoginRequest
from mlops_lab.connection.session import (
    POINTERS,
    SECRETS,
    Session,
    clean_uri,
    environment_session,
    origin,
    point,
    read_session,
    remove_session,
    write_session,
)

SECRET = "correct-horse-battery"


@pytest.fixture
def anna() -> Session:
    return Session(uri="https://mlflow.clinic.example/team", auth="basic", username="anna", password=SECRET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runtime" / "mlops-lab-1.json"


@pytest.fixture(autouse=True)
def no_inherited_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*POINTERS, *SECRETS):
        monkeypatch.delenv(name, raising=False)


def signed(url: str) -> requests.PreparedRequest:
    return requests.Request("GET", url, auth=SessionAuthProvider().get_auth()).prepare()


def test_a_session_comes_back_as_it_was_and_only_its_owner_can_read_it(file: Path, anna: Session) -> None:
    write_session(file, anna)
    assert read_session(file) == anna
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_wide_umask_does_not_widen_the_file(file: Path, anna: Session) -> None:
    before = os.umask(0)
    try:
        write_session(file, anna)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_not_used(file: Path, anna: Session, mode: int) -> None:
    write_session(file, anna)
    file.chmod(mode)
    with pytest.raises(UnsafeSession) as caught:
        read_session(file)
    assert SECRET not in str(caught.value)
    assert "Log out" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_used(file: Path, anna: Session) -> None:
    write_session(file, anna)
    os.chown(file, 12345, -1)
    with pytest.raises(UnsafeSession):
        read_session(file)


def test_a_link_in_place_of_the_file_is_neither_followed_nor_written_through(file: Path, anna: Session) -> None:
    elsewhere = file.parent.parent / "elsewhere.json"
    write_session(elsewhere, anna)
    file.parent.mkdir()
    file.symlink_to(elsewhere)
    with pytest.raises(UnsafeSession):
        read_session(file)
    write_session(file, Session(uri="http://other.example"))
    assert read_session(elsewhere) == anna
    assert not file.is_symlink()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 1}', b'{"uri": 3}'])
def test_a_damaged_file_is_a_sentence_not_a_traceback(file: Path, anna: Session, content: bytes) -> None:
    write_session(file, anna)
    file.write_bytes(content)
    with pytest.raises(UnsafeSession, match="damaged"):
        read_session(file)


def test_a_file_of_a_later_version_counts_as_logged_out(file: Path, anna: Session) -> None:
    anna.schema_version = 99
    write_session(file, anna)
    assert read_session(file) is None


def test_a_file_that_is_gone_means_logged_out_and_removing_it_twice_is_fine(file: Path, anna: Session) -> None:
    write_session(file, anna)
    remove_session(file)
    remove_session(file)
    assert read_session(file) is None


def test_a_full_disk_leaves_the_earlier_session_and_says_so(file: Path, anna: Session) -> None:
    write_session(file, anna)
    # A file size limit makes the kernel refuse the write just as a full disk does.
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "from mlops_lab.connection.session import *; from mlops_lab.connection.errors import SessionNotKept\n"
        "try:\n    write_session(sys.argv[1], Session(uri='http://b.example', auth='token', token='x' * 50))\n"
        "except SessionNotKept as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True)
    assert "cannot be written" in said.stdout
    assert said.stderr == ""
    assert read_session(file) == anna
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, anna: Session) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SessionNotKept):
        write_session(tmp_path / "file" / "session.json", anna)


def test_readers_never_see_half_a_session_while_it_is_rewritten(file: Path) -> None:
    sessions = [Session(uri=f"http://host{n}.example", auth="token", token=str(n) * 5000) for n in range(2)]
    write_session(file, sessions[0])
    done = threading.Event()

    def rewrite() -> None:
        for n in range(100):
            write_session(file, sessions[n % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = 0
    while not done.is_set():
        assert read_session(file) in sessions
        seen += 1
    writer.join()
    assert seen > 0


def test_no_secret_shows_when_a_session_or_a_request_is_printed(anna: Session) -> None:
    request = LoginRequest("http://a.example", auth="token", token=SECRET)
    for thing in (anna, anna.request(), request):
        assert SECRET not in f"{thing} {thing!r} {[thing]}"


def test_the_environment_names_a_server_where_no_session_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_session() is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.clinic.example:5000/")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    session = read_session()
    assert session is not None
    assert (session.uri, session.auth, session.token) == ("http://mlflow.clinic.example:5000", "token", SECRET)


@pytest.mark.parametrize("uri", ["http://bob:s3cret@host", "host:5117", "sqlite:///mlflow.db", "databricks"])
def test_a_server_that_cannot_be_used_is_named_and_not_replaced_by_another(
    uri: str, mlops_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLOPS_LAB_SESSION", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(BadAddress, match="MLFLOW_TRACKING_URI") as caught:
        open_server()
    assert "s3cret" not in str(caught.value)


def test_after_a_logout_the_environment_is_not_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_LAB_SESSION", str(file))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.clinic.example")
    assert read_session() is None


@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "file:///tmp/mlruns", "./mlruns", "databricks"])
def test_a_tracking_uri_that_is_no_web_address_is_no_session(uri: str) -> None:
    assert environment_session({"MLFLOW_TRACKING_URI": uri}) is None


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" http://Host.example:5000/ ", "http://host.example:5000"),
        ("https://host.example/team/#/experiments/3?x=1", "https://host.example/team"),
        ("HTTP://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_an_address_copied_from_the_browser_is_understood(typed: str, kept: str) -> None:
    assert clean_uri(typed) == kept


@pytest.mark.parametrize(
    "typed", ["", "host.example", "ftp://host.example", "http://", "http://host:port", "http://me:secret@host.example"]
)
def test_what_is_no_address_gets_a_sentence_that_repeats_no_password(typed: str) -> None:
    with pytest.raises(BadAddress) as caught:
        clean_uri(typed)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


def test_pointers_hold_no_secret_and_take_mlflows_own_secrets_out(file: Path, anna: Session) -> None:
    anna.ca_bundle = "/etc/clinic.pem"
    environ = {"MLFLOW_TRACKING_PASSWORD": "of another server", "MLFLOW_TRACKING_USERNAME": "anna", "PATH": "/bin"}
    point(environ, anna, file)
    assert environ == {
        "PATH": "/bin",
        "MLFLOW_TRACKING_URI": anna.uri,
        "MLFLOW_TRACKING_AUTH": "mlops_lab",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/etc/clinic.pem",
        "MLOPS_LAB_SESSION": str(file),
    }
    assert SECRET not in json.dumps(environ)
    point(environ, None, file)
    assert environ == {"PATH": "/bin", "MLOPS_LAB_SESSION": str(file)}


def test_the_plugin_signs_requests_to_the_sessions_server(
    file: Path, anna: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_session(file, anna)
    monkeypatch.setenv("MLOPS_LAB_SESSION", str(file))
    sent = signed("https://MLflow.clinic.example:443/team/api/2.0/mlflow/runs/create")
    kind, _, value = sent.headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(value).decode()) == ("Basic", f"anna:{SECRET}")
    # A new login needs no restart: the file is read for each request.
    write_session(file, Session(uri=anna.uri, auth="token", token="abc"))
    assert signed(anna.uri + "/x").headers["Authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    "url",
    [
        "http://mlflow.clinic.example/team",
        "https://mlflow.clinic.example:8443/team",
        "https://evil.example/mlflow.clinic.example",
        "https://mlflow.clinic.example.evil.example/",
        "https://anna@evil.example/",
        "https://sub.mlflow.clinic.example/",
    ],
)
def test_the_plugin_adds_nothing_to_requests_that_go_elsewhere(
    url: str, file: Path, anna: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_session(file, anna)
    monkeypatch.setenv("MLOPS_LAB_SESSION", str(file))
    sent = signed(url)
    assert "Authorization" not in sent.headers
    assert SECRET not in str(sent.headers)


def test_the_plugin_takes_a_foreign_secret_out_of_requests_to_a_server_without_login(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_session(file, Session(uri="http://open.example"))
    monkeypatch.setenv("MLOPS_LAB_SESSION", str(file))
    request = requests.Request(
        "GET",
        "http://open.example/api",
        headers={"Authorization": "Basic from-the-credentials-file"},
        auth=SessionAuthProvider().get_auth(),
    )
    assert "Authorization" not in request.prepare().headers


def test_origins_differ_in_scheme_host_or_port_and_in_nothing_else() -> None:
    assert origin("https://a.example/x") == origin("https://A.example:443") != origin("http://a.example:443")
    assert origin("http://a.example") == ("http", "a.example", 80)
    assert origin("file:///x") is origin("http://a.example:99999") is None


def test_without_any_server_the_hint_says_how_to_get_one(mlops_home: Path) -> None:
    from mlops_lab.connection import open_server

    with pytest.raises(NotConnected) as caught:
        open_server()
    assert "server start" in caught.value.hint
    assert "log in" in caught.value.hint


def test_the_connection_room_loads_none_of_the_heavy_packages() -> None:
    script = (
        "import sys, mlops_lab.connection.broker, mlops_lab.connection.mlflow_auth, mlops_lab.connection.artifacts\n"
        "print([name for name in ('torch','monai','mlflow','dvc','matplotlib','numpy','scipy','pandas') "
        "if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"

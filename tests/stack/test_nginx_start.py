"""nginx starts from its environment alone, as nobody in particular, or says in one line why it does not."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.stack.nginx_alone import NGINX, Listener, Nginx, prepare
from tests.web_sites import Authority

VARIABLES = [
    *("SERVER_NAME", "MLFLOW_PORT", "MINIO_PORT", "MLFLOW_LISTEN", "MINIO_LISTEN", "MLFLOW_UPSTREAM"),
    *("MINIO_UPSTREAM", "NGINX_WORK", "TLS_CERTIFICATE", "TLS_KEY"),
]
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """An nginx that has not been started; nobody needs to stand behind it."""
    one = prepare(tmp_path, 1, 1)
    yield one
    one.stop()


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", [None, "", "change-me-please"])
def test_a_variable_that_is_missing_or_an_example_is_named(nginx: Nginx, name: str, value: str | None) -> None:
    refused = nginx.check(**{name: value})
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert name in refused.stderr
    assert "init" in refused.stderr
    assert refused.stdout == ""
    assert not (nginx.place / "work").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVER_NAME", 'x"; return 200; #'),
        ("SERVER_NAME", "https://mlflow.hospital.example"),
        ("SERVER_NAME", "two names"),
        ("SERVER_NAME", "first\nsecond"),
        ("MLFLOW_PORT", "eighty"),
        ("MLFLOW_LISTEN", "8085 ssl; include /etc/passwd"),
        ("MINIO_UPSTREAM", "objects"),
        ("NGINX_WORK", "work"),
        ("TLS_KEY", "/tls/$host.key"),
    ],
)
def test_a_value_that_nginx_would_read_as_something_else_is_refused(nginx: Nginx, name: str, value: str) -> None:
    refused = nginx.check(**{name: value})
    assert refused.returncode == 1
    assert name in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_certificate_or_key_that_does_not_fit_is_explained(nginx: Nginx, tmp_path: Path) -> None:
    refused = nginx.check(TLS_KEY=str(tmp_path / "nowhere.key"))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert f"there is no file {tmp_path}/nowhere.key" in refused.stderr

    other = tmp_path / "other"
    other.mkdir()
    Authority(other).issue(other, "localhost")
    refused = nginx.check(TLS_KEY=str(other / "server-localhost-9.pem"))
    assert refused.returncode == 1
    assert refused.stderr.endswith(f"does not belong to TLS_CERTIFICATE {nginx.environment['TLS_CERTIFICATE']}.\n")

    empty = tmp_path / "empty.crt"
    empty.write_text("")
    assert "holds no certificate that can be read" in nginx.check(TLS_CERTIFICATE=str(empty)).stderr
    assert "holds no private key that can be read" in nginx.check(TLS_KEY=str(nginx.authority)).stderr


@pytest.fixture
def nobodys(nobodys_folder: Path) -> Iterator[tuple[Nginx, Listener]]:
    """An nginx whose every file belongs to the user nobody, in a folder that nobody can reach."""
    listener = Listener()
    nginx = prepare(nobodys_folder, listener.port, listener.port)
    nginx.files = Path(shutil.copytree(NGINX, nobodys_folder / "nginx"))
    (nobodys_folder / "nginx.log").touch()
    for one in (nobodys_folder, *nobodys_folder.rglob("*")):
        os.chown(one, NOBODY, NOBODY)
    yield nginx, listener
    nginx.stop()
    listener.stop()


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """A folder outside those of pytest, which let nobody but their user in."""
    with tempfile.TemporaryDirectory(prefix="nginx-", dir="/tmp") as folder:
        yield Path(folder)


@only_root
def test_a_key_that_belongs_to_somebody_else_is_explained(nobodys: tuple[Nginx, Listener]) -> None:
    nginx, _ = nobodys
    key = shutil.copy(nginx.environment["TLS_KEY"], nginx.place / "roots.key")
    Path(key).chmod(0o600)
    refused = nginx.check(*AS_NOBODY, TLS_KEY=str(key))
    assert refused.returncode == 1
    assert f"user {NOBODY} may not read" in refused.stderr
    assert "MLOPS_UID" in refused.stderr


def test_what_it_renders_is_complete_and_stays_in_its_folder(nginx: Nginx) -> None:
    done = nginx.check()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    work = nginx.place / "work"
    rendered = sorted(file.name for file in (work / "conf").iterdir())
    assert rendered == sorted(file.name for file in (NGINX / "templates").iterdir())
    for file in (work / "conf").iterdir():
        assert "${" not in file.read_text(), file
        assert "/etc/nginx" not in file.read_text().replace("nothing of /etc/nginx is read", ""), file
    assert work.stat().st_mode & 0o077 == 0


def test_a_container_behind_it_is_found_by_its_name_again_and_again(nginx: Nginx) -> None:
    done = nginx.check(MLFLOW_UPSTREAM="mlflow:5000", MINIO_UPSTREAM="localhost:9000")
    conf = nginx.place / "work" / "conf"
    if done.returncode:
        assert "/etc/resolv.conf names no DNS server" in done.stderr
    else:
        assert "resolver " in (conf / "nginx.conf").read_text()
        assert "set $mlflow mlflow:5000;" in (conf / "mlflow.conf").read_text()
        assert "set $mlflow mlflow:5000;" in (conf / "logins.conf").read_text()
        # A name of /etc/hosts is replaced: nginx asks DNS only.
        assert "set $objects 127.0.0.1:9000;" in (conf / "objects.conf").read_text()


def test_the_usual_port_is_not_part_of_the_name(nginx: Nginx) -> None:
    assert nginx.check(SERVER_NAME="MLflow.Hospital.example", MLFLOW_PORT="443").returncode == 0
    conf = (nginx.place / "work" / "conf" / "mlflow.conf").read_text()
    assert '"https://mlflow.hospital.example" 0;' in conf


@only_root
def test_it_runs_as_any_user_and_writes_nowhere_else(nobodys: tuple[Nginx, Listener]) -> None:
    nginx, _ = nobodys
    work = nginx.place / "work"
    nginx.start(*AS_NOBODY)
    with nginx.client() as client:
        assert client.get("/").status_code == 200
        assert client.put("/api/2.0/mlflow/x", content=b"0" * 100_000).status_code == 200
    written = set()
    for process in family(int((work / "nginx.pid").read_text())):
        assert f"Uid:\t{NOBODY}\t{NOBODY}" in (process / "status").read_text()
        for descriptor in (process / "fd").iterdir():
            flags = int((process / "fdinfo" / descriptor.name).read_text().split()[3], 8)
            if flags & (os.O_WRONLY | os.O_RDWR):
                written.add(os.readlink(descriptor))
    outside = {name for name in written if name.startswith("/") and not name.startswith((str(work), "/dev/zero"))}
    assert outside == {str(nginx.place / "nginx.log")}
    nginx.stop()
    assert [line for line in nginx.log.splitlines() if not line.startswith("{")] == []


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_its_health_check_needs_curl_or_wget_and_notices_its_end(tmp_path: Path, program: str) -> None:
    if not (found := shutil.which(program)):
        missing(program, f"apt install {program}")
    assert found
    listener = Listener()
    nginx = prepare(tmp_path, listener.port, listener.port)
    only = tmp_path / "bin"
    only.mkdir()
    (only / program).symlink_to(found)
    try:
        nginx.start()
        listener.stop()
        nginx.environment["PATH"] = str(only)
        shell = shutil.which("sh") or "sh"
        (only / "sh").symlink_to(shell)
        assert nginx.health().returncode == 0, "MLflow's end is not nginx's"
        nginx.stop()
        sick = nginx.health()
    finally:
        nginx.stop()
        listener.stop()
    assert sick.returncode == 1
    assert nginx.environment["MLFLOW_LISTEN"] in sick.stderr


def test_a_second_start_does_not_mind_what_a_killed_one_left(tmp_path: Path) -> None:
    listener = Listener()
    nginx = prepare(tmp_path, listener.port, listener.port)
    try:
        nginx.start()
        left = family(int((tmp_path / "work" / "nginx.pid").read_text()))
        for process in left:
            os.kill(int(process.name), 9)
        assert nginx.child
        nginx.child.wait(20)
        assert (tmp_path / "work" / "login.sock").exists()
        nginx.start()
        with nginx.client() as client:
            assert client.get("/").status_code == 200
    finally:
        nginx.stop()
        listener.stop()


def test_the_ports_it_opens_are_the_ones_it_was_given(nginx: Nginx) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(nginx.environment["MLFLOW_PORT"])))
        taken.listen()
        assert nginx.check().returncode == 0, "a test of the configuration may run beside a running nginx"


def family(master: int) -> list[Path]:
    """The folder in /proc of nginx and of each of its workers."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [Path(f"/proc/{pid}") for pid in (master, *children)]

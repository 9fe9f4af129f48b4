"""What keeps the server from starting is named before anything starts: settings, certificate, ports, engine, rights."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlops_server import settings

from tests.production_stack import ENGINE, SERVER, ProductionStack, require_programs
from tests.stack.test_operator_init import NO_ENGINE, hospitals, self_signed

OPERATOR = 12321
"""The number of an ordinary user, where the tests are root's."""
COMPOSE = (SERVER / "compose.yaml").read_text("utf-8")
REQUIRED = sorted(set(re.findall(r"\$\{(\w+):\?", COMPOSE)))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductionStack]:
    """A server after ``init``, ready to start."""
    require_programs()
    stack = ProductionStack.make(tmp_path_factory.mktemp("original") / "mlflow_server")
    yield stack
    stack.end()


@pytest.fixture
def server(original: ProductionStack, tmp_path: Path) -> ProductionStack:
    """A copy of it that a test may spoil."""
    # cp keeps the owners, which are part of what is checked.
    subprocess.run(["cp", "-a", original.folder, tmp_path / "mlflow_server"], check=True)
    return ProductionStack(tmp_path / "mlflow_server")


def one_line(answer: subprocess.CompletedProcess[str]) -> str:
    """Give the single sentence that a command failed with."""
    assert answer.returncode == 1, answer.stdout
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr


def test_a_server_after_init_has_nothing_against_it(server: ProductionStack) -> None:
    answer = server.operate("check")

    assert (answer.returncode, answer.stdout) == (0, "Nothing keeps the server from starting.\n"), answer.stderr
    assert json.loads(server.operate("check", "--json").stdout) == {"problems": []}


def test_compose_requires_what_check_requires() -> None:
    without_default = {*settings.REQUIRED, *settings.OWNER} - set(settings.DEFAULTS)

    assert set(REQUIRED) == without_default


@pytest.mark.parametrize("name", REQUIRED)
def test_a_variable_without_a_value_of_its_own_stops_the_start_and_is_named(server: ProductionStack, name: str) -> None:
    example = ProductionStack(_with_example(server)).env[name]
    for spoil in (lambda: server.unset(name), lambda: server.set(**{name: ""})):
        spoil()
        # By the compose file, whoever starts it ...
        by_compose = server.engine("up", "-d")
        assert by_compose.returncode == 1
        assert f"required variable {name} is missing a value: {name} is not set" in by_compose.stderr
        # ... by the command before it asks the engine for anything, and by what it prints.
        assert re.search(rf"^{name} is (not set|empty)", server.operate("start").stderr, re.MULTILINE)
        assert re.search(rf"^{name} is (not set|empty)", server.operate("check").stderr, re.MULTILINE)
    server.set(**{name: example})
    if name not in settings.OWNER:
        # An example value is a value to compose: its first service is the check, and nothing starts after that.
        by_compose = server.engine("up", "-d")
        assert by_compose.returncode == 1
        assert re.search(rf"^{name} is still the example value", _said_by(server, "check"), re.MULTILINE)
    for verb in ("start", "check"):
        answer = server.operate(verb)
        assert answer.returncode == 1
        assert re.search(rf"^{name} is (still the example value|not a number)", answer.stderr, re.MULTILINE)
        assert example not in answer.stderr
    assert server.engine("ps").stdout == "", "nothing has started"


def test_every_problem_is_named_at_once(server: ProductionStack) -> None:
    server.set(MYSQL_PASSWORD="password", MINIO_SECRET_KEY="short", MLFLOW_PORT="8002x")
    server.unset("MLFLOW_SECRET_KEY")

    lines = server.operate("check").stderr.splitlines()

    assert [line.split()[0] for line in lines] == [
        *("MLFLOW_PORT", "MLFLOW_SECRET_KEY", "MYSQL_PASSWORD", "MINIO_SECRET_KEY")
    ]
    assert not [line for line in lines if "short\n" in line or '"password"' in line]
    assert json.loads(server.operate("check", "--json").stdout)["problems"] == lines


@pytest.mark.parametrize("value", ["with space-12345", "dollar$sign12345", "hash#sign1234567", "quo'te1234567890"])
def test_a_value_that_programs_read_differently_is_named(server: ProductionStack, value: str) -> None:
    server.set(MYSQL_PASSWORD=value)

    said = one_line(server.operate("check"))

    assert said.startswith("MYSQL_PASSWORD holds a space, a quote")
    assert value not in said


def test_a_variable_of_the_shell_does_not_win_over_the_file(server: ProductionStack) -> None:
    # Docker Compose would take it, and the operator would not see why the password is another one.
    shell = {"SERVER_NAME": "", "MYSQL_PASSWORD": "", "MLFLOW_PORT": "nonsense"}

    assert server.operate("check", environment=shell).returncode == 0
    assert server.operate("status", environment=shell).stderr == ""


def test_a_certificate_that_browsers_refuse_is_named(server: ProductionStack) -> None:
    tls = server.folder / "tls"
    before = (tls / "server.key").read_bytes()

    self_signed(tls, "localhost", days=90)
    (tls / "server.key").write_bytes(before)
    shutil.copyfile(tls / "server.crt", tls / "ca.crt")
    assert "not the key of the first certificate in tls/server.crt" in one_line(server.operate("check"))

    self_signed(tls, "mlflow.example", days=90)
    shutil.copyfile(tls / "server.crt", tls / "ca.crt")
    said = one_line(server.operate("check"))
    assert "is for mlflow.example, not for SERVER_NAME localhost: order one for this name" in said

    (tls / "server.key").unlink()
    assert "tls/server.key is missing" in one_line(server.operate("check"))

    (tls / "server.crt").write_text("no certificate")
    (tls / "server.key").write_text("no key")
    assert "tls/server.crt is no certificate in PEM form" in one_line(server.operate("start"))


def test_a_certificate_without_its_chain_or_its_root_is_named(server: ProductionStack) -> None:
    tls = server.folder / "tls"
    own = (tls / "ca.crt").read_bytes()
    chain = hospitals(tls, "localhost", days=20)
    whole, root = (tls / "server.crt").read_text(), (tls / "ca.crt").read_bytes()
    answer = server.operate("check")
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"expires in (19|20) days .* and is not from this server's own authority: order", answer.stdout)
    assert "--renew" not in answer.stdout

    (tls / "server.crt").write_text(whole.replace(chain, ""))
    for verb in ("check", "start"):
        said = one_line(server.operate(verb))
        assert said.startswith("tls/server.crt is not trusted (unable to get local issuer certificate): missing is")
        assert "its chain in tls/server.crt, or the authority's root, which researchers get, in tls/ca.crt" in said

    (tls / "server.crt").write_text(whole)
    (tls / "ca.crt").write_bytes(own)
    assert "tls/ca.crt" in one_line(server.operate("check"))
    # Where the hospital's machines trust its root anyway, nobody needs ca.crt: this machine says whether it does.
    (tls / "ca.crt").unlink()
    (server.folder / "root.crt").write_bytes(root)
    trusting = {"SSL_CERT_FILE": str(server.folder / "root.crt")}
    assert server.operate("check", environment=trusting).returncode == 0
    assert "not trusted" in one_line(server.operate("check"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MINIO_KEYS", "exsiting", "MINIO_KEYS is neither create nor existing"),
        ("MLOPS_DATA", "data", "MLOPS_DATA is not a folder that begins with / or ./"),
        ("BIND_ADDRESS", "192.0.2.1", "BIND_ADDRESS cannot be used on this machine"),
        ("BIND_ADDRESS", "mlflow.hospital.example", "BIND_ADDRESS is not an IPv4 address of this machine"),
    ],
)
def test_a_setting_that_compose_would_take_for_something_else_is_named(
    server: ProductionStack, name: str, value: str, said: str
) -> None:
    server.set(**{name: value})

    assert one_line(server.operate("check", environment=NO_ENGINE)).startswith(said)


def test_a_port_that_another_program_holds_is_named(server: ProductionStack) -> None:
    with socket.create_server(("127.0.0.1", int(server.env["MINIO_PORT"]))):
        for verb in ("check", "start"):
            assert one_line(server.operate(verb)).startswith(f"MINIO_PORT is {server.env['MINIO_PORT']}, and that port")


@pytest.fixture
def moved(original: ProductionStack) -> Iterator[Path]:
    """The server as it is after a move to a machine where the operator, no administrator, has another number."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "mlflow_server"
        subprocess.run(["cp", "-a", original.folder, folder], check=True)
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{OPERATOR}:{OPERATOR}", folder], check=True)
        yield folder


def as_operator(folder: Path, verb: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an ordinary user also where the tests are root's."""
    script = f"""
import _strptime, os, sys
sys.path[:0] = [{str(folder)!r}, {str(folder / "mlflow")!r}]
from pathlib import Path
from operate.command import main
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({OPERATOR})
    os.setuid({OPERATOR})
sys.exit(main(Path({str(folder)!r}), [{verb!r}]))
"""
    environment = {**os.environ, **NO_ENGINE}
    words = [sys.executable, "-c", script]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_folder_that_was_moved_has_one_way_out(moved: Path) -> None:
    uid, gid = (OPERATOR, OPERATOR) if os.getuid() == 0 else (os.getuid(), os.getgid())
    server = ProductionStack(moved)
    server.set(MLOPS_UID="54321", MLOPS_GID="54321")
    (moved / ".env").chmod(0o600)

    for verb in ("check", "init", "start"):
        said = one_line(as_operator(moved, verb))
        assert said == (
            f"MLOPS_UID in .env is 54321, and you are user {uid}: write MLOPS_UID={uid} and MLOPS_GID={gid} into .env\n"
        )
    server.set(MLOPS_UID=str(uid), MLOPS_GID=str(gid))
    answer = as_operator(moved, "check")
    assert (answer.returncode, answer.stdout) == (0, "Nothing keeps the server from starting.\n"), answer.stderr

    if os.getuid() == 0:
        # Somebody's cp -a kept the numbers of the other machine.
        server.set(MLOPS_UID="54321", MLOPS_GID="54321")
        subprocess.run(["chown", "-R", "54321:54321", moved / "data", moved / "tls"], check=True)
        for verb in ("check", "init", "start"):
            said = one_line(as_operator(moved, verb))
            assert said.startswith(f"MLOPS_UID in .env is 54321, and you are user {uid}: write MLOPS_UID={uid} and")
            then = said.partition(", then run sudo ")[2]
            assert then.startswith(f"chown -R {uid}:{gid} data ")
        subprocess.run(["sh", "-c", then], cwd=moved, check=True)
        server.set(MLOPS_UID=str(uid), MLOPS_GID=str(gid))
        assert as_operator(moved, "check").returncode == 0


def test_what_the_servers_user_may_not_touch_is_named(server: ProductionStack) -> None:
    (server.folder / ".env").chmod(0o604)
    assert "chmod 600 .env" in one_line(server.operate("check"))
    (server.folder / ".env").chmod(0o600)

    stranger = str(int(server.env["MLOPS_UID"]) + 1)
    server.set(MLOPS_UID=stranger, MLOPS_GID=stranger)
    (server.folder / "nginx" / "start.sh").chmod(0o600)
    said = server.operate("check").stderr
    if os.getuid() == 0:
        assert f"data/db belongs to user {int(stranger) - 1}, not to {stranger}" in said
        assert "chmod -R a+rX nginx db" in said
        assert "tls/server.key cannot be read by user" in said
        # Root need not be told: a start hands over the folders, and what is in them.
        (server.folder / "data" / "db" / "ibdata1").touch()
        assert one_line(server.operate("start")).startswith("nginx/start.sh cannot be read")
        assert (server.folder / "data" / "db" / "ibdata1").stat().st_uid == int(stranger)
    else:
        assert f"write MLOPS_UID={os.getuid()} and MLOPS_GID={os.getgid()} into .env" in said

    server.set(MLOPS_UID="0")
    assert "MLOPS_UID is 0: the servers must not run as root" in server.operate("check").stderr


def test_an_env_file_that_is_missing_or_broken_is_one_sentence(server: ProductionStack) -> None:
    file = server.folder / ".env"
    file.write_text("SERVER_NAME = localhost\n")
    assert one_line(server.operate("start")).startswith(".env, line 1: write NAME=value")
    file.write_text("\nexport SERVER_NAME=localhost\n")
    assert one_line(server.operate("start")).startswith(".env, line 2: leave out the word export")
    file.write_bytes(b"\xff\xfe")
    assert "not plain text" in one_line(server.operate("status"))
    file.unlink()
    for verb in (["start"], ["stop"], ["status"], ["check"], ["backup"], ["migrate"], ["user", "list"], ["logs"]):
        assert "There is no .env here: run ./mlops-server init" in one_line(server.operate(*verb))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "The program docker is not installed: install Docker Engine"),
        ('[ "$1" = info ]; echo "docker: unknown command: docker compose" >&2; exit 1', "no compose plugin"),
        ('[ "$1" = compose ] && exit 0; echo "Cannot connect to the Docker daemon at x" >&2; exit 1', "does not run"),
        (
            '[ "$1" = compose ] && exit 0; echo "permission denied while trying to connect to docker.sock" >&2; exit 1',
            "Your account may not use Docker",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_one_sentence(
    server: ProductionStack, tmp_path: Path, script: str | None, said: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in ("openssl", "sh"):
        (programs / program).symlink_to(shutil.which(program) or program)
    if script:
        (programs / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "docker").chmod(0o755)
    engine = {"PATH": str(programs), "MLOPS_SERVER_COMPOSE": ""}

    for verb in (["start"], ["status"], ["stop"], ["backup"], ["user", "add", "anna"], ["logs"], ["migrate"]):
        assert said in one_line(server.operate(*verb, environment=engine)), verb


def test_an_engine_of_several_words_may_stand_in_the_settings(server: ProductionStack) -> None:
    server.set(MLOPS_SERVER_COMPOSE=ENGINE.replace("'", ""))

    answer = server.operate("check", environment={"MLOPS_SERVER_COMPOSE": ""})

    assert (answer.returncode, answer.stderr) == (0, "")
    server.set(MLOPS_SERVER_COMPOSE="podman 'compose")
    said = one_line(server.operate("check", environment={"MLOPS_SERVER_COMPOSE": ""}))
    assert said.startswith("MLOPS_SERVER_COMPOSE has a quote without its end")


def test_logs_before_the_first_start_and_of_an_unknown_service_are_one_sentence(server: ProductionStack) -> None:
    assert "Nothing has run here yet" in one_line(server.operate("logs"))
    said = one_line(server.operate("logs", "nope"))
    assert said == "There is no service nope: these have logs: db, objects, mlflow, nginx, check, migrate, seed.\n"
    assert "Nothing has run" in one_line(server.operate("logs", "check"))


def test_a_path_is_shown_without_detours(server: ProductionStack) -> None:
    server.set(MLOPS_DATA="../mlflow_server/../elsewhere")
    (server.folder.parent / "elsewhere").write_text("in the way")
    assert one_line(server.operate("start")).startswith(f"The folder {server.folder.parent}/elsewhere cannot be made")
    said = one_line(server.operate("restore", "../mlflow_server/tls", "--check"))
    assert said.startswith(f"{server.folder}/tls is no backup")


def test_ctrl_c_is_one_sentence_and_status_130(server: ProductionStack, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    environment = {**os.environ, "MLOPS_SERVER_COMPOSE": f"sh -c 'touch {asked}; sleep 600'"}
    words = [sys.executable, "mlops-server", "start"]
    child = subprocess.Popen(
        words, cwd=server.folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    limit = time.monotonic() + 60
    while not asked.exists() and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    # A terminal sends it to the command and to the engine that it waits for.
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=60)

    assert child.returncode == 130
    assert said == "\nInterrupted. ./mlops-server status shows what runs; the command can be given again.\n"


def test_two_commands_do_not_change_a_server_at_once(server: ProductionStack) -> None:
    handle = os.open(server.folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for verb in (["start"], ["stop"], ["backup"], ["migrate"], ["init"], ["certificate", "--renew"]):
            assert "Another ./mlops-server command is changing this server" in one_line(server.operate(*verb))
        for verb in (["check"], ["certificate"], ["certificate", "--json"], ["logs"], ["status"]):
            said = server.operate(*verb).stderr
            assert "Another" not in said, "asking is allowed"
        assert "is no backup" in one_line(server.operate("restore", "missing", "--check"))
        assert "db and objects are not running" in one_line(server.operate("migrate", "--status"))
    finally:
        os.close(handle)


def _with_example(server: ProductionStack) -> Path:
    folder = server.folder / "example"
    folder.mkdir()
    shutil.copyfile(server.folder / ".env.example", folder / ".env")
    return folder


def _said_by(server: ProductionStack, service: str) -> str:
    return (server.folder / ".native" / f"{service}.log").read_text("utf-8")

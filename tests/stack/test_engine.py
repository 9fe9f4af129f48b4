"""The stand-in for docker compose: it must behave like it, or the tests of the server prove nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_lab.connection import process
from tests.conftest import missing
from tests.production_stack import ENGINE, SERVER
from tests.stack.engine.errors import EngineError
from tests.stack.engine.interpolation import interpolate, read_variables
from tests.stack.engine.places import Places, quiet_port
from tests.stack.engine.project import read_project
from tests.stack.engine.watchdog import OWNER

WEB = """
  web:
    image: none
    entrypoint: [python, -m, http.server, --bind, 0.0.0.0]
    command: ["8000", --directory, /srv]
    restart: unless-stopped
    volumes: ["./site:/srv:ro"]
    healthcheck: {test: [CMD, curl, -fsS, --noproxy, "*", "http://127.0.0.1:8000/hello"], interval: 1s, retries: 60}
"""


class Compose:
    """A compose file in a folder, and the engine's answers to commands there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, services: str, **variables: str) -> None:
        """Write compose.yaml and .env."""
        (self.folder / "compose.yaml").write_text(f"services:{services}")
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))

    def __call__(self, *arguments: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one command."""
        environment = {**os.environ, OWNER: str(os.getpid()), **variables}
        words = [*shlex.split(ENGINE), *arguments]
        return subprocess.run(words, cwd=self.folder, env=environment, input=given, capture_output=True, text=True)

    def pid(self, service: str) -> int:
        """Give the process that a service runs as."""
        state = json.loads((self.folder / ".native" / "state.json").read_text())
        pid: int = state["services"][service]["pid"]
        return pid

    def port(self, address: str) -> int:
        """Give the port of this machine for one of the inner network."""
        port: int = json.loads((self.folder / ".native" / "state.json").read_text())["ports"][address]
        return port


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Compose]:
    """An engine in an empty folder; what it started ends with the test."""
    one = Compose(tmp_path)
    yield one
    if (one.folder / "compose.yaml").exists():
        one("down")


def test_variables_are_filled_in_as_docker_compose_does() -> None:
    known = {"SET": "value", "EMPTY": ""}

    assert interpolate("$SET ${SET} $$SET", known, "") == "value value $SET"
    assert interpolate("${EMPTY:-default} ${EMPTY-default} ${MISSING-default}", known, "") == "default  default"
    assert interpolate("${MISSING:-${SET}}", known, "") == "value"
    assert interpolate("${SET:+other}${MISSING:+other}", known, "") == "other"
    for text in ("${EMPTY:?say this}", "${MISSING:?say this}", "${MISSING?say this}"):
        with pytest.raises(EngineError, match=r"services\.db\.image: required variable (EMPTY|MISSING) .*: say this"):
            interpolate(text, known, "services.db.image")


def test_the_env_file_is_read_as_docker_compose_does(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# comment\nA=1\nexport B = two words # comment\nC='$A'\nD=\"$A\"\nE=\nF=a#b\n")

    assert read_variables(file) == {"A": "1", "B": "two words", "C": "$A", "D": "1", "E": "", "F": "a#b"}


def test_addresses_ports_and_paths_of_a_container_become_those_of_this_machine() -> None:
    ports = {"db:3306": 1001, "objects:9000": 1002, "mlflow:5000": 1003}
    places = Places("objects", ports, {"/data": Path("/host/data"), "/tmp": Path("/tmp/own/tmp")})

    assert places.all(["server", "/data", "--address", ":9000"]) == [
        "server",
        "/host/data",
        "--address",
        "127.0.0.1:1002",
    ]
    assert places.native("http://127.0.0.1:9000/x") == "http://127.0.0.1:1002/x"
    assert places.native("http://mlflow:5000") == "http://127.0.0.1:1003"
    assert places.native("/tmp/a:/data/b") == "/tmp/own/tmp/a:/host/data/b"
    assert places.native("/database/tmp") == "/database/tmp"
    assert Places("mlflow", ports, {}).all(["--host", "0.0.0.0", "--port", "5000"]) == [
        *("--host", "127.0.0.1", "--port", "1003")
    ]


def test_the_servers_own_file_is_understood_in_full(tmp_path: Path) -> None:
    example = (SERVER / ".env.example").read_text()
    (tmp_path / ".env").write_text(example)
    (tmp_path / "compose.yaml").write_bytes((SERVER / "compose.yaml").read_bytes())
    project = read_project(tmp_path)

    order = project.in_order(list(project.services), with_needs=True)
    assert (
        order.index("check") < order.index("db") < order.index("migrate") < order.index("mlflow") < order.index("nginx")
    )
    assert project.inner == {"db": {3306}, "objects": {9000}, "mlflow": {5000}}
    assert set(project.published) == {"nginx"}


def test_services_start_in_order_each_when_the_one_before_is_ready(compose: Compose) -> None:
    (compose.folder / "site").mkdir()
    (compose.folder / "site" / "hello").write_text("hello")
    compose.write(
        WEB
        + """
  first:
    image: none
    entrypoint: [sh, -c, "echo first >> /out/order"]
    volumes: ["./out:/out"]
  after:
    image: none
    entrypoint: [sh, -c, "curl -fsS --noproxy '*' http://web:8000/hello >> /out/order"]
    volumes: ["./out:/out"]
    depends_on:
      first: {condition: service_completed_successfully}
      web: {condition: service_healthy}
"""
    )

    answer = compose("up", "-d", "after")

    assert answer.returncode == 0, answer.stderr
    assert (compose.folder / "out" / "order").read_text() == "first\nhello"
    # A service that runs as the file says is left alone; a changed one is started anew.
    before = compose.pid("web")
    compose("up", "-d", "web")
    assert compose.pid("web") == before
    file = compose.folder / "compose.yaml"
    file.write_text(file.read_text().replace("restart: unless-stopped", "restart: always\n    environment: {NEW: '1'}"))
    compose("up", "-d", "--wait", "web")
    assert compose.pid("web") != before
    url = f"http://127.0.0.1:{compose.port('web:8000')}/hello"
    assert urllib.request.urlopen(url).read() == b"hello"
    rows = [json.loads(line) for line in compose("ps", "--format", "json").stdout.splitlines()]
    assert [(row["Service"], row["State"]) for row in rows] == [("web", "running")]
    assert compose("stop", "web").returncode == 0
    assert compose("ps").stdout == ""
    assert compose("start", "web").returncode == 0
    assert "web" in compose("ps").stdout
    assert "GET /hello" in compose("logs", "--tail", "50", "web").stdout


def test_a_job_that_fails_stops_what_waits_for_it_and_is_named(compose: Compose) -> None:
    compose.write(
        """
  job:
    image: none
    entrypoint: [sh, -c, "echo the reason >&2; exit 3"]
  after:
    image: none
    entrypoint: [sh, -c, "touch /out/never"]
    volumes: ["./out:/out"]
    depends_on:
      job: {condition: service_completed_successfully}
"""
    )

    answer = compose("up", "-d")

    assert answer.returncode == 1
    assert answer.stderr == 'service "job" didn\'t complete successfully: exit 3: the reason\n'
    assert not (compose.folder / "out" / "never").exists()


def test_a_service_that_ends_at_once_is_not_waited_for(compose: Compose) -> None:
    compose.write(WEB.replace("[python, -m, http.server, --bind, 0.0.0.0]", "[sh, -c, 'echo cannot start; exit 1']"))
    (compose.folder / "site").mkdir()

    answer = compose("up", "-d", "--wait")

    assert answer.returncode == 1
    assert answer.stderr == "dependency failed to start: web exited; its last words: cannot start\n"


def test_jobs_and_commands_see_variables_volumes_and_standard_input(compose: Compose) -> None:
    (compose.folder / "site").mkdir()
    (compose.folder / "site" / "hello").write_text("hello")
    (compose.folder / "given").mkdir()
    compose.write(
        WEB
        + """
  job:
    image: none
    entrypoint: [sh, -c]
    tmpfs: [/tmp]
    environment: {KNOWN: "${KNOWN:?say this}", HERE: /tmp/x}
""",
        KNOWN="value",
    )
    words = 'cat > /given/came-in; echo "$KNOWN $MORE $HERE"'

    answer = compose(
        *("run", "--rm", "--no-deps", "-T", "-u", "1:1", "-v", f"{compose.folder}/given:/given", "-e", "MORE=also"),
        *("job", words),
        given="from outside",
    )

    assert answer.stdout.startswith("value also /tmp/"), answer.stderr
    assert (compose.folder / "given" / "came-in").read_text() == "from outside"
    here = Path(answer.stdout.split()[-1])
    assert not here.parent.exists(), "what a job had in memory is gone with it"
    assert compose("exec", "-T", "web", "ls", "/srv").stderr == 'service "web" is not running\n'
    compose("up", "-d", "web")
    assert compose("exec", "-T", "web", "ls", "/srv").stdout == "hello\n"
    assert compose("exec", "-T", "web", "sh", "-c", "exit 7").returncode == 7
    # As in Docker, the shell's own value comes before the file's; an empty one counts as missing.
    assert compose("run", "--rm", "job", "echo $KNOWN", KNOWN="shell").stdout == "shell\n"
    assert "required variable KNOWN" in compose("config", KNOWN="").stderr


def test_a_new_database_is_made_in_a_folder_whose_name_has_a_space_and_an_umlaut(compose: Compose) -> None:
    if not shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin"):
        missing("mariadbd", "apt install mariadb-server")
    compose.folder /= "Läufe 2"
    shutil.copytree(SERVER / "db", compose.folder / "db")
    compose.write(
        """
  db:
    image: mysql
    restart: unless-stopped
    tmpfs: ["/tmp:size=64m", "/var/run/mysqld:size=1m"]
    volumes: ["./data/db:/var/lib/mysql", "./db/my.cnf:/etc/mysql/conf.d/mlops.cnf:ro", "./db:/opt/mlops/db:ro"]
    environment: {MYSQL_ADDRESS: db:3306, MYSQL_DATABASE: known, MYSQL_USER: anna, MYSQL_PASSWORD: "${PASSWORD}",
      MYSQL_ROOT_PASSWORD: "${PASSWORD}"}
    healthcheck: {test: [CMD, sh, /opt/mlops/db/health.sh], interval: 1s, retries: 60, start_period: 60s}
""",
        PASSWORD="a-long-password-12",
    )

    answer = compose("up", "-d", "--wait", "db")

    assert answer.returncode == 0, answer.stderr + (compose.folder / ".native" / "db.log").read_text()
    assert (compose.folder / "data" / "db" / "known").is_dir()


def test_down_ends_a_service_with_its_children(compose: Compose) -> None:
    compose.write(
        """
  parent:
    image: none
    entrypoint: [sh, -c, "sleep 600 & echo $! > /out/child; wait"]
    restart: always
    volumes: ["./out:/out"]
""".replace("$!", "$$!")
    )
    compose("up", "-d")
    child = _wait_for_number(compose.folder / "out" / "child")
    known = process.know(child)
    assert known

    assert compose("down", "-v").returncode == 0

    assert not process.alive(known)


def test_everything_ends_when_the_owner_was_killed(compose: Compose) -> None:
    compose.write(WEB)
    (compose.folder / "site").mkdir()
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert compose("up", "-d", **{OWNER: str(owner.pid)}).returncode == 0
        service = process.know(compose.pid("web"))
        assert service
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()

    limit = time.monotonic() + 60
    while process.alive(service):
        assert time.monotonic() < limit, "the service outlived its owner"
        time.sleep(0.1)


def test_ports_are_below_those_that_the_system_hands_out() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert all(1024 < quiet_port() < lowest for _ in range(20))


def _wait_for_number(file: Path) -> int:
    limit = time.monotonic() + 30
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return int(file.read_text())

"""The production stack in containers, from the very compose file: it works, it heals, and it reaches nothing else."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from tests.conftest import missing
from tests.stack.containers import images
from tests.stack.containers.podman import PodmanError, obstacle
from tests.stack.containers.stack import SERVICES, ContainerStack, own_podman, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("containers")]

BEHIND = {"db": 3306, "objects": 9000, "mlflow": 5000}
OUTSIDE = "198.51.100.1"
"""An address that belongs to nobody (RFC 5737)."""
KNOCK = """
import concurrent.futures, errno, json, socket, sys

def knock(place):
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return "open"
    except socket.gaierror:
        return "no such name"
    except TimeoutError:
        return "ETIMEDOUT"
    except OSError as error:
        return errno.errorcode[error.errno]

with concurrent.futures.ThreadPoolExecutor() as together:
    print(json.dumps(dict(zip(sys.argv[1:], together.map(knock, sys.argv[1:])))))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerStack]:
    """The stack in containers, started as an operator starts it."""
    reason = obstacle()
    if reason:
        missing("A machine on which podman runs", reason)
    with own_podman() as podman:
        try:
            images.build_debian(podman)
            podman("run", "--rm", "--read-only", "--cap-drop=all", "--user=10101", images.DEBIAN, "true")
        except PodmanError as error:
            missing("A machine on which podman runs", str(error))
        with running_stack(tmp_path_factory.mktemp("containers") / "server", podman) as started:
            yield started


def as_user(stack: ContainerStack, account: tuple[str, str]) -> httpx.Client:
    """A client that trusts the server's own authority and nobody else."""
    trust = ssl.create_default_context(cafile=str(stack.authority))
    return httpx.Client(base_url=stack.uri, auth=account, verify=trust, timeout=60, trust_env=False)


def train(stack: ContainerStack, account: tuple[str, str], experiment: str) -> SimpleNamespace:
    """Log a run with one artifact, and give what identifies both."""
    payload = secrets.token_bytes(1 << 20)
    with as_user(stack, account) as client:
        api = "/api/2.0/mlflow"
        made = client.post(f"{api}/experiments/create", json={"name": experiment}).raise_for_status().json()
        request = {"experiment_id": made["experiment_id"], "start_time": 1, "run_name": "a first try"}
        run = client.post(f"{api}/runs/create", json=request).raise_for_status().json()["run"]["info"]["run_id"]
        metric = {"run_id": run, "key": "dice", "value": 0.87, "timestamp": 1, "step": 0}
        client.post(f"{api}/runs/log-metric", json=metric).raise_for_status()
        place = f"/api/2.0/mlflow-artifacts/artifacts/{made['experiment_id']}/{run}/artifacts/model.bin"
        client.put(place, content=payload).raise_for_status()
    return SimpleNamespace(run=run, place=place, sha256=hashlib.sha256(payload).hexdigest())


def assert_intact(stack: ContainerStack, account: tuple[str, str], trained: SimpleNamespace) -> None:
    """The run has its metric, and its artifact is what was uploaded."""
    with as_user(stack, account) as client:
        run = client.get("/api/2.0/mlflow/runs/get", params={"run_id": trained.run}).raise_for_status().json()["run"]
        assert [(metric["key"], metric["value"]) for metric in run["data"]["metrics"]] == [("dice", 0.87)]
        content = client.get(trained.place).raise_for_status().content
        assert hashlib.sha256(content).hexdigest() == trained.sha256


def knock(stack: ContainerStack, network: str, *places: str) -> dict[str, str]:
    """What a container that is on this network only finds at each ``host:port``."""
    options = ["--rm", f"--network={stack.network(network)}", "--read-only", "--cap-drop=all", "--user=10101"]
    answer: dict[str, str] = json.loads(stack.podman("run", *options, images.PYTHON, "python", "-c", KNOCK, *places))
    return answer


def test_a_researcher_logs_in_and_an_artifact_comes_back_unchanged(stack: ContainerStack) -> None:
    trained = train(stack, stack.administrator, "segmentation")

    assert_intact(stack, stack.administrator, trained)
    with as_user(stack, ("admin", "a-wrong-password")) as stranger:
        assert stranger.get("/api/2.0/mlflow/users/current").status_code == 401
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(stack.uri, trust_env=False)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_rights_beyond_its_work(stack: ContainerStack, service: str) -> None:
    lines = stack.read(service, "/proc/1/status")
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == [stack.settings["MLOPS_UID"]] * 4 != ["0"] * 4
    assert status["Gid"].split() == [stack.settings["MLOPS_GID"]] * 4 != ["0"] * 4
    assert status["Groups"].split() in ([], [stack.settings["MLOPS_GID"]])
    for held in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[held], 16) == 0, held
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"

    # The root is read-only for everybody, not just not writable for this user.
    mounts = [line.split() for line in stack.read(service, "/proc/1/mounts")]
    assert "ro" in next(options for _, place, _, options, *_ in mounts if place == "/").split(",")
    write = "for folder in / /etc /usr/bin /opt/mlops /home; do touch $folder/x && echo $folder; done"
    assert stack.inside(service, "sh", "-c", write).stdout == ""


def test_only_nginx_is_published(stack: ContainerStack) -> None:
    settings = stack.settings
    assert {service: stack.published(service) for service in SERVICES} == {
        "db": {},
        "objects": {},
        "mlflow": {},
        "nginx": {"8085/tcp": [settings["MLFLOW_PORT"]], "8002/tcp": [settings["MINIO_PORT"]]},
    }
    backend, frontend = stack.network("backend"), stack.network("frontend")
    assert {service: set(stack.networks(service)) for service in SERVICES} == {
        "db": {backend},
        "objects": {backend},
        "mlflow": {backend},
        "nginx": {backend, frontend},
    }


def test_the_frontend_alone_reaches_neither_database_nor_store_nor_mlflow(stack: ContainerStack) -> None:
    doors = [f"{service}:{port}" for service, port in BEHIND.items()]
    addresses = [f"{stack.address(service)}:{port}" for service, port in BEHIND.items()]
    entrance = f"{stack.address('nginx', 'frontend')}:8085"

    # The same knock finds an open door where there is one.
    assert set(knock(stack, "backend", *doors, *addresses).values()) == {"open"}

    found = knock(stack, "frontend", *doors, *addresses, entrance)
    assert found.pop(entrance) == "open"
    assert {found[door] for door in doors} == {"no such name"}
    assert "open" not in found.values()


def test_the_backend_has_no_way_out(stack: ContainerStack) -> None:
    for service in BEHIND:
        routes = [line.split() for line in stack.read(service, "/proc/net/route")[1:]]
        assert routes
        assert [route for route in routes if route[1] == "00000000"] == [], service

    outer = [f"{OUTSIDE}:443", f"{stack.address('nginx', 'frontend')}:8085"]
    # An address of this machine on its own network, where it has one.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if probe.connect_ex((OUTSIDE, 9)) == 0:
            outer.append(f"{probe.getsockname()[0]}:443")
    found = knock(stack, "backend", *outer, "example.org:443")
    assert found.pop("example.org:443") == "no such name"
    assert set(found.values()) == {errno.errorcode[errno.ENETUNREACH]}


def test_health_notices_a_dead_database_and_its_return(stack: ContainerStack) -> None:
    assert all(stack.healthy(service) for service in SERVICES)

    stack.podman("stop", "--time=20", stack.container("db"))
    assert not stack.healthy("db")
    assert not stack.healthy("mlflow")

    stack.podman("start", stack.container("db"))
    stack.wait_healthy("db")
    stack.wait_healthy("mlflow")
    with as_user(stack, stack.administrator) as client:
        assert client.get("/api/2.0/mlflow/users/current").status_code == 200


def test_the_engine_starts_a_server_again_that_died(stack: ContainerStack) -> None:
    before = stack.process("objects")
    os.kill(before, signal.SIGKILL)

    stack.wait_healthy("objects")
    assert stack.process("objects") != before
    stack.wait_healthy("mlflow")


def test_nginx_finds_an_mlflow_that_came_back_with_another_address(stack: ContainerStack) -> None:
    before = stack.address("mlflow")

    stack.podman("stop", "--time=20", stack.container("mlflow"))
    stack.podman("start", stack.container("mlflow"))
    stack.wait_healthy("mlflow")

    assert stack.address("mlflow") != before, "this test needs another address to say anything"
    # nginx asks for the address every few seconds, and has the old one until then.
    limit = time.monotonic() + 60
    with as_user(stack, stack.administrator) as client:
        while client.get("/api/2.0/mlflow/users/current").status_code != 200:
            assert time.monotonic() < limit, stack.last_words()
            time.sleep(0.5)


def test_runs_outlive_their_containers(stack: ContainerStack) -> None:
    trained = train(stack, stack.administrator, "kept")
    stack.operate("stop")
    with pytest.raises(httpx.ConnectError), as_user(stack, stack.administrator) as client:
        client.get("/")
    # As after `docker compose down`, or a reboot onto a new engine.
    stack.podman.clear()

    stack.operate("start")

    assert_intact(stack, stack.administrator, trained)


def test_a_backup_restores_a_destroyed_server(stack: ContainerStack, tmp_path: Path) -> None:
    anna = ("anna", secrets.token_hex(12))
    stack.operate("user", "add", anna[0], "--password-stdin", stdin=f"{anna[1]}\n")
    trained = train(stack, anna, "annas")
    stack.operate("backup", str(tmp_path / "backup"))

    stack.operate("stop")
    stack.podman.clear()
    shutil.rmtree(stack.folder / "data")
    stack.operate("restore", str(tmp_path / "backup"))

    assert_intact(stack, anna, trained)

"""The server dies, sulks or was never there, while a toy in plain PyTorch trains: the toy does not notice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import sync
from mlops_lab.tracking.projection.synchronise import pending
from tests.faults.gateway import Gateway
from tests.faults.nursery import Nursery
from tests.faults.training import OwnLog, check, program, until
from tests.mlflow_servers import MlflowServer
from tests.unit.test_tracking_block import params, tags


def finished(server: TrackingServer, experiment: str, log: Path) -> str:
    own = OwnLog(log)
    assert own.end == "FINISHED"
    run_id = check(server, experiment, own)
    assert server.get_run(run_id)["info"]["status"] == "FINISHED"
    assert pending() == []
    return run_id


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_while_the_toy_trains_has_everything_in_the_end(
    group_server: MlflowServer, mlops_home: Path, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", group_server.uri)
    server = TrackingServer(group_server.uri)
    log = tmp_path / "log"
    # As long as a server needs to start on a busy machine.
    training = program(experiment, log, steps=1_000_000, pace=0.002).replace(
        "        time.sleep(0.002)",
        f"        time.sleep(0.002)\n        if os.path.exists({str(tmp_path / 'enough')!r}): break",
    )
    child = subprocess.Popen([sys.executable, "-c", training], env=dict(os.environ))
    until(lambda: len(OwnLog(log).loss) > 500)
    assert group_server.child
    os.killpg(group_server.child.pid, signal.SIGKILL)
    group_server.child.wait()
    died_at = len(OwnLog(log).loss)
    until(lambda: len(OwnLog(log).loss) > died_at + 500)
    group_server.start()
    until(lambda: len(OwnLog(log).loss) > died_at + 1500)
    (tmp_path / "enough").touch()
    assert child.wait(120) == 0
    sync()
    finished(server, experiment, log)


def test_a_server_that_is_down_from_the_start_gets_everything_later(
    server: TrackingServer, experiment: str, nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
        nursery.start(program(experiment, tmp_path / "log", steps=300))
        assert nursery.wait() == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert [run.status for run in sync().runs] == ["sent"]
    finished(server, experiment, tmp_path / "log")


@pytest.mark.slow
def test_a_server_that_falls_silent_in_the_middle_holds_nothing_up_but_the_sending(
    server: TrackingServer, gateway: Gateway, experiment: str, nursery: Nursery, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    nursery.start(program(experiment, log, steps=1500, pace=0.002))
    until(lambda: len(OwnLog(log).loss) > 300)
    gateway.open.clear()
    until(lambda: bool(OwnLog(log).end))
    assert nursery.wait() == 0
    gateway.open.set()
    sync()
    finished(server, experiment, log)


@pytest.mark.parametrize("trouble", ["500", "429", "413 above a size", "a sign-in page"])
def test_a_server_in_trouble_in_the_middle_has_everything_in_the_end(
    server: TrackingServer, gateway: Gateway, experiment: str, nursery: Nursery, tmp_path: Path, trouble: str
) -> None:
    met = threading.Event()

    def refuse(path: str, body: bytes) -> int:
        if "log-batch" not in path:
            return 0
        if trouble == "413 above a size":
            too_large = len(body) > 2500
            if too_large:
                met.set()
            return 413 if too_large else 0
        met.set()
        return {"500": 500, "429": 429}.get(trouble, 0)

    def sign_in(path: str) -> bool:
        if trouble == "a sign-in page" and "log-batch" in path:
            met.set()
            return True
        return False

    log = tmp_path / "log"
    gateway.retry_after = "1" if trouble == "429" else ""
    gateway.refuse, gateway.sign_in = refuse, sign_in
    nursery.start(program(experiment, log, steps=600, pace=0.002))
    assert met.wait(60)
    until(lambda: len(OwnLog(log).loss) > 300)
    if trouble != "413 above a size":
        gateway.refuse, gateway.sign_in = lambda path, body: 0, lambda path: False
    assert nursery.wait() == 0
    sync()
    finished(server, experiment, log)


def test_a_bad_metric_name_and_a_changed_param_in_the_middle_cost_nothing_else(
    server: TrackingServer, experiment: str, nursery: Nursery, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    training = program(experiment, log, steps=400).replace(
        "        time.sleep(",
        """        if step in (100, 200):
            run.log_metric("what?", step)
            run.log_param("fold", step)
        time.sleep(""",
    )
    nursery.start(training)
    assert nursery.wait() == 0
    run_id = finished(server, experiment, log)
    stored = server.get_run(run_id)
    assert params(stored)["fold"] == "100"
    assert tags(stored)["mlops_lab.refused"] == "3"

"""`track(resume=...)`: the second half of a training belongs to the run of the first."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import sync, track
from mlops_lab.tracking.block import Block
from mlops_lab.tracking.errors import NoSuchRun, RunIsOpen
from mlops_lab.tracking.journal import folders
from tests.unit.test_tracking_block import history, params, tags


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def first_half(experiment: str, name: str) -> str:
    with track(experiment, run_name=name, params={"lr": 0.1}) as run:
        for step in range(3):
            run.log_metric("loss", 1.0 - step / 10)
    assert run.run_id
    return run.run_id


def test_a_finished_run_goes_on_with_its_series_params_and_status(server: TrackingServer, experiment: str) -> None:
    run_id = first_half(experiment, "half")

    block = Block(resume="half", source="max_epochs = 6\n")
    run = block.open()
    until(lambda: server.get_run(run_id)["info"]["status"] == "RUNNING")
    run.log_metric("loss", 0.5)
    run.note_param("lr", 0.2)
    block.close(ValueError("not the last word"))

    assert run.run_id == run_id
    found = server.get_run(run_id)
    assert found["info"]["status"] == "FAILED"
    assert history(server, run_id, "loss") == [(1, 1.0), (2, 0.9), (3, 0.8), (4, 0.5)]
    assert params(found)["lr"] == "0.1"
    assert params(found)["max_epochs"] == "6"
    assert tags(found)["mlops_lab.resumed"] == "1"
    files = {entry["path"] for entry in server.list_artifacts(run_id, "cells/resumed_1")}
    assert files == {"cells/resumed_1/cell_1.py"}

    with track(resume=run_id) as again:
        pass
    assert again.run_id == run_id
    found = server.get_run(run_id)
    assert (found["info"]["status"], tags(found)["mlops_lab.resumed"]) == ("FINISHED", "2")


def test_a_run_of_another_computer_goes_on_by_its_name(server: TrackingServer, experiment: str) -> None:
    run_id = first_half(experiment, f"far-{experiment[:20]}")
    for folder in folders.journals().iterdir():
        shutil.rmtree(folder)

    with track(resume=f"far-{experiment[:20]}") as run:
        run.log_metric("loss", 0.5)
    assert run.run_id == run_id
    assert history(server, run_id, "loss")[-1] == (4, 0.5)
    assert server.get_run(run_id)["info"]["status"] == "FINISHED"
    with track(resume=run_id[:12]) as run:
        run.log_metric("loss", 0.4)
    assert history(server, run_id, "loss")[-1] == (5, 0.4)


def test_a_run_whose_kernel_was_killed_goes_on(server: TrackingServer, experiment: str) -> None:
    code = (
        "import os, mlops_lab\n"
        f"with mlops_lab.track({experiment!r}, run_name='killed') as run:\n"
        "    for step in range(50):\n"
        "        run.log_metric('loss', step)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)

    with track(resume="killed") as run:
        run.log_metric("loss", 50)
    sync()
    assert run.run_id
    found = server.get_run(run.run_id)
    assert found["info"]["status"] == "FINISHED"
    assert "mlops_lab.lost" not in tags(found)
    assert history(server, run.run_id, "loss") == [(step + 1, float(step)) for step in range(51)]


def test_an_offline_run_goes_on_offline(mlops_home: Path) -> None:
    with track("x", run_name="kept", offline=True) as run:
        run.log_metric("loss", 1)
    with track(resume="kept") as again:
        again.log_metric("loss", 2)
    assert (again.key, again.offline, again.steps["loss"]) == (run.key, True, 2)
    assert [folder.name for folder in folders.journals().iterdir()] == [run.key]


def test_what_cannot_be_resumed_is_said_before_the_body_runs(mlops_home: Path, server: TrackingServer) -> None:
    still_open = pytest.raises(RunIsOpen, match="still open")
    with track("x", run_name="twice", offline=True) as outer, still_open, track(resume="twice"):
        pass
    with track("x", run_name="twice", offline=True):
        pass
    with pytest.raises(NoSuchRun, match=r"Several runs are called twice: .*Give the id"), track(resume="twice"):
        pass
    with pytest.raises(NoSuchRun, match="No run called never is on this computer"), track(resume="never"):
        pass
    with pytest.raises(NoSuchRun, match="No run called"), track(resume="0" * 32):
        pass
    with track(resume=outer.key[:8]) as run:
        pass
    assert run.key == outer.key

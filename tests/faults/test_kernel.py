"""The kernel is killed with -9 at random moments, and the sync that follows as well: what training produced arrives.

The number of kernels is :data:`KERNELS`; the variable ``MLOPS_LAB_KERNELS`` sets another, such as 50.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import sync
from mlops_lab.tracking.projection.synchronise import pending
from tests.faults.nursery import Nursery, kill
from tests.faults.training import OwnLog, check, program, until
from tests.unit.test_tracking_block import tags

KERNELS = int(os.environ.get("MLOPS_LAB_KERNELS", "6"))
SYNC = "from mlops_lab.tracking import sync; sync()"


@pytest.mark.slow
def test_kernels_killed_at_random_moments_lose_no_value_that_reached_the_host(
    server: TrackingServer, experiment: str, nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random.Random(KERNELS)
    logs = [tmp_path / f"{number}.log" for number in range(KERNELS)]
    for number, log in enumerate(logs):
        # Every third one trains while nothing answers.
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9" if number % 3 == 2 else server.uri)
        pid = nursery.start(program(experiment, log, pace=generator.choice([0, 0.0005])))
        if number % 5:  # the others die on their way into the block, or not at all far in it
            until(lambda log=log: bool(OwnLog(log).key))
        time.sleep(generator.uniform(0, 2.0))
        kill(pid)
        assert nursery.wait() == -9
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    for _ in range(KERNELS // 3):
        pid = nursery.start(SYNC)
        time.sleep(generator.uniform(0, 1.0))
        kill(pid)
        nursery.wait()

    sync()

    assert pending() == []
    trained = [own for own in map(OwnLog, logs) if own.key]
    for own in trained:
        stored = server.get_run(check(server, experiment, own))
        assert stored["info"]["status"] == "KILLED"
        assert tags(stored)["mlops_lab.lost"] == "true"
    points = sum(len(own.loss) for own in trained)
    print(f"{KERNELS} kernels killed, {len(trained)} of them in training, {points} steps checked, none missing")
    assert trained
    assert len(server.search_runs([server.ensure_experiment(experiment)])["runs"]) >= len(trained)


@pytest.mark.slow
def test_a_clock_that_jumps_back_puts_no_point_out_of_order(
    server: TrackingServer, experiment: str, nursery: Nursery, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    jumps = """
import time
wall = time.time
time.time = lambda: wall() - (3600 if wall() > JUMP else 0)
""".replace("JUMP", str(time.time() + 1.5))
    nursery.start(jumps + program(experiment, log, steps=1500, pace=0.002))
    assert nursery.wait() == 0
    own = OwnLog(log)
    assert own.end == "FINISHED"
    run_id = check(server, experiment, own)
    info = server.get_run(run_id)["info"]
    assert info["end_time"] >= info["start_time"] + 1500
    answer = server.get("metrics/get-history", {"run_id": run_id, "metric_key": "by hand", "max_results": 25000})
    times = [int(point["timestamp"]) for point in answer["metrics"]]
    assert times == sorted(times)
    assert info["start_time"] <= times[0]
    assert times[-1] <= info["end_time"]


def test_values_that_were_still_on_a_device_when_the_kernel_died_are_counted(
    server: TrackingServer, experiment: str, nursery: Nursery, tmp_path: Path
) -> None:
    # What is not there yet stands for a copy from a GPU that has not arrived.
    nursery.start(f"""
import os, signal, time, mlops_lab
with mlops_lab.track(experiment={experiment!r}) as run:
    for step in range(10):
        run.log_deferred("loss", lambda wait, step=step: float(step) if step < 7 else None)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
""")
    assert nursery.wait() == -9
    (sent,) = sync().runs
    assert sent.run_id
    assert tags(server.get_run(sent.run_id))["mlops_lab.lost.values"] == "3"

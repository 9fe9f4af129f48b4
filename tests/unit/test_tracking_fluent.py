"""The user's own `mlflow.*` calls in a block: they land in its run, or in one of their own; they never end the cell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.connection.rest import TrackingServer
from tests.unit.test_tracking_block import history, params, tags


def run_program(program: str, experiment: str, **environment: str) -> list[str]:
    """Run `program` in a process of its own and give the words it printed behind RUN."""
    text = f"import os, mlops_lab\nEXPERIMENT = {experiment!r}\n{program}"
    env = {name: value for name, value in {**os.environ, **environment}.items() if value}
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=False, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [word for line in done.stdout.splitlines() if line.startswith("RUN ") for word in line.split()[1:]]


def runs_in(server: TrackingServer, experiment: str) -> list[dict[str, Any]]:
    found = server.experiment_by_name(experiment)
    assert found is not None
    return list(server.search_runs([found["experiment_id"]])["runs"])


@pytest.mark.parametrize("before", ["", "import mlflow"])
def test_mlflow_finds_the_server_that_only_mlops_lab_knows_of(
    server: TrackingServer, experiment: str, tmp_path: Path, before: str
) -> None:
    # As with the embedded server under nbclient or VS Code: no variable names it, a session file does.
    from mlops_lab.connection.session import Session, write_session

    session = tmp_path / "session.json"
    write_session(session, Session(uri=server.uri))
    program = f"""
{before}
with mlops_lab.track(experiment=EXPERIMENT) as run:
    import mlflow
    mlflow.log_metric("mine", 3.0)
assert mlflow.active_run() is None
left = [name for name in os.environ if name.startswith("MLFLOW_") and name != "MLFLOW_DISABLE_TELEMETRY"]
assert left == [], left
print("RUN", run.run_id)
"""
    (run_id,) = run_program(program, experiment, MLFLOW_TRACKING_URI="", MLOPS_LAB_SESSION=str(session))
    assert history(server, run_id, "mine") == [(0, 3.0)]


def test_a_run_in_an_experiment_of_the_users_choice_is_a_child_of_ours_and_ends_nothing(
    server: TrackingServer, experiment: str
) -> None:
    program = """
with mlops_lab.track(experiment=EXPERIMENT) as run:
    import mlflow
    mlflow.set_experiment(EXPERIMENT + "-own")
    with mlflow.start_run(run_name="mine") as own:
        mlflow.log_metric("a", 1.0)
    run.log_metric("b", 2.0)
assert any("another experiment" in notice for notice in run.notices), run.notices
print("RUN", run.run_id, own.info.run_id)
"""
    ours, own = run_program(program, experiment)
    assert ours != own
    assert history(server, own, "a") == [(0, 1.0)]
    assert tags(server.get_run(own))["mlflow.parentRunId"] == ours
    assert server.get_run(ours)["info"]["status"] == "FINISHED"
    assert history(server, ours, "b") == [(1, 2.0)]
    assert [run["info"]["run_id"] for run in runs_in(server, f"{experiment}-own")] == [own]


def test_calls_after_a_finished_start_run_still_land_in_our_run_and_the_next_block_is_clean(
    server: TrackingServer, experiment: str
) -> None:
    program = """
import mlflow
with mlops_lab.track(experiment=EXPERIMENT) as first:
    with mlflow.start_run():
        mlflow.log_metric("a", 1.0)
    mlflow.log_metric("b", 2.0)
assert mlflow.active_run() is None
with mlops_lab.track(experiment=EXPERIMENT) as second:
    mlflow.log_metric("c", 3.0)
print("RUN", first.run_id, second.run_id)
"""
    first, second = run_program(program, experiment)
    assert (history(server, first, "a"), history(server, first, "b")) == ([(0, 1.0)], [(0, 2.0)])
    assert history(server, second, "c") == [(0, 3.0)]
    assert len(runs_in(server, experiment)) == 2


def test_every_further_start_run_of_a_block_is_a_run_of_its_own(server: TrackingServer, experiment: str) -> None:
    program = """
import mlflow
with mlops_lab.track(experiment=EXPERIMENT) as run:
    for lr in (0.1, 0.01, 0.001):
        with mlflow.start_run():
            mlflow.log_param("lr", lr)
print("RUN", run.run_id)
"""
    (run_id,) = run_program(program, experiment)
    stored = {run["info"]["run_id"]: run for run in runs_in(server, experiment)}
    assert params(stored[run_id])["lr"] == "0.1"
    others = [run for key, run in stored.items() if key != run_id]
    assert {params(run)["lr"] for run in others} == {"0.01", "0.001"}


def test_a_nested_run_left_open_ends_with_the_block(server: TrackingServer, experiment: str) -> None:
    program = """
import mlflow
with mlops_lab.track(experiment=EXPERIMENT) as first:
    mlflow.log_metric("a", 1.0)
    nested = mlflow.start_run(nested=True)
    mlflow.log_metric("n", 2.0)
assert mlflow.active_run() is None
with mlops_lab.track(experiment=EXPERIMENT) as second:
    mlflow.log_metric("c", 3.0)
print("RUN", first.run_id, nested.info.run_id, second.run_id)
"""
    first, nested, second = run_program(program, experiment)
    assert nested not in (first, second)
    assert history(server, nested, "n") == [(0, 2.0)]
    assert server.get_run(nested)["info"]["status"] == "FINISHED"
    assert history(server, second, "c") == [(0, 3.0)]


def test_a_run_that_the_user_opened_before_the_block_stays_theirs_and_open(
    server: TrackingServer, experiment: str
) -> None:
    program = """
import mlflow
mlflow.set_experiment(EXPERIMENT)
own = mlflow.start_run()
with mlops_lab.track(experiment=EXPERIMENT) as run:
    mlflow.log_metric("a", 1.0)
assert mlflow.active_run().info.run_id == own.info.run_id
mlflow.end_run()
print("RUN", run.run_id, own.info.run_id)
"""
    ours, own = run_program(program, experiment)
    assert ours != own
    assert history(server, own, "a") == [(0, 1.0)]


def test_a_store_of_the_users_choice_is_left_alone(server: TrackingServer, experiment: str, tmp_path: Path) -> None:
    program = f"""
with mlops_lab.track(experiment=EXPERIMENT) as run:
    import mlflow
    mlflow.set_tracking_uri("sqlite:///{tmp_path}/own.db")
    mlflow.log_metric("a", 1.0)
assert any("another server" in notice for notice in run.notices), run.notices
print("RUN", run.run_id)
"""
    (run_id,) = run_program(program, experiment)
    stored = server.get_run(run_id)
    assert stored["info"]["status"] == "FINISHED"
    assert stored["data"].get("metrics", []) == []


def test_mlflow_is_as_it_was_after_the_block(server: TrackingServer, experiment: str) -> None:
    program = """
import mlflow, mlflow.tracking.fluent as fluent
before = (mlflow.start_run, fluent.start_run, fluent._get_or_start_run)
with mlops_lab.track(experiment=EXPERIMENT) as outer:
    with mlops_lab.track(experiment=EXPERIMENT) as inner:
        mlflow.log_metric("in", 1.0)
    mlflow.log_metric("out", 2.0)
assert (mlflow.start_run, fluent.start_run, fluent._get_or_start_run) == before
assert "MLFLOW_RUN_ID" not in os.environ
print("RUN", outer.run_id, inner.run_id)
"""
    outer, inner = run_program(program, experiment)
    assert history(server, inner, "in") == [(0, 1.0)]
    assert history(server, outer, "out") == [(0, 2.0)]

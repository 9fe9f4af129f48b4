"""One tracked block against a real MLflow server: what the run says afterwards."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import active_run, note_dataset, sync, track, use_dataset
from mlops_lab.tracking.errors import NoActiveRun
from mlops_lab.tracking.lineage import code as lineage
from mlops_lab.tracking.projection.synchronise import pending
from tests.dvc_repositories import DvcRepository


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def params(run: dict[str, Any]) -> dict[str, str]:
    return {param["key"]: param["value"] for param in run["data"]["params"]}


def history(server: TrackingServer, run_id: str, metric: str) -> list[tuple[int, float]]:
    answer = server.get("metrics/get-history", {"run_id": run_id, "metric_key": metric, "max_results": 25000})
    return [(int(point.get("step", 0)), float(point["value"])) for point in answer["metrics"]]


def artifacts(server: TrackingServer, run_id: str) -> set[str]:
    return {file["path"] for file in server.list_artifacts(run_id)}


def test_the_run_is_on_the_server_before_the_first_line_of_the_body(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment, run_name="first") as run:
        assert run.run_id
        there = server.get_run(run.run_id)["info"]
        assert (there["status"], there["run_name"]) == ("RUNNING", "first")
        assert active_run() is run
    assert active_run() is None
    assert server.get_run(run.run_id)["info"]["status"] == "FINISHED"
    assert run.link.endswith(run.run_id)


def test_everything_that_is_logged_arrives_once_and_in_order(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment, params={"lr": 0.1}, tags={"team": "a"}) as run:
        for step in range(2500):
            run.log_metric("loss", 1 / (step + 1))
        run.log_metrics({"nan": math.nan, "inf": math.inf}, step=7)
        run.log_text("hello", "notes/remark.txt")
    assert run.run_id
    stored = server.get_run(run.run_id)
    assert params(stored)["lr"] == "0.1"
    assert tags(stored)["team"] == "a"
    assert history(server, run.run_id, "loss") == [(step + 1, 1 / (step + 1)) for step in range(2500)]
    last = {metric["key"]: metric["value"] for metric in stored["data"]["metrics"]}
    assert math.isnan(last["nan"])
    assert last["inf"] == math.inf
    assert "notes" in artifacts(server, run.run_id)
    assert run.progress().waiting == 0
    assert pending() == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("a bad image"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(3), "FAILED"),
    ],
)
def test_the_status_tells_how_the_body_ended(
    server: TrackingServer, experiment: str, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), track(experiment=experiment) as run:
        raise error
    assert run.run_id
    assert server.get_run(run.run_id)["info"]["status"] == status
    assert ("traceback.txt" in artifacts(server, run.run_id)) == (status == "FAILED")


def test_the_traceback_names_the_error(server: TrackingServer, experiment: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad image"), track(experiment=experiment) as run:
        raise ValueError("a bad image")
    assert run.run_id
    text = server.download_artifact(run.run_id, "traceback.txt", tmp_path / "traceback.txt").read_text()
    assert "ValueError: a bad image" in text


def test_a_nested_block_is_a_run_of_its_own(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment) as outer:
        with track(experiment=experiment) as inner:
            assert active_run() is inner
        assert active_run() is outer
        outer.log_metric("late", 1.0)
    assert outer.run_id
    assert inner.run_id != outer.run_id
    assert history(server, outer.run_id, "late") == [(1, 1.0)]


def test_tracking_leaves_the_random_streams_alone(server: TrackingServer, experiment: str) -> None:
    random.seed(5)
    plain = [random.random() for _ in range(5)]
    random.seed(5)
    with track(experiment=experiment):
        tracked = [random.random() for _ in range(5)]
    assert tracked == plain


def test_a_seed_is_recorded_and_repeats_the_streams(server: TrackingServer, experiment: str) -> None:
    import numpy
    import torch

    drawn = []
    for _ in range(2):
        with track(experiment=experiment, seed=11) as run:
            drawn.append((random.random(), float(numpy.random.rand()), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert run.run_id
    assert params(server.get_run(run.run_id))["seed"] == "11"


def test_without_a_server_the_run_is_kept_and_sent_later(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("mlops_lab.tracking.recording.LAST_ANSWER", 0.1)
    with track(experiment=experiment, run_name="kept") as run:
        run.log_metric("loss", 0.5)
    assert run.run_id is None
    assert "kept on this computer" in capsys.readouterr().err
    assert len(pending()) == 1

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    report = sync()

    (sent,) = report.runs
    assert (sent.name, sent.status) == ("kept", "sent")
    assert sent.run_id
    stored = server.get_run(sent.run_id)["info"]
    assert stored["status"] == "FINISHED"
    assert stored["end_time"] - stored["start_time"] < 60_000, "the times are those of the block, not of the sync"
    assert history(server, sent.run_id, "loss") == [(1, 0.5)]
    assert sync().runs == []


def test_offline_keeps_the_run_here_until_asked(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment, offline=True) as run:
        run.log_metric("loss", 0.5)
    assert server.experiment_by_name(experiment) is None
    assert sync(include_offline=False).runs == []
    assert [sent.status for sent in sync().runs] == ["sent"]
    assert server.experiment_by_name(experiment) is not None


def test_a_deleted_experiment_refuses_the_block_and_leaves_nothing(server: TrackingServer, experiment: str) -> None:
    from mlops_lab.connection.errors import Refused

    server.post("experiments/delete", {"experiment_id": server.create_experiment(experiment)})
    entered = False
    with pytest.raises(Refused, match="deleted"), track(experiment=experiment):
        entered = True
    assert not entered
    assert pending() == []


def test_the_run_names_its_data_version(
    server: TrackingServer, experiment: str, demo_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo_project)
    with track(data=["brain@v1.0.0"], experiment=experiment) as run:
        assert (use_dataset("brain@v2.0.0")).is_dir()
        use_dataset("brain@v2.0.0")
    assert run.run_id
    stored = server.get_run(run.run_id)
    found = tags(stored)
    assert found["mlops_lab.data.brain"] == "v2.0.0"
    assert found["mlops_lab.data.brain.md5"].endswith(".dir")
    assert len(found["mlflow.source.git.commit"]) == 40
    assert found["mlops_lab.git.dirty"] == "false"
    inputs = stored["inputs"]["dataset_inputs"]
    assert len(inputs) == 2
    assert {entry["dataset"]["source_type"] for entry in inputs} == {"dvc"}
    versions = {tag["value"] for entry in inputs for tag in entry["tags"] if tag["key"] == "mlops_lab.version"}
    assert versions == {"v1.0.0", "v2.0.0"}


def test_a_notebook_that_git_does_not_know_is_an_uncommitted_change(
    demo_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo_project)
    mine = demo_project / "mine.ipynb"
    mine.write_text("{}")
    monkeypatch.setenv("MLOPS_LAB_NOTEBOOK", str(mine))
    assert lineage.code_tags(demo_project)["mlops_lab.git.dirty"] == "true"
    for command in (["add", "mine.ipynb"], ["commit", "-qm", "My notebook"]):
        subprocess.run(["git", *command], cwd=demo_project, check=True)
    assert lineage.code_tags(demo_project)["mlops_lab.git.dirty"] == "false"


def test_unknown_data_refuses_the_block_before_its_body(
    server: TrackingServer, dvc_repo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops_lab.datasets.errors import UnknownDataset

    repository: DvcRepository = dvc_repo()
    monkeypatch.chdir(repository.path)
    with pytest.raises(UnknownDataset), track(data="nothing@v1"):
        pytest.fail("the body ran")
    assert pending() == []


def test_a_dataset_outside_of_a_block_has_no_run_to_be_noted_on(mlops_home: Path) -> None:
    with pytest.raises(NoActiveRun):
        note_dataset(None)  # type: ignore[arg-type]  # it is not looked at without a run


def test_explicit_mlflow_calls_land_in_the_same_run(server: TrackingServer, experiment: str) -> None:
    program = f"""
import mlops_lab
with mlops_lab.track(experiment={experiment!r}) as run:
    import mlflow
    mlflow.log_metric("mine", 4.0)
    mlflow.log_param("by_hand", "yes")
    assert mlflow.active_run().info.run_id == run.run_id
assert mlflow.active_run() is None
print("RUN", run.run_id)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    run_id = done.stdout.split("RUN ")[1].strip()
    assert history(server, run_id, "mine") == [(0, 4.0)]
    stored = server.get_run(run_id)
    assert params(stored)["by_hand"] == "yes"
    assert stored["info"]["status"] == "FINISHED"


def test_blocks_in_tasks_that_take_turns_do_not_mix(mlops_home: Path) -> None:
    import asyncio

    import torch

    async def training(name: str, steps: int) -> int:
        with track(name, offline=True) as run:
            net = torch.nn.Linear(1, 1)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for _ in range(steps):
                await asyncio.sleep(0.001)
                optimizer.zero_grad()
                net(torch.ones(1, 1)).sum().backward()
                optimizer.step()
        return run.steps["train_loss"]

    async def main() -> list[int]:
        return list(await asyncio.gather(training("a", 3), training("b", 5), training("c", 4)))

    assert asyncio.run(main()) == [3, 5, 4]
    assert active_run() is None

"""How a block ends when somebody else wants it to end, and what can be seen of a run before it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.connection import tags as names
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import active_run, preview, sync, track
from mlops_lab.tracking.errors import NoSuchCapture, NoSuchRun
from tests.unit.test_tracking_block import history, tags

SCRIPT = """
import sys, time
import mlops_lab
with mlops_lab.track(experiment=sys.argv[1], run_name="asked to end") as run:
    run.log_metric("loss", 0.5)
    with mlops_lab.track(run_name="inner"):
        try:
            print(run.run_id, flush=True)
            time.sleep(60)
        finally:
            run.log_metric("loss", 0.25)
print("never reached")
"""


def by_name(server: TrackingServer, experiment: str) -> dict[str, dict[str, object]]:
    experiment_id = server.ensure_experiment(experiment)
    found = server.post("runs/search", {"experiment_ids": [experiment_id]}).get("runs", [])
    return {run["info"]["run_name"]: run for run in found}


def test_a_sigterm_ends_the_block_first_and_the_process_then(
    server: TrackingServer, experiment: str, mlops_home: Path
) -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, experiment], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert script.stdout
    run_id = script.stdout.readline().strip()

    script.send_signal(signal.SIGTERM)
    said, errors = script.communicate(timeout=60)

    assert script.returncode == -signal.SIGTERM, errors
    assert "never reached" not in said
    run = server.get_run(run_id)
    assert run["info"]["status"] == "KILLED"
    assert tags(run)[names.ENDED_BY] == "SIGTERM"
    assert history(server, run_id, "loss") == [(1, 0.5), (2, 0.25)]
    assert by_name(server, experiment)["inner"]["info"]["status"] == "KILLED"  # type: ignore[index]
    assert sync().runs == []


def test_a_program_that_handles_sigterm_goes_on_doing_so(server: TrackingServer, experiment: str) -> None:
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        with track(experiment=experiment) as run:
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked == [signal.SIGTERM]
    assert run.status == "FINISHED"


def test_after_the_block_sigterm_is_what_it_was(server: TrackingServer, experiment: str) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with track(experiment=experiment), track(experiment=experiment):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), "KeyboardInterrupt"), (ValueError("of Jane Doe"), "ValueError")]
)
def test_a_run_that_is_not_finished_says_what_ended_it(
    server: TrackingServer, experiment: str, error: BaseException, reason: str
) -> None:
    with pytest.raises(type(error)), track(experiment=experiment) as run:
        raise error
    assert run.run_id
    assert tags(server.get_run(run.run_id))[names.ENDED_BY] == reason


def test_an_offline_run_can_be_looked_at_before_it_is_sent(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment, run_name="kept", offline=True, params={"lr": 0.1}, tags={"ward": "7"}) as run:
        for value in (0.5, float("nan"), 0.25):
            run.log_metric("loss", value)
        run.log_text("remark", "notes/remark.txt")
        with track(run_name="inner"):
            pass

    first, inner = preview()
    assert (first.name, first.experiment, first.params["lr"], first.tags["ward"]) == ("kept", experiment, "0.1", "7")
    assert first.tags[names.RUN_KEY] == run.key
    assert first.tags[names.USER]
    series = {metric.name: (metric.points, metric.last) for metric in first.metrics}
    assert series["loss"] == (3, 0.25)
    files = {file.name: file for file in first.files}
    assert files["notes/remark.txt"].size == 6
    assert Path(files["notes/remark.txt"].path).read_text() == "remark"
    assert "environment/environment.json" in files
    assert "loss: 3 points, last 0.25" in str(first)
    assert inner.experiment == experiment, "what is begun inside goes where the outer run goes, and stays here with it"
    assert [one.name for one in preview(run.key[:6])] == ["kept"]
    assert "kept" not in by_name(server, experiment), "looking sends nothing"
    with pytest.raises(NoSuchRun, match="No run called other"):
        preview("other")

    assert sorted(one.status for one in sync().runs) == ["sent", "sent"]
    assert preview() == []
    sent = by_name(server, experiment)["kept"]
    assert tags(sent).items() >= first.tags.items(), "what was shown is what was sent"


def test_a_capture_that_there_is_not_is_refused_before_the_body(server: TrackingServer, experiment: str) -> None:
    with pytest.raises(NoSuchCapture, match="no capture called keras"):
        track(experiment=experiment, capture=["torch", "keras"]).open()


def test_only_the_chosen_captures_are_on(server: TrackingServer, experiment: str) -> None:
    import torch

    backward = torch.Tensor.backward
    with track(experiment=experiment, capture=["monai"]):
        assert torch.Tensor.backward is backward
    with track(experiment=experiment, capture=["torch"]):
        assert torch.Tensor.backward is not backward
    assert torch.Tensor.backward is backward


def test_a_ctrl_c_while_the_block_closes_leaves_nothing_changed(mlops_home: Path) -> None:
    import mlflow

    before = mlflow.active_run
    block = track("edges", offline=True)
    run = block.open()
    run.at_end(lambda: os.kill(os.getpid(), signal.SIGINT))
    block.close()
    assert mlflow.active_run is before
    assert run.status == "FINISHED"


def test_a_ctrl_c_between_the_runs_creation_and_the_body_ends_the_run(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    before = mlflow.active_run
    monkeypatch.setattr("mlops_lab.tracking.block.construction.arm", lambda: os.kill(os.getpid(), signal.SIGINT))
    block = track(experiment)
    with pytest.raises(KeyboardInterrupt), block:
        raise AssertionError("the body may not run")
    assert mlflow.active_run is before
    assert active_run() is None
    assert block.run is not None
    assert block.run.run_id is not None
    assert server.get_run(block.run.run_id)["info"]["status"] == "KILLED"


def test_a_ctrl_c_while_the_server_creates_the_run_leaves_no_run_running(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = TrackingServer.create_run

    def interrupted(self: TrackingServer, *args: Any, **kwargs: Any) -> Any:
        create(self, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrackingServer, "create_run", interrupted)
        with pytest.raises(KeyboardInterrupt), track(experiment):
            raise AssertionError("the body may not run")
    sync()
    (run,) = server.search_runs([server.ensure_experiment(experiment)])["runs"]
    assert run["info"]["status"] == "KILLED"

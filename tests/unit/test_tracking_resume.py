"""A run that goes on after its end, or after the death of its process, is one run with one history."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import torch

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import preview, sync, track
from mlops_lab.tracking.journal import folders
from mlops_lab.tracking.journal.remains import left_off
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import End, Metric, Param, Start
from mlops_lab.tracking.projection.synchronise import pending
from tests.unit.test_tracking_block import history, tags

STARTED = 1_700_000_000_000


def begun(experiment: str, key: str, **more: str) -> Journal:
    return Journal.create(Start(1, f"{key}-{experiment}", experiment, key, STARTED, "ada", {}, **more))  # type: ignore[arg-type]


def points(written: Journal, *steps: int) -> None:
    for step in steps:
        written.append(Metric("loss", 1.0 / (step + 1), step, written.now()))


def test_a_run_that_was_complete_goes_on(server: TrackingServer, experiment: str) -> None:
    written = begun(experiment, "r")
    written.append(Param("lr", "0.1"))
    points(written, *range(10))
    written.append(End("FINISHED", written.now()))
    written.close()
    (first,) = sync().runs
    assert first.run_id
    assert pending() == []

    again = Journal.reopen(written.folder)
    assert again is not None
    assert Journal.reopen(written.folder) is None, "one writer at a time"
    assert left_off(written.folder).steps == {"loss": 9}
    assert left_off(written.folder).params == {"lr": "0.1"}
    points(again, *range(10, 20))
    assert sync().open == 1
    again.append(End("FAILED", again.now()))
    again.close()
    assert pending() == [written.folder]
    assert [run.run_id for run in sync().runs] == [first.run_id]

    run = server.get_run(first.run_id)
    assert run["info"]["status"] == "FAILED"
    assert history(server, first.run_id, "loss") == [(step, 1.0 / (step + 1)) for step in range(20)]


def test_a_run_that_died_and_went_on_is_not_called_lost(server: TrackingServer, experiment: str) -> None:
    written = begun(experiment, "r")
    points(written, 0, 1)
    written.close()
    with open(written.folder / folders.JOURNAL, "ab") as stream:
        stream.write(b'{"record":"metric","key":"lo')
    again = Journal.reopen(written.folder)
    assert again is not None
    points(again, 2)
    again.append(End("FINISHED", again.now()))
    again.close()
    (sent,) = sync().runs
    assert sent.run_id
    run = server.get_run(sent.run_id)
    assert run["info"]["status"] == "FINISHED"
    assert "mlops_lab.lost" not in tags(run)
    assert [step for step, _ in history(server, sent.run_id, "loss")] == [0, 1, 2]


def test_a_run_of_another_computer_goes_on_from_here(server: TrackingServer, experiment: str, tmp_path: Path) -> None:
    experiment_id = server.ensure_experiment(experiment)
    run_id = server.create_run(experiment_id, STARTED, "there")["info"]["run_id"]
    server.log_batch(run_id, [{"key": "loss", "value": 1.0, "step": 0, "timestamp": STARTED}])
    server.update_run(run_id, "FINISHED", STARTED + 1)
    written = begun(experiment, "r", continues=run_id)
    points(written, 1, 2)
    written.append(End("FINISHED", written.now()))
    written.close()

    assert [run.run_id for run in sync().runs] == [run_id]
    assert [step for step, _ in history(server, run_id, "loss")] == [0, 1, 2]
    assert len(server.search_runs([experiment_id])["runs"]) == 1


def test_the_checkpoints_of_a_part_whose_process_died_stay_beside_those_of_the_next(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    program = f"""
import os, signal, torch, mlops_lab
with mlops_lab.track({experiment!r}, run_name="parts") as run:
    torch.save(torch.nn.Linear(2, 1).state_dict(), {str(tmp_path / "first.pt")!r})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    (shown,) = preview()
    assert shown.state == "LOST"
    assert shown.tags["mlops_lab.lost"] == "true"
    coming = {file.name: Path(file.path) for file in shown.files}
    assert {"checkpoints/first.pt", "checkpoints/index.json"} <= set(coming)
    assert {"checkpoints/first.pt", "checkpoints/index.json"} <= set(shown.unscreened)
    assert all(path.is_file() for path in coming.values()), "looking moves nothing"
    assert coming["checkpoints/first.pt"].read_bytes() == (tmp_path / "first.pt").read_bytes()
    with track(resume="parts") as run:
        torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "second.pt")
    sync()
    assert pending() == []

    assert run.run_id
    files = {file["path"] for file in server.list_artifacts(run.run_id, "checkpoints")}
    assert files == {"checkpoints/first.pt", "checkpoints/second.pt", "checkpoints/index.json"}
    index = server.download_artifact(run.run_id, "checkpoints/index.json", tmp_path)
    assert [entry["name"] for entry in json.loads(index.read_bytes())["files"]] == ["first.pt", "second.pt"]

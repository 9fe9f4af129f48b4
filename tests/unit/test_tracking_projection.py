"""Faults between the journal and MLflow: whatever happens, the values arrive, once, and a bad entry blocks nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops_lab.connection.errors import ConnectionProblem, Unreachable
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import sync, track
from mlops_lab.tracking.journal import folders, remains
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import Artifact, End, Metric, Param, Quarantined, Start, Tag
from mlops_lab.tracking.projection.projector import Projector
from tests.unit.test_tracking_block import history, params, tags


def journal_of(experiment: str, key: str, points: int, end: bool = True) -> Path:
    written = Journal.create(Start(1, key, experiment, f"run {key}", 1_700_000_000_000, "ada", {"by": "test"}))
    for step in range(points):
        written.append(Metric("loss", 1.0 / (step + 1), step, 1_700_000_000_000 + step))
    if end:
        written.append(End("FINISHED", 1_700_000_100_000))
    written.close()
    return written.folder


def runs_of(server: TrackingServer, experiment: str) -> list[str]:
    found = server.experiment_by_name(experiment)
    assert found is not None
    return [run["info"]["run_id"] for run in server.search_runs([found["experiment_id"]])["runs"]]


def test_a_projection_that_forgot_its_position_makes_no_second_run_and_no_second_point(
    server: TrackingServer, experiment: str
) -> None:
    folder = journal_of(experiment, f"forgot-{experiment}"[:60], 1500)
    assert Projector(folder, lambda: server).push()
    (folder / folders.POSITION).unlink()
    assert Projector(folder, lambda: server).push()

    (run_id,) = runs_of(server, experiment)
    assert [step for step, _ in history(server, run_id, "loss")] == list(range(1500))
    info = server.get_run(run_id)["info"]
    assert (info["start_time"], info["end_time"]) == (1_700_000_000_000, 1_700_000_100_000)


def test_a_batch_of_every_kind_stays_within_the_servers_limits(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"mixed-{experiment}"[:60]
    written = Journal.create(Start(1, key, experiment, f"run {key}", 1_700_000_000_000, "ada", {"by": "test"}))
    for number in range(250):
        written.append(Param(f"p{number}", "ä" * 5000))
        written.append(Tag(f"t{number}", str(number)))
    for step in range(1900):
        written.append(Metric("loss", 1.0, step, 1_700_000_000_000 + step))
    written.append(End("FINISHED", 1_700_000_100_000))
    written.close()
    sizes = []
    send = TrackingServer.raw

    def watch(self: TrackingServer, method: str, path: str, **options: Any) -> Any:
        answer = send(self, method, path, **options)
        assert answer.is_success, answer.text
        sizes.append(len(options.get("content") or b""))
        return answer

    projector = Projector(written.folder, lambda: server)
    projector.ensure_run()
    monkeypatch.setattr(TrackingServer, "raw", watch)
    assert projector.push()

    assert max(sizes) > 500_000
    (run_id,) = runs_of(server, experiment)
    assert len(history(server, run_id, "loss")) == 1900
    assert len(params(server.get_run(run_id))) == 250


def test_bad_entries_are_set_aside_and_everything_else_arrives(server: TrackingServer, experiment: str) -> None:
    written = Journal.create(Start(1, experiment[:60], experiment, "r", 1, "ada", {}))
    for step in range(30):
        written.append(Metric("loss", 0.5, step, step))
        if step == 17:
            written.append(Metric("bad?name!", 0.5, step, step))
    written.append(Param("lr", "0.1"))
    written.append(Param("lr", "0.2"))
    written.append(Param("epochs", "4"))
    written.append(Artifact("artifacts/0001/gone.txt", "gone.txt"))
    written.append(Tag("after", "yes"))
    written.append(End("FINISHED", 2))
    written.close()

    projector = Projector(written.folder, lambda: server)
    assert projector.push()

    (run_id,) = runs_of(server, experiment)
    stored = server.get_run(run_id)
    assert [step for step, _ in history(server, run_id, "loss")] == list(range(30))
    assert params(stored) == {"lr": "0.1", "epochs": "4"}
    assert tags(stored)["after"] == "yes"
    assert stored["info"]["status"] == "FINISHED"
    lines = (written.folder / folders.QUARANTINE).read_bytes().splitlines()
    refused = [msgspec.json.decode(line, type=Quarantined) for line in lines]
    assert [entry.entry.get("key") or entry.entry["name"] for entry in refused] == ["bad?name!", "lr", "gone.txt"]
    assert all(entry.reason for entry in refused)
    assert projector.position.quarantined == 3


def test_a_run_that_died_is_killed_and_called_lost(server: TrackingServer, experiment: str) -> None:
    program = f"""
import os, signal
import mlops_lab
with mlops_lab.track(experiment={experiment!r}, run_name="dies") as run:
    for step in range(300):
        run.log_metric("loss", step / 2)
    print("RUN", run.run_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run_id = done.stdout.split()[1]
    assert server.get_run(run_id)["info"]["status"] == "RUNNING"

    report = sync()

    assert [(run.run_id, run.status) for run in report.runs] == [(run_id, "sent")]
    stored = server.get_run(run_id)
    assert stored["info"]["status"] == "KILLED"
    assert stored["info"]["end_time"] >= stored["info"]["start_time"]
    assert tags(stored)["mlops_lab.lost"] == "true"
    assert history(server, run_id, "loss") == [(step + 1, step / 2) for step in range(300)]


def test_a_sync_leaves_a_living_run_alone(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment) as run:
        assert sync().runs == []
        run.log_metric("loss", 1.0)
    assert run.run_id
    assert server.get_run(run.run_id)["info"]["status"] == "FINISHED"


def test_two_syncs_at_once_make_one_run_of_each_journal(server: TrackingServer, experiment: str) -> None:
    for number in range(3):
        journal_of(experiment, f"{number}{experiment}"[:60], 50)
    program = "from mlops_lab.tracking import sync; print(sync())"
    both = [subprocess.Popen([sys.executable, "-c", program], env=dict(os.environ)) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]

    ids = runs_of(server, experiment)
    assert len(ids) == 3
    for run_id in ids:
        assert [step for step, _ in history(server, run_id, "loss")] == list(range(50))


def test_a_deleted_run_keeps_its_journal_and_quarantines_nothing(server: TrackingServer, experiment: str) -> None:
    folder = journal_of(experiment, experiment[:60], 5, end=False)
    projector = Projector(folder, lambda: server)
    projector.push()
    server.delete_run(projector.position.run_id)
    assert remains.append_for_the_dead(folder, [Metric("loss", 9.0, 9, 9), Metric("loss", 10.0, 10, 10)])

    report = sync()

    (left,) = report.runs
    assert left.status == "failed"
    assert "deleted" in left.message
    assert "--experiment NAME" in left.message
    assert not (folder / folders.QUARANTINE).exists()
    assert sync().runs == [], "it is said once"
    assert [run.status for run in sync(only=[folder.name]).runs] == ["failed"], "and to who asks for this run"

    server.post("runs/restore", {"run_id": projector.position.run_id})
    assert [(run.status, run.run_id) for run in sync().runs] == [("sent", projector.position.run_id)]
    assert len(history(server, projector.position.run_id, "loss")) == 7


def test_what_is_here_of_a_deleted_run_becomes_a_new_run_where_the_user_says_so(
    server: TrackingServer, experiment: str
) -> None:
    experiment_id = server.ensure_experiment(experiment)
    gone = server.create_run(experiment_id, 1, "gone")["info"]["run_id"]
    server.delete_run(gone)
    for key, continues in (("own", ""), ("from-elsewhere", gone)):
        start = Start(1, f"{key}-{experiment}"[:60], experiment, key, 1, "ada", {}, continues=continues)
        written = Journal.create(start)
        written.append(Metric("loss", 0.5, 1, 1))
        written.close()
        if not continues:
            projector = Projector(written.folder, lambda: server)
            projector.push()
            server.delete_run(projector.position.run_id)
    assert [run.status for run in sync().runs] == ["failed", "failed"]
    assert sync().runs == []

    said = sync(experiment=f"{experiment}-2")

    assert [(run.status, run.redirected) for run in said.runs] == [("sent", True), ("sent", True)], said
    made = runs_of(server, f"{experiment}-2")
    assert len(made) == 2
    assert all(len(history(server, run_id, "loss")) == 1 for run_id in made)
    assert sync().runs == []


class _Sulking(BaseHTTPRequestHandler):
    """A server in front of MLflow's port that answers every request with one status."""

    status = 503

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html><body>no</body></html>")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def sulking() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Sulking)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_in_trouble_costs_nothing_but_time(
    server: TrackingServer, experiment: str, sulking: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Sulking, "status", status)
    folder = journal_of(experiment, experiment[:60], 20)
    with pytest.raises(Unreachable):
        Projector(folder, lambda: TrackingServer(sulking)).push()
    assert not (folder / folders.QUARANTINE).exists()

    assert Projector(folder, lambda: server).push()
    (run_id,) = runs_of(server, experiment)
    assert len(history(server, run_id, "loss")) == 20


def test_a_page_that_is_no_mlflow_server_does_not_stop_the_body(
    mlops_home: Path, sulking: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_Sulking, "status", 200)
    monkeypatch.setattr("mlops_lab.tracking.recording.LAST_ANSWER", 0.1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sulking)
    with track() as run:
        run.log_metric("loss", 1.0)
    assert "kept on this computer" in capsys.readouterr().err


def test_a_server_that_accepts_and_never_answers_lets_the_body_run(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_lab.tracking.recording.FIRST_ANSWER", 0.5)
    monkeypatch.setattr("mlops_lab.tracking.recording.LAST_ANSWER", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with track(experiment=experiment) as run:
            run.log_metric("loss", 0.5)
        assert run.run_id is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert [sent.status for sent in sync().runs] == ["sent"]


def test_a_sync_without_a_server_says_why_and_keeps_everything(
    mlops_home: Path, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    journal_of(experiment, "waits", 3)
    report = sync()
    (left,) = report.runs
    assert left.status == "waiting"
    assert "No MLflow server" in str(report)


def test_the_rest_of_a_run_is_not_sent_to_another_server(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    from mlops_lab.tracking.errors import RunElsewhere

    folder = journal_of(experiment, experiment[:60], 5)
    projector = Projector(folder, lambda: server)
    projector.ensure_run()
    position = projector.position
    position.uri, position.run_id = "http://elsewhere.example", "0" * 32
    (folder / folders.POSITION).write_bytes(msgspec.json.encode(position))

    # The same run key is found here, so this is the same store under another address: it goes on.
    assert Projector(folder, lambda: server).push()

    other = journal_of(experiment, f"other{experiment}"[:60], 5)
    (other / folders.POSITION).write_bytes(msgspec.json.encode(position))
    with pytest.raises(RunElsewhere, match=r"elsewhere\.example"):
        Projector(other, lambda: server).push()


def test_every_problem_of_the_connection_is_one_that_the_sender_survives() -> None:
    # The sender catches the rooms' errors by their base; a new kind must not slip past it.
    from mlops_lab.errors import MlopsLabError

    kinds = [ConnectionProblem, *ConnectionProblem.__subclasses__()]
    assert all(issubclass(kind, MlopsLabError) for kind in kinds)

"""Exactly once: whatever dies or gets lost between a journal and the server, the server has each value once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from mlops_lab import runs
from mlops_lab.connection.errors import NotMlflow, Unreachable
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import sync, track
from mlops_lab.tracking.journal import folders
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import Artifact, End, Input, Metric, Param, Quarantined, Record, Start, Tag
from mlops_lab.tracking.projection.flusher import Sender
from mlops_lab.tracking.projection.projector import Projector
from mlops_lab.tracking.projection.synchronise import pending
from tests.faults.gateway import Gateway
from tests.faults.nursery import Nursery, kill
from tests.unit.test_tracking_block import artifacts, history, params, tags

STARTED = 1_700_000_000_000


def points(name: str, count: int) -> list[Record]:
    return [Metric(name, 1.0 / (step + 1), step, STARTED + step) for step in range(count)]


def left_behind(experiment: str, key: str, *records: Record, texts: int = 0, parent: str = "") -> Journal:
    """The journal of a run whose process is over."""
    start = Start(
        1,
        f"{key}-{experiment}".replace("/", "_"),
        experiment,
        key,
        STARTED,
        "ada",
        {},
        parent=parent and f"{parent}-{experiment}".replace("/", "_"),
    )
    written = Journal.create(start)
    for number in range(texts):
        staged = written.stage_text(f"text {number}", f"{number}.txt")
        assert staged
        written.append(Artifact(staged, f"{number}.txt", "texts"))
    for record in (*records, End("FINISHED", STARTED + 100_000)):
        written.append(record)
    written.close()
    return written


def runs_in(server: TrackingServer, experiment: str) -> list[str]:
    experiment_id = server.ensure_experiment(experiment)
    return [run["info"]["run_id"] for run in server.search_runs([experiment_id])["runs"]]


SEND = """
from mlops_lab.tracking import sync
from mlops_lab.tracking.projection import batches
batches.ENTRIES_PER_BATCH = 100
said = sync()
assert all(run.status == "sent" for run in said.runs), said
"""


class Assassin:
    """Kills the sender at its n-th request: before the server hears of it, or when the server has answered."""

    def __init__(self, gateway: Gateway, moment: str) -> None:
        self._gateway = gateway
        self._moment = moment
        self._left = 0
        self._victim = 0
        self._known = threading.Event()
        gateway.before, gateway.after = self._before, self._after

    def order(self, request: int) -> None:
        """Choose the request."""
        self._left = request
        self._known.clear()

    def point_at(self, pid: int) -> None:
        """Choose the process; its requests wait until then."""
        self._victim = pid
        self._known.set()

    def _before(self, path: str, body: bytes) -> None:
        self._known.wait(30)
        if self._moment == "before":
            self._strike()

    def _after(self, path: str, body: bytes) -> bool:
        return self._moment == "after" and self._strike()

    def _strike(self) -> bool:
        self._left -= 1
        if self._left == 0:
            kill(self._victim)
        return self._left == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_sender_killed_at_any_request_leaves_the_next_one_to_finish_exactly_once(
    server: TrackingServer, gateway: Gateway, experiment: str, nursery: Nursery, moment: str
) -> None:
    written = left_behind(
        experiment,
        "r",
        Param("lr", "0.1"),
        *points("loss", 250),
        Param("lr", "0.2"),
        Input("brain", "d" * 32, "local", '{"uri": "data"}', {"mlflow.data.context": "training"}),
        Tag("after", "yes"),
        texts=2,
    )
    assassin = Assassin(gateway, moment)
    deaths = 0
    for request in itertools.count(1):
        assassin.order(request)
        assassin.point_at(nursery.start(SEND))
        code = nursery.wait()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        deaths += 1
        if deaths == 6:
            (written.folder / folders.POSITION).unlink()  # as a power cut may leave it
    assert deaths >= 5, "it sent this run with fewer requests than that"

    (run_id,) = runs_in(server, experiment)
    stored = server.get_run(run_id)
    assert history(server, run_id, "loss") == [(step, 1.0 / (step + 1)) for step in range(250)]
    assert params(stored) == {"lr": "0.1"}
    assert tags(stored)["after"] == "yes"
    assert len(stored["inputs"]["dataset_inputs"]) == 1
    assert stored["info"]["status"] == "FINISHED"
    assert {file["path"] for file in server.list_artifacts(run_id, "texts")} == {"texts/0.txt", "texts/1.txt"}
    lines = (written.folder / folders.QUARANTINE).read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Quarantined).entry["value"] for line in lines] == ["0.2"]
    assert tags(stored)["mlops_lab.refused"] == "1"
    assert pending() == []


@pytest.mark.parametrize("lost", ["experiments/create", "runs/create", "log-batch", "runs/update", "mlflow-artifacts"])
def test_a_lost_answer_makes_nothing_twice(
    server: TrackingServer, gateway: Gateway, experiment: str, lost: str
) -> None:
    left_behind(experiment, "r", *points("loss", 1200), texts=1)
    left = [lost]
    gateway.after = lambda path, body: bool(left) and lost in path and bool(left.pop())

    assert [run.status for run in sync().runs] == ["waiting"]
    assert left == []
    said = sync()
    assert [run.status for run in said.runs] == ["sent"], said

    (run_id,) = runs_in(server, experiment)
    assert len(history(server, run_id, "loss")) == 1200
    assert artifacts(server, run_id) == {"texts"}


def test_a_run_that_a_slow_server_created_twice_is_one_run_in_the_end(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    # The first request is answered too late; when we look, its run is not there yet.
    written = left_behind(experiment, "r", *points("loss", 10))
    late: list[tuple[str, bytes]] = []

    def hold_back(path: str, body: bytes) -> int:
        if path.endswith("runs/create") and not late:
            late.append((path, body))
            return 504
        if path.endswith("runs/create"):
            server.post("runs/create", json.loads(late[0][1]))
        return 0

    gateway.refuse = hold_back
    assert [run.status for run in sync().runs] == ["waiting"]
    said = sync()
    assert [run.status for run in said.runs] == ["sent"], said

    (run_id,) = runs_in(server, experiment)
    assert folders.position(written.folder).run_id == run_id
    assert len(history(server, run_id, "loss")) == 10


def test_a_position_that_was_lost_beside_a_twin_finds_the_run_that_was_written_to(
    server: TrackingServer, experiment: str
) -> None:
    written = left_behind(experiment, "r", *points("loss", 10))
    projector = Projector(written.folder, lambda: server)
    run_id = projector.ensure_run()
    projector.push_entries()
    start = projector.start
    server.create_run(
        projector.position.experiment_id, start.time, start.run_name, {"mlops_lab.run_key": start.run_key}
    )
    (written.folder / folders.POSITION).unlink()

    again = Projector(written.folder, lambda: server)
    assert again.push()
    assert again.position.run_id == run_id


def test_a_child_run_waits_for_its_parent_and_comes_below_it(server: TrackingServer, experiment: str) -> None:
    outer = left_behind(experiment, "outer", *points("loss", 3))
    inner = left_behind(experiment, "inner", *points("loss", 3), parent="outer")
    report = sync()
    assert [run.status for run in report.runs] == ["sent", "sent"]
    ids = {run.name: run.run_id for run in report.runs}
    assert ids["inner"]
    assert tags(server.get_run(ids["inner"]))["mlflow.parentRunId"] == ids["outer"]

    (outer.folder / folders.POSITION).unlink()
    (inner.folder / folders.POSITION).unlink()
    orphan = left_behind(experiment, "second", *points("loss", 3), parent="outer")
    with pytest.raises(Exception, match="nested in is not on the server yet"):
        Projector(orphan.folder, lambda: server).push()


def test_a_server_that_is_too_slow_for_large_batches_gets_small_ones(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    written = left_behind(experiment, "r", *points("loss", 400))
    stored: list[int] = []

    def slow(path: str, body: bytes) -> bool:
        count = body.count(b"timestamp")
        stored.append(count)
        return count > 100  # it stores them, and its answer comes when nobody listens any more

    gateway.after = slow
    projector = Projector(written.folder, lambda: TrackingServer(gateway.uri))
    attempts = 0
    while not projector.position.complete:
        attempts += 1
        assert attempts < 10
        with contextlib.suppress(Unreachable):
            projector.push()
    assert len(history(server, projector.position.run_id, "loss")) == 400


def test_a_sign_in_page_of_the_network_has_stored_nothing(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    written = left_behind(experiment, "r", *points("loss", 100), texts=1)
    projector = Projector(written.folder, lambda: TrackingServer(gateway.uri))
    for part in ("log-batch", "mlflow-artifacts"):
        gateway.sign_in = lambda path, part=part: part in path  # type: ignore[misc]
        with pytest.raises(NotMlflow):
            projector.push()
    gateway.sign_in = lambda path: False
    assert projector.push()
    assert len(history(server, projector.position.run_id, "loss")) == 100
    assert artifacts(server, projector.position.run_id) == {"texts"}


def test_a_large_file_on_its_way_holds_back_neither_figures_nor_the_end(
    server: TrackingServer, gateway: Gateway, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_lab.tracking.projection.flusher.END_WAITS", 0.2)
    upload_goes_on = threading.Event()
    gateway.before = lambda path, body: None if "mlflow-artifacts" not in path else upload_goes_on.wait(60) and None
    written = left_behind(experiment, "r", *points("loss", 2500), texts=1)
    projector = Projector(written.folder, lambda: TrackingServer(gateway.uri))
    assert projector.claim()
    sender = Sender(projector)
    sender.start()
    ended = threading.Event()
    watcher = threading.Thread(
        target=lambda: [ended.set() for _ in iter(lambda: projector.position.ended, True)] or ended.set()
    )
    watcher.start()
    watcher.join(60)
    assert server.get_run(projector.position.run_id)["info"]["status"] == "FINISHED"
    assert len(history(server, projector.position.run_id, "loss")) == 2500
    assert artifacts(server, projector.position.run_id) == set()
    assert not projector.position.complete

    upload_goes_on.set()
    assert sender.finish(60)
    assert artifacts(server, projector.position.run_id) == {"texts"}
    assert not list(written.folder.rglob("0.txt")), "what the server has need not lie here as well"


def test_a_newer_file_of_the_same_name_is_sent_instead_of_the_older_ones(
    server: TrackingServer, gateway: Gateway, experiment: str, tmp_path: Path
) -> None:
    start = Start(1, f"r-{experiment}", experiment, "r", STARTED, "ada", {})
    written = Journal.create(start)
    for number in range(5):
        staged = written.stage_text(f"state {number}", "last.pt")
        assert staged
        written.append(Artifact(staged, "last.pt", "checkpoints"))
    written.append(End("FINISHED", STARTED + 1))
    written.close()
    uploads: list[str] = []
    gateway.before = lambda path, body: uploads.append(path) if "mlflow-artifacts" in path else None

    said = sync()
    assert [run.status for run in said.runs] == ["sent"], said

    (run_id,) = runs_in(server, experiment)
    assert len(uploads) == 1
    got = server.download_artifact(run_id, "checkpoints/last.pt", tmp_path / "last.pt")
    assert got.read_text() == "state 4"


def test_nan_and_infinities_survive_the_round_trip(server: TrackingServer, experiment: str) -> None:
    values = [0.5, float("nan"), float("inf"), float("-inf"), 0.25]
    with track(experiment=experiment) as run:
        for step, value in enumerate(values):
            run.log_metric("loss", value, step)
        for name, value in (("plus", float("inf")), ("minus", float("-inf")), ("none", float("nan"))):
            run.log_metric(name, value)
    assert run.run_id
    (row,) = runs.refresh(server, [run.run_id])
    assert (row.metrics["plus"], row.metrics["minus"], row.metrics["none"]) == ("Infinity", "-Infinity", "NaN")
    with track(experiment=experiment) as other:
        other.log_metrics({"loss": 1.0}, step=1)
    assert other.run_id
    compared = runs.compare(server, [run.run_id, other.run_id])
    (curve,) = [curve for curve in compared.curves if curve.metric == "loss"]
    assert list(curve.series[0].values) == [0.5, "NaN", "Infinity", "-Infinity", 0.25]


def test_a_sync_beside_a_living_sender_sends_nothing_a_second_time(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    code = "from mlops_lab.tracking import sync; print(sync())"
    with track(experiment=experiment) as run:
        for _ in range(500):
            run.log_metric("loss", 0.5)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), timeout=120
        )
        assert "still open" in done.stdout, done.stderr
    assert runs_in(server, experiment) == [run.run_id]
    assert run.run_id
    assert [step for step, _ in history(server, run.run_id, "loss")] == list(range(1, 501))

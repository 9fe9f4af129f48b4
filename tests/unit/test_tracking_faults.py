"""One fault stays one fault: a bad record, a full disk, a sulking gateway or a second Ctrl-C costs no other run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lab.connection.errors import Unreachable
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import sync, track
from mlops_lab.tracking.journal import folders, segments
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import Artifact, End, Metric, Start
from mlops_lab.tracking.projection.projector import Projector
from mlops_lab.tracking.projection.synchronise import pending
from tests.faults.conftest import gateway as gateway
from tests.faults.gateway import Gateway
from tests.unit.test_tracking_block import artifacts, history


def journal_of(experiment: str, key: str, time: int, *records: Metric | Artifact | End) -> Path:
    written = Journal.create(Start(1, f"{key}-{experiment}", experiment, key, time, "ada", {}))
    for record in records:
        written.append(record)
    written.close()
    return written.folder


def points(count: int) -> list[Metric]:
    return [Metric("loss", 0.5, step, 1_700_000_000_000 + step) for step in range(count)]


def program_output(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_record_that_cannot_be_sent_is_set_aside_and_the_rest_of_every_run_arrives(
    server: TrackingServer, experiment: str
) -> None:
    bad = [Metric("loss", 0.5, step, 1) for step in (2**70, 2**63)]
    journal_of(experiment, "first", 1, *points(20), *bad, Metric("after", 1.0, 1, 1), End("FINISHED", 9))
    journal_of(experiment, "second", 2, *points(3), End("FINISHED", 9))

    first, second = sync().runs

    assert (first.status, second.status) == ("sent", "sent")
    assert first.run_id
    assert second.run_id
    assert len(history(server, first.run_id, "loss")) == 20
    assert len(history(server, first.run_id, "after")) == 1
    assert len(history(server, second.run_id, "loss")) == 3
    assert len((folders.journals() / f"first-{experiment}" / folders.QUARANTINE).read_bytes().splitlines()) == 2


def test_a_journal_that_cannot_be_opened_does_not_keep_the_next_from_being_sent(
    server: TrackingServer, experiment: str
) -> None:
    broken = journal_of(experiment, "broken", 1, *points(3), End("FINISHED", 9))
    (broken / folders.PROJECTION_LOCK).mkdir()
    journal_of(experiment, "sound", 2, *points(3), End("FINISHED", 9))

    first, second = sync().runs

    assert (first.name, first.status) == ("broken", "failed")
    assert "disk" in first.message
    assert (second.name, second.status) == ("sound", "sent")


def test_a_server_with_an_empty_answer_does_not_end_the_block(gateway: Gateway, experiment: str) -> None:
    gateway.refuse = lambda path, body: 200 if path.endswith("runs/create") else 0
    with track(experiment=experiment) as run:
        run.log_metric("m", 1.0)
    assert run.run_id is None
    assert any("does not answer as an MLflow" in notice for notice in run.notices)
    gateway.refuse = lambda path, body: 0
    assert [sent.status for sent in sync().runs] == ["sent"]


def test_a_journal_keeps_real_room_for_its_last_record_until_it_is_closed(mlops_home: Path) -> None:
    written = Journal.create(Start(1, "k", "e", "n", 1, "ada", {}))
    kept = (written.folder / folders.RESERVE).stat()
    assert kept.st_blocks * 512 >= 1 << 14
    assert written.append_last(End("FINISHED", 2))
    written.close()
    assert not (written.folder / folders.RESERVE).exists()


def test_a_run_whose_disk_is_full_ends_as_it_ended(server: TrackingServer, experiment: str) -> None:
    # A limit on the size of files refuses the write as a full disk does, and no reserve helps against it.
    program = f"""
import os, resource, signal, mlops_lab
from mlops_lab.tracking.journal import folders
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with mlops_lab.track(experiment={experiment!r}) as run:
    run.log_metric("m", 1.0)
    size = (run.folder / folders.JOURNAL).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200, size + 200))
    for step in range(100):
        run.log_metric("m", 2.0)
print("RUN", run.run_id)
print("NOTICES", run.progress().notices)
"""
    said = program_output(program)
    run_id = said.split()[1]
    assert "File too large" in said, "the reason of the loss is named"
    assert "slow" not in said
    assert server.get_run(run_id)["info"]["status"] == "FINISHED"
    sync()
    assert server.get_run(run_id)["info"]["status"] == "FINISHED"


def test_a_second_interrupt_loses_neither_the_end_nor_the_journal(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    program = f"""
import os, signal, sys, threading, mlops_lab
import mlflow
try:
    with mlops_lab.track(experiment={experiment!r}) as run:
        mlflow.log_metric("a", 1.0)
        print("RUN", run.run_id, flush=True)
        sys.stdin.readline()
        for wait in (1.0, 2.0, 3.0):
            threading.Timer(wait, os.kill, (os.getpid(), signal.SIGINT)).start()
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(60)
except KeyboardInterrupt:
    print("STATUS", run.status, flush=True)
os._exit(0)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdin
    assert process.stdout
    run_id = process.stdout.readline().split()[1]
    gateway.open.clear()  # from now on the server accepts and says nothing
    said, _ = process.communicate("go\n", timeout=120)
    assert said.split() == ["STATUS", "KILLED"]
    (folder,) = pending()
    last = [record for record, _ in segments.read(folder)][-1]
    assert isinstance(last, End)
    assert last.status == "KILLED"
    assert not last.lost

    gateway.open.set()
    assert [sent.status for sent in sync().runs] == ["sent"]
    assert server.get_run(run_id)["info"]["status"] == "KILLED"


def test_a_sync_beside_an_open_run_does_not_say_that_the_server_has_everything(
    server: TrackingServer, experiment: str
) -> None:
    with track(experiment=experiment):
        said = str(sync())
    assert "1 run is still open" in said
    assert "has every run" not in said


def test_a_gateway_that_takes_only_small_requests_gets_small_ones(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    gateway.refuse = lambda path, body: 413 if len(body) > 4000 else 0
    folder = journal_of(experiment, "run", 1, *points(300), End("FINISHED", 9))
    projector = Projector(folder, lambda: TrackingServer(gateway.uri))
    assert projector.push()
    assert len(history(server, projector.position.run_id, "loss")) == 300
    assert not (folder / folders.QUARANTINE).exists()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_starts_again_is_waited_for_and_nothing_is_set_aside(
    server: TrackingServer, gateway: Gateway, experiment: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("mlops_lab.tracking.recording.LAST_ANSWER", 60.0)
    gateway.retry_after = "1"
    left = [status] * 3
    gateway.refuse = lambda path, body: left.pop() if left and "log-batch" in path else 0
    with track(experiment=experiment) as run:
        for _ in range(20):
            run.log_metric("loss", 0.5)
    assert left == []
    assert run.run_id
    assert len(history(server, run.run_id, "loss")) == 20
    assert server.get_run(run.run_id)["info"]["status"] == "FINISHED"
    assert not (run.folder / folders.QUARANTINE).exists()


def test_a_server_that_asks_to_be_left_alone_is_and_nobody_waits_for_it(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    asked: list[str] = []

    def refuse(path: str, body: bytes) -> int:
        asked.append(path)
        return 503

    gateway.refuse, gateway.retry_after = refuse, "3600"
    with track(experiment=experiment) as run:
        run.log_metric("loss", 0.5)
    assert len(asked) == 1
    assert any("kept on this computer" in notice for notice in run.notices)

    gateway.refuse = lambda path, body: 0
    assert [sent.status for sent in sync().runs] == ["sent"]


@pytest.mark.parametrize("status", [400, 413, 418])
def test_what_a_gateway_refuses_is_sent_later(
    server: TrackingServer, gateway: Gateway, experiment: str, status: int
) -> None:
    gateway.refuse = lambda path, body: status if "log-batch" in path else 0
    folder = journal_of(experiment, "run", 1, *points(50), End("FINISHED", 9))
    projector = Projector(folder, lambda: TrackingServer(gateway.uri))
    with pytest.raises(Unreachable, match=f"HTTP {status}"):
        projector.push()
    assert not (folder / folders.QUARANTINE).exists()

    gateway.refuse = lambda path, body: 0
    assert projector.push()
    assert len(history(server, projector.position.run_id, "loss")) == 50


def test_a_file_that_a_gateway_refuses_waits_and_the_run_ends_all_the_same(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    gateway.refuse = lambda path, body: 413 if "mlflow-artifacts" in path else 0
    written = Journal.create(Start(1, f"k-{experiment}", experiment, "run", 1, "ada", {}))
    staged = written.stage_text("weights", "weights.txt")
    assert staged
    for record in (Artifact(staged, "weights.txt"), *points(5), End("FINISHED", 9)):
        written.append(record)
    written.close()

    (waiting,) = sync().runs

    assert waiting.status == "waiting"
    assert waiting.run_id
    assert "413" in waiting.message
    assert server.get_run(waiting.run_id)["info"]["status"] == "FINISHED"
    assert len(history(server, waiting.run_id, "loss")) == 5
    assert not (written.folder / folders.QUARANTINE).exists()

    gateway.refuse = lambda path, body: 0
    assert [sent.status for sent in sync().runs] == ["sent"]
    assert "weights.txt" in artifacts(server, waiting.run_id)
    assert pending() == []

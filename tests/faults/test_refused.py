"""What a server refuses, or stumbles over, is set aside and shown, and keeps nothing else back."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import preview, sync
from mlops_lab.tracking.journal import folders
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import Artifact, End, Input, Param, Quarantined, Start, Tag
from mlops_lab.tracking.projection.synchronise import pending
from tests.faults.gateway import Gateway
from tests.faults.test_sender import STARTED, left_behind, points, runs_in
from tests.unit.test_tracking_block import artifacts, history, tags


def test_many_points_of_a_bad_name_cost_a_handful_of_requests(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    asked: list[str] = []
    gateway.before = lambda path, body: asked.append(path)
    mixed = [record for pair in zip(points("bad?name", 3000), points("loss", 3000), strict=True) for record in pair]
    written = left_behind(experiment, "r", *mixed)

    said = sync()
    assert [run.status for run in said.runs] == ["sent"], said

    (run_id,) = runs_in(server, experiment)
    assert len(history(server, run_id, "loss")) == 3000
    assert len(asked) < 100
    assert tags(server.get_run(run_id))["mlops_lab.refused"] == "3000"
    assert len((written.folder / folders.QUARANTINE).read_bytes().splitlines()) == 1000


def test_what_was_refused_is_shown_at_the_server_with_its_reason(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    left_behind(
        experiment,
        "r",
        *points("loss", 5),
        *points("bad?name", 1),
        Param("lr", "0.1"),
        Param("lr", "0.2"),
        Tag("long", "x" * 9000),
        Input("brain", "d" * 37, "local", "{}", {}),
        Artifact("artifacts/0001/gone.txt", "gone.txt"),
        *points("late", 5),
    )
    said = sync()
    assert [run.status for run in said.runs] == ["sent"], said
    (run_id,) = runs_in(server, experiment)
    stored = server.get_run(run_id)
    assert tags(stored)["mlops_lab.refused"] == "5"
    assert len(history(server, run_id, "late")) == 5
    listed = server.download_artifact(run_id, "mlops_lab/refused.jsonl", tmp_path / "refused.jsonl")
    refused = [msgspec.json.decode(line, type=Quarantined) for line in listed.read_bytes().splitlines()]
    names = [entry.entry.get("key") or entry.entry["name"] for entry in refused]
    assert sorted(names) == ["bad?name", "brain", "gone.txt", "long", "lr"]
    assert len(tags(stored)["long"]) == 8000
    assert all(entry.reason for entry in refused)
    reasons = dict(zip(names, (entry.reason for entry in refused), strict=True))
    assert "Names may only contain" in reasons["bad?name"]
    assert "the whole value stands here" in reasons["long"]
    assert "Changing param values" in reasons["lr"]


def test_an_entry_that_breaks_the_server_every_time_is_set_aside_and_a_server_in_trouble_is_not(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    left_behind(experiment, "r", *points("loss", 100), Tag("poison", "drop table"), *points("late", 100))
    gateway.refuse = lambda path, body: 500 if b"poison" in body and "log-batch" in path else 0
    said = sync()
    assert [run.status for run in said.runs] == ["sent"], said
    (run_id,) = runs_in(server, experiment)
    assert (len(history(server, run_id, "loss")), len(history(server, run_id, "late"))) == (100, 100)
    assert tags(server.get_run(run_id))["mlops_lab.refused"] == "1"

    second = left_behind(f"{experiment}-2", "r", *points("loss", 100))
    gateway.refuse = lambda path, body: 500 if "log-batch" in path else 0
    assert [run.status for run in sync().runs] == ["waiting"]
    assert not (second.folder / folders.QUARANTINE).exists()


def refused_in(folder: Path) -> dict[str, str]:
    """What was set aside of a run: name and reason."""
    lines = (folder / folders.QUARANTINE).read_bytes().splitlines()
    found = [msgspec.json.decode(line, type=Quarantined) for line in lines]
    return {one.entry["name"] if "name" in one.entry else one.entry["key"]: one.reason for one in found}


def test_a_file_whose_name_the_server_stumbles_over_arrives_under_another_and_keeps_nothing_back(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    written = Journal.create(Start(1, f"bad-{experiment}", experiment, "bad", STARTED, "ada", {}))
    for text, folder, name in (
        ("a file", "", "fd"),
        ("below a file", "fd", "x"),  # MLflow answers 500
        ("a newline", "", "con\n.txt"),  # no address that MLflow knows: 404 and a page
        ("no part between", "a//b", "y"),
        ("outside", "../..", "z"),
        ("later", "", "later.txt"),
    ):
        staged = written.stage_text(text, name)
        assert staged
        written.append(Artifact(staged, name, folder))
    written.append(End("FINISHED", STARTED + 1))
    written.close()
    left_behind(experiment, "healthy", *points("loss", 3), texts=1)

    said = sync()
    assert [run.status for run in said.runs] == ["sent", "sent"], said

    ids = {run.name: run.run_id for run in said.runs}
    assert ids["healthy"]
    assert ids["bad"]
    assert artifacts(server, ids["healthy"]) == {"texts"}
    assert artifacts(server, ids["bad"]) == {"fd", "con_.txt", "a", "later.txt", "renamed", "mlops_lab"}
    got = server.download_artifact(ids["bad"], "renamed/0002/x", tmp_path / "x")
    assert got.read_text() == "below a file"
    assert server.download_artifact(ids["bad"], "con_.txt", tmp_path / "con").read_text() == "a newline"
    refused = refused_in(written.folder)
    assert set(refused) == {"x", "con\n.txt", "y", "z"}
    assert "it is there as renamed/0002/x" in refused["x"]
    assert tags(server.get_run(ids["bad"]))["mlops_lab.refused"] == "4"
    assert pending() == []


def test_a_file_that_passes_under_no_name_waits_alone(
    server: TrackingServer, gateway: Gateway, experiment: str
) -> None:
    written = left_behind(experiment, "r", *points("loss", 3), texts=2)
    left_behind(experiment, "other", *points("loss", 3), texts=2)
    gateway.refuse = lambda path, body: 500 if "mlflow-artifacts" in path and body == b"text 0" else 0
    said = sync()
    assert [run.status for run in said.runs] == ["waiting", "waiting"], said
    for run in said.runs:
        assert run.run_id
        assert [file["path"] for file in server.list_artifacts(run.run_id, "texts")] == ["texts/1.txt"]
    assert not (written.folder / folders.QUARANTINE).exists(), "it may be the store that is in trouble"

    shown, _ = preview()
    assert shown.state == "FINISHED", "the server has the end; only a file waits"
    (file,) = shown.files
    assert (file.name, Path(file.path).read_text()) == ("texts/0.txt", "text 0")

    gateway.refuse = lambda path, body: 0
    said = sync()
    assert [run.status for run in said.runs] == ["sent", "sent"], said


def test_a_run_is_created_without_what_would_keep_it_from_being_created(
    server: TrackingServer, experiment: str
) -> None:
    name = experiment + "x" * 600
    unfit = {"mlflow.runName": "zz", "a" * 300: "1", "": "2", "note": "x" * 9000, "ward": "7"}
    written = Journal.create(Start(1, f"r-{experiment}", name, "r" * 300, STARTED, "ada", unfit))
    written.append(End("FINISHED", STARTED + 1))
    written.close()
    (shown,) = preview()

    said = sync()
    (sent,) = said.runs
    assert (sent.status, sent.experiment, sent.redirected) == ("sent", name[:500], False), said

    (run_id,) = runs_in(server, name[:500])
    stored = server.get_run(run_id)
    assert stored["info"]["run_name"] == "r" * 250
    assert tags(stored).items() >= shown.tags.items(), "what was shown is what was sent"
    assert (tags(stored)["ward"], tags(stored)["note"]) == ("7", "x" * 8000)
    assert set(refused_in(written.folder)) == {"experiment", "run name", "mlflow.runName", "a" * 300, "", "note"}

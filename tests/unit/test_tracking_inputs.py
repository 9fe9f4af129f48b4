"""What users hand to a run is not always what MLflow takes: nothing of it may end a training or vanish in silence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import numpy
import pytest
import torch

from mlops_lab.connection import tags as names
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import active_run, sync, track
from mlops_lab.tracking.errors import NoJournalPlace
from mlops_lab.tracking.journal import folders, segments
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import Start, Tag
from tests.unit.test_tracking_block import artifacts, history, params, tags


def test_steps_of_every_integer_like_kind_arrive(server: TrackingServer, experiment: str) -> None:
    given = [numpy.int64(3), torch.tensor(4), 5.0, "6", True]
    with track(experiment=experiment) as run:
        for step in given:
            run.log_metric("m", 0.5, step=step)  # type: ignore[arg-type]
    assert run.run_id
    assert sorted(step for step, _ in history(server, run.run_id, "m")) == [1, 3, 4, 5, 6]
    assert run.notices == []


def test_values_of_every_number_like_kind_arrive_and_the_rest_is_named(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment) as run:
        for value in (numpy.float32(1), torch.tensor(2.0), Decimal("1.5"), "x", None, 1 + 2j, 10**400):
            run.log_metric("m", value)  # type: ignore[arg-type]
        run.log_metric("s", 1.0, step=2**70)
        run.log_metric("s", 2.0, step="later")  # type: ignore[arg-type]
    assert run.run_id
    assert [value for _, value in history(server, run.run_id, "m")] == [1.0, 2.0, 1.5]
    assert [step for step, _ in history(server, run.run_id, "s")] == [1, 2]
    said = " ".join(run.notices)
    assert "x is no number" in said
    assert "None is no number" in said
    assert "later of s is no step" in said


def test_names_and_values_that_are_no_text_are_made_text(server: TrackingServer, experiment: str) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with track(experiment=experiment, tags={"folder": "caf\udce9"}, run_name="half \udc80") as run:
        run.log_param(3, 1)  # type: ignore[arg-type]
        run.log_param("p", "a\udcffb")
        run.log_param("object", Broken())
        run.log_metric(7, 1.0)  # type: ignore[arg-type]
        run.set_tag("t\udc80", "v\udc80")
        run.log_text("text \udc80", "note \udc80.txt")
        run.progress()
    assert run.run_id
    stored = server.get_run(run.run_id)
    assert stored["info"]["status"] == "FINISHED"
    found = params(stored)
    assert (found["3"], found["p"], found["object"]) == ("1", r"a\udcffb", "<Broken>")
    assert history(server, run.run_id, "7") == [(1, 1.0)]
    assert tags(stored)["folder"] == r"caf\udce9"
    # MLflow takes no backslash in a key: the one entry is set aside and named, with the place where it is kept.
    (notice,) = [sentence for sentence in run.progress().notices if "refused" in sentence]
    assert "1 entry" in notice
    assert str(run.folder / folders.QUARANTINE) in notice


def test_a_record_of_any_text_can_be_written_and_read(mlops_home: Path) -> None:
    written = Journal.create(Start(1, "k", "e\udc80", "n", 1, "ada", {"a\udc80": "b\udc80"}))
    written.append(Tag("path", "caf\udce9"))
    written.close()
    first, last = (record for record, _ in segments.read(written.folder))
    assert isinstance(first, Start)
    assert (first.experiment, first.tags) == (r"e\udc80", {r"a\udc80": r"b\udc80"})
    assert last == Tag("path", r"caf\udce9")


def test_a_folder_is_uploaded_with_all_it_holds(server: TrackingServer, experiment: str, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.txt").write_text("b")
    with track(experiment=experiment) as run:
        run.log_artifact(folder)
        run.log_artifact(folder, "by/hand")
    assert run.run_id
    assert "plots" in artifacts(server, run.run_id)
    assert {file["path"] for file in server.list_artifacts(run.run_id, "plots")} == {"plots/a.txt", "plots/deep"}
    assert server.download_artifact(run.run_id, "by/hand/plots/deep/b.txt", tmp_path / "b").read_text() == "b"
    assert run.progress().notices == []


def test_logging_to_a_run_that_is_over_says_so_at_once(
    server: TrackingServer, experiment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with track(experiment=experiment) as run:
        run.log_metric("m", 1.0)
    capsys.readouterr()
    run.log_metric("m", 2.0)
    run.log_param("p", 1)
    run.log_text("t", "t.txt")
    said = capsys.readouterr().err
    assert said.count("is over") == 1
    assert "disk" not in " ".join(run.progress().notices)
    assert run.progress().metrics == {"m": 1.0}


def test_blocks_in_threads_keep_to_their_own_run(server: TrackingServer, experiment: str) -> None:
    both = threading.Barrier(2)
    made: dict[int, str] = {}

    def job(number: int) -> None:
        with track(experiment=experiment, run_name=f"job {number}") as run:
            both.wait(60)
            for _ in range(50):
                current = active_run()
                assert current is not None
                current.log_metric("m", number)
            both.wait(60)
        assert run.run_id
        made[number] = run.run_id

    threads = [threading.Thread(target=job, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert active_run() is None
    for number in (0, 1):
        assert history(server, made[number], "m") == [(step, float(number)) for step in range(1, 51)]


def test_a_thread_without_a_block_belongs_to_the_main_threads_block(server: TrackingServer, experiment: str) -> None:
    seen: list[object] = []
    ready, done = threading.Event(), threading.Event()

    def other() -> None:
        with track(experiment=experiment) as own:
            assert active_run() is own
            ready.set()
            done.wait(60)

    with track(experiment=experiment) as run:
        worker = threading.Thread(target=other)
        worker.start()
        assert ready.wait(60)
        loader = threading.Thread(target=lambda: seen.append(active_run()))
        loader.start()
        loader.join()
        done.set()
        worker.join()
        assert active_run() is run
    assert seen == [run]


def test_a_read_only_home_is_said_before_the_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Below a file no folder can be made, whoever asks; a read-only disk answers in the same way.
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLOPS_LAB_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(NoJournalPlace, match="cannot be written"), track(offline=True):
        pytest.fail("the body ran")


def test_a_folder_deleted_under_the_process_costs_only_the_commit(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    program = f"""
import os, mlops_lab
os.mkdir({str(tmp_path / "gone")!r}); os.chdir({str(tmp_path / "gone")!r}); os.rmdir(os.getcwd())
with mlops_lab.track(experiment={experiment!r}) as run:
    run.log_metric("m", 1.0)
print("RUN", run.run_id)
"""
    script = tmp_path / "train.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "was deleted" in done.stderr
    assert history(server, done.stdout.split()[1], "m") == [(1, 1.0)]


@pytest.mark.parametrize("name", ["a'b", "täglich#1", "a//b/", "plain-1.2 :x"])
def test_every_dataset_name_makes_a_tag_that_the_server_takes(
    server: TrackingServer, experiment: str, name: str
) -> None:
    with track(experiment=experiment) as run:
        run.set_tags({names.data_version(name): "v1", names.data_md5(name): "m"})
    assert run.run_id
    found = tags(server.get_run(run.run_id))
    assert (found[names.data_version(name)], found[names.data_md5(name)]) == ("v1", "m")
    assert sync().runs == []

"""When there is too little room: what goes first is defined, counted and shown, and training never hears of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import screening, sync
from mlops_lab.tracking.journal import checkpoints, folders, remains, retention, segments, staging
from mlops_lab.tracking.journal.room import Watch
from mlops_lab.tracking.journal.snapshots import Shelf
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import Artifact, End, Metric, Param, Position, Staged, Start, Tag
from mlops_lab.tracking.projection.projector import Projector
from mlops_lab.tracking.projection.synchronise import pending
from tests.conftest import missing
from tests.faults.nursery import Nursery, kill
from tests.unit.test_tracking_block import history, params, tags

MB = 1_000_000


@pytest.fixture(autouse=True)
def quick_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the journals take is counted anew each time."""
    monkeypatch.setattr(retention, "CHECK_EVERY", 0.0)


def begun(key: str, experiment: str = "e") -> Journal:
    return Journal.create(Start(1, key, experiment, key, int(time.time() * 1000), "ada", {}))


def stage(written: Journal, source: Path, name: str, size: int) -> str | None:
    source.write_bytes(os.urandom(size))
    staged = written.stage(source, name)
    if staged is not None:
        written.append(Artifact(staged, name, "files"))
    return staged


def mark_complete(written: Journal, when: float) -> None:
    written.append(End("FINISHED", 1))
    written.close()
    *_, (_, offset) = segments.read(written.folder)
    path = written.folder / folders.POSITION
    path.write_bytes(msgspec.json.encode(Position(ended=True, offset=offset)))
    os.utime(path, (when, when))


def with_checkpoints(written: Journal, *kept: tuple[str, str, int]) -> list[Path]:
    """End a run that kept checkpoints of 3 MB: name, why, and when it was saved."""
    top = written.folder / checkpoints.PLACE
    top.mkdir()
    index = checkpoints.Index()
    for number, (name, why, saved) in enumerate(kept, start=1):
        (top / str(number)).write_bytes(os.urandom(3 * MB))
        index.files.append(checkpoints.Entry(name, 3 * MB, 0, saved, why, f"{checkpoints.PLACE}/{number}"))
    records = checkpoints.hand_over(written.folder, index)
    for record in (*records, End("FINISHED", 1)):
        written.append(record)
    written.close()
    return [written.folder / record.file for record in records[:-1]]


def test_what_costs_nothing_goes_first_and_the_best_checkpoints_last(
    mlops_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "100 MB")
    source = tmp_path / "source"
    older, newer = begun("older"), begun("newer")
    for number, done in enumerate((newer, older)):
        assert stage(done, source, "weights.pt", 3 * MB)
        mark_complete(done, time.time() - 1000 * (number + 1))
    (only,) = with_checkpoints(begun("one"), ("net.pt", "last", 10))
    best, last = with_checkpoints(begun("two"), ("best.pt", "best", 20), ("last.pt", "last", 30))
    open_run, other = begun("open"), begun("other")
    small = stage(open_run, source, "notes.txt", 10_000)
    image = stage(other, source, "image.nii", 4 * MB)
    volume = stage(open_run, source, "volume.nii", 6 * MB)
    files = {
        "older": older.folder / "artifacts",
        "newer": newer.folder / "artifacts",
        "last beside a best": last,
        "volume": open_run.folder / str(volume),
        "image": other.folder / str(image),
        "only checkpoint": only,
        "best": best,
    }
    assert all(path.exists() for path in files.values())

    gone: list[str] = []
    for quota in range(32, 0, -1):
        monkeypatch.setenv("MLOPS_LAB_QUOTA", f"{quota} MB")
        retention.free_up()
        gone += [name for name, path in files.items() if not path.exists() and name not in gone]

    assert gone == list(files)
    assert (open_run.folder / str(small)).exists()
    assert staging.mark_of(best) == "thinned"
    assert folders.thinned(best.parents[2]).files == 2
    assert "1 file (6 MB)" in open_run.troubles()[0]
    open_run.close()
    other.close()


def test_a_checkpoint_that_is_the_users_own_file_takes_no_room(
    mlops_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "5 MB")
    (tmp_path / "net.pt").write_bytes(os.urandom(9 * MB))
    written = begun("k")
    assert Shelf(written.folder, retention.room_for, print).take(tmp_path / "net.pt")
    assert not retention.short()
    (tmp_path / "net.pt").unlink()
    assert retention.short(), "now it is ours alone"
    written.close()


def test_what_a_dead_process_had_not_looked_through_stays_and_is_found_though_the_rest_was_sent(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "1 MB")
    written = begun("k" + experiment, experiment)
    screening.note_origin(written.folder, None, [])
    for step in range(5_000):
        written.append(Metric("loss", 0.5, step, step))
        if step == 1000:
            staged = written.stage_text("what was thought of it", "notes.txt")
            assert staged
            written.append(Staged(staged, "notes.txt"))
        if step % 100 == 0:
            written.look_after()
    written.append(End("FINISHED", 5_000))
    written.close()
    Projector(written.folder, lambda: server).push()
    assert pending() == [written.folder]

    monkeypatch.setenv("MLOPS_LAB_QUOTA", "100 kB")
    retention.free_up()
    assert len(segments.listed(written.folder)) == 2, "the server has the others"
    assert [run.status for run in sync().runs] == ["sent"]
    run_id = folders.position(written.folder).run_id
    assert "notes.txt" in {file["path"] for file in server.list_artifacts(run_id)}
    assert pending() == []


def test_a_file_for_which_there_is_no_room_is_refused_and_counted(
    mlops_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "5 MB")
    written = begun("k")
    first = stage(written, tmp_path / "source", "monday.nii", 3 * MB)
    second = stage(written, tmp_path / "source", "tuesday.nii", 3 * MB)
    assert first
    assert second, "the older one made room for it"
    assert staging.mark_of(written.folder / first) == "thinned"
    assert stage(written, tmp_path / "source", "huge.nii", 8 * MB) is None
    assert written.lost_files == 1
    assert "quota of 5 MB" in written.troubles()[0]
    written.close()


@pytest.mark.parametrize("end", ["FINISHED", "killed"])
def test_whatever_a_run_leaves_here_is_for_its_owner_only(
    server: TrackingServer, experiment: str, mlops_home: Path, nursery: Nursery, tmp_path: Path, end: str
) -> None:
    (tmp_path / "shared.csv").write_text("x")
    (tmp_path / "shared.csv").chmod(0o644)
    nursery.start(f"""
import os, signal, time, torch, mlops_lab
from mlops_lab.tracking.journal import retention
os.umask(0)
network = torch.nn.Linear(2, 1)
with mlops_lab.track(experiment={experiment!r}) as run:
    run.log_metric("bad?name", 1.0)
    run.log_deferred("late", lambda wait: 1.0)
    run.log_artifact({str(tmp_path / "shared.csv")!r})
    run.log_text("x", "notes/x.txt")
    for epoch in range(2):
        torch.save(network.state_dict(), {str(tmp_path / "net.pt")!r})
        run.log_metric("val_dice", 0.1 * epoch)
    run._journal._limit = 1
    time.sleep(1)
    run.log_metric("loss", 1.0)
    if {end!r} == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
""")
    assert (nursery.wait() == 0) == (end == "FINISHED")
    nursery.start("import os; os.umask(0); from mlops_lab.tracking import sync; sync()")
    assert nursery.wait() == 0
    (folder,) = folders.journals().iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"artifacts", "checkpoints", folders.JOURNAL, folders.POSITION, folders.QUARANTINE} <= names
    assert len(segments.listed(folder)) > 1
    open_to_others = [path for path in mlops_home.rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_journals_that_wait_for_days_are_thinned_evenly_and_the_run_says_so(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "1 MB")
    written = begun("k" + experiment, experiment)
    written.append(Param("lr", "0.1"))
    for step in range(20_000):
        written.append(Metric("loss", 1e6 if step == 12_345 else 1 / (step + 1), step, step))
        if step % 4 == 0:
            written.append(Metric("system/cpu_percentage", 50.0, step, step))
        if step % 500 == 0:
            written.append(Metric("val_dice", step / 20_000, step, step))
            written.look_after()
            retention.free_up() if retention.short() else None
    written.append(Tag("after", "yes"))
    written.append(End("FINISHED", 20_000))
    said = written.troubles()
    written.close()

    assert retention.short() is False
    points = [record for record, _ in segments.read(written.folder) if isinstance(record, Metric)]
    gone = folders.thinned(written.folder)
    assert len(points) + gone.points == 20_000 + 5_000 + 40
    assert f"{gone.points} points" in said[0]

    assert [run.status for run in sync().runs] == ["sent"]
    run_id = folders.position(written.folder).run_id
    stored = server.get_run(run_id)
    loss = history(server, run_id, "loss")
    assert loss == [(point.step, point.value) for point in points if point.key == "loss"], "once and in order"
    assert {(0, 1.0), (12_345, 1e6), (19_999, 1 / 20_000)} <= set(loss)
    assert len(loss) < 12_000
    assert len(history(server, run_id, "val_dice")) == 40
    assert len(history(server, run_id, "system/cpu_percentage")) < 2700, "what is measured of the machine goes first"
    assert params(stored) == {"lr": "0.1"}
    assert tags(stored)["after"] == "yes"
    assert tags(stored)["mlops_lab.thinned.points"] == str(gone.points)
    assert stored["info"]["status"] == "FINISHED"


def test_records_that_the_server_has_go_before_any_that_it_has_not(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "1 MB")
    written = begun("k" + experiment, experiment)
    projector = Projector(written.folder, lambda: server)
    for step in range(30_000):
        written.append(Metric("loss", 0.5, step, step))
        if step % 250 == 0:
            written.look_after()
        if step % 5_000 == 0:
            projector.push_entries()
            retention.free_up() if retention.short() else None
    written.append(End("FINISHED", 30_000))
    written.close()
    assert projector.push()
    assert not folders.thinned(written.folder)
    assert len(history(server, projector.position.run_id, "loss")) == 25_000, "as many as one answer holds"
    (last,) = server.get_run(projector.position.run_id)["data"]["metrics"]
    assert last["step"] == 29_999


def test_a_complete_run_is_cleared_after_its_days_and_a_living_one_never(mlops_home: Path) -> None:
    old = time.time() - (retention.KEEP_DAYS + 1) * 86400
    complete, fresh = begun("complete"), begun("fresh")
    mark_complete(complete, old)
    mark_complete(fresh, time.time())
    waiting, living = begun("waiting"), begun("living")
    waiting.close()
    os.utime(waiting.folder / folders.JOURNAL, (old, old))

    retention.clear_old()

    left = {folder.name for folder in folders.journals().iterdir()}
    assert left == {"fresh", "waiting", "living"}
    assert not remains.abandoned(living.folder)
    living.close()


def test_the_keeper_has_room_made_by_another_process(mlops_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "1 MB")
    written = begun("k")
    for step in range(20_000):
        written.append(Metric("loss", 0.5, step, step))
        if step % 200 == 0:
            written.look_after()
    assert retention.short()
    watch = Watch(written.folder)
    watch.look()
    assert watch._child is not None
    assert watch._child.wait(60) == 0
    assert not retention.short()
    assert folders.thinned(written.folder).points > 0
    written.close()


def test_a_thinner_that_is_killed_at_any_moment_takes_nothing_that_stays(
    mlops_home: Path, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "1 MB")
    written = begun("k")
    values = [1e6 if step == 12_345 else 1 / (step + 1) for step in range(30_000)]
    for step, value in enumerate(values):
        written.append(Metric("loss", value, step, step))
        if step % 200 == 0:
            written.look_after()
    written.append(Param("lr", "0.1"))
    generator = random.Random(7)
    for deaths in range(200):
        pid = nursery.start("from mlops_lab.tracking.journal import retention; retention.free_up()")
        time.sleep(generator.uniform(0, 0.1 + 0.01 * deaths))
        kill(pid)
        if nursery.wait() == 0:
            break
    assert deaths
    written.close()

    records = [record for record, _ in segments.read(written.folder)]
    points = [(record.step, record.value) for record in records if isinstance(record, Metric)]
    assert points == sorted(set(points)), "once and in order"
    assert set(points) <= set(enumerate(values))
    assert {(0, 1.0), (12_345, 1e6), (29_999, 1 / 30_000)} <= set(points)
    assert records[-1] == Param("lr", "0.1")
    assert len(points) + folders.thinned(written.folder).points >= 30_000, "counted, rather too much than too little"
    assert not list(written.folder.glob("*.partial"))
    assert not retention.short()


ON_A_SMALL_DISK = """
import os, sys, time, mlops_lab
from mlops_lab.tracking import sync
experiment, there = sys.argv[1:]
os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
with mlops_lab.track(experiment=experiment, params={"lr": 0.1}) as run:
    for step in range(60_000):
        run.log_metric("loss", 1e6 if step == 30_000 else 1 / (step + 1), step)
        if step % 1000 == 0:
            time.sleep(0.2)
    run.set_tag("after", "yes")
print("NOTICES", *run.progress().notices, sep="\\n")
print("LOST", run._journal.lost)
os.environ["MLFLOW_TRACKING_URI"] = there
(sent,) = sync().runs
print("RUN", sent.status, sent.run_id)
"""


def test_a_run_on_a_disk_that_is_far_too_small_ends_well_and_accounts_for_every_point(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    mount = f'mount -t tmpfs -o size=4m tmpfs "{disk}" && exec "$@"'
    command = ["unshare", *root, "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", ON_A_SMALL_DISK]
    try:
        done = subprocess.run(
            [*command, experiment, server.uri],
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, "MLOPS_LAB_HOME": str(disk / "home")},
        )
    except FileNotFoundError:
        missing("unshare", "install util-linux: the test mounts a disk of 4 MB for itself")
    if "mount" in done.stderr and done.returncode:
        missing("The right to mount a small file system", f"run as root ({done.stderr.strip()})")
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout
    assert "RUN sent" in said, said
    run_id = said.split()[-1]
    stored = server.get_run(run_id)
    answer = server.get("metrics/get-history", {"run_id": run_id, "metric_key": "loss", "max_results": 25000})
    points = answer["metrics"]
    while token := answer.get("next_page_token"):
        query = {"run_id": run_id, "metric_key": "loss", "max_results": 25000, "page_token": token}
        answer = server.get("metrics/get-history", query)
        points += answer["metrics"]
    found = [(int(point.get("step", 0)), point["value"]) for point in points]
    assert found == sorted(set(found)), "once and in order"
    assert {(0, 1.0), (30_000, 1e6), (59_999, 1 / 60_000)} <= set(found)
    assert params(stored)["lr"] == "0.1"
    assert tags(stored)["after"] == "yes"
    assert stored["info"]["status"] == "FINISHED"
    assert "There was no room for the whole run" in said
    gone = int(tags(stored)["mlops_lab.thinned.points"])
    lost = int(tags(stored).get("mlops_lab.lost.records", "0"))
    assert len(found) + gone + lost == 60_000
    print(said)

"""Checkpoints of a block: the best and the last file survive being written over, and nothing else leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset, PersistentDataset
from monai.handlers import CheckpointSaver

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import Run, sync, track
from mlops_lab.tracking.capture.checkpoints import saves as checkpoints
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Artifact


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals and checkpoints of these tests stay in the test's folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def block(**options: Any) -> Any:
    return track(experiment="checkpoints", offline=True, **options)


class Training:
    """A network of one weight, which says how often it was trained."""

    def __init__(self) -> None:
        self.net = torch.nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.0)

    def epoch(self, number: int) -> None:
        for _ in range(2):
            self.optimizer.zero_grad()
            loss: Any = self.net(torch.ones(1, 1)).sum()
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            self.net.weight.fill_(float(number))

    def state(self) -> Any:
        return self.net.state_dict()


def kept(run: Run) -> dict[str, float]:
    """What was handed over for upload: name among the artifacts and weight inside."""
    found = {}
    for record, _ in segments.read(run.folder):
        if isinstance(record, Artifact) and record.folder == "checkpoints" and record.name != "index.json":
            found[record.name] = weight_in(run.folder / record.file)
    return found


def weight_in(path: Path) -> float:
    loaded: Any = torch.load(path, weights_only=True)
    while "weight" not in loaded:
        loaded = next(value for value in loaded.values() if isinstance(value, dict))
    return float(loaded["weight"])


def index_of(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "checkpoints" / "index.json").read_text())
    return found


def test_the_best_model_of_a_tutorial_is_at_the_server_as_it_was_saved_last(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    training, best = Training(), -1.0
    with track(experiment=experiment) as run:
        for epoch, dice in enumerate((0.3, 0.6, 0.5, 0.7, 0.2), start=1):
            training.epoch(epoch)
            run.log_metric("val_dice", dice)
            if dice > best:
                best = dice
                torch.save(training.state(), "best_metric_model.pth")
    assert run.run_id
    assert {entry["path"] for entry in server.list_artifacts(run.run_id, "checkpoints")} == {
        "checkpoints/best_metric_model.pth",
        "checkpoints/index.json",
    }
    there = server.download_artifact(run.run_id, "checkpoints/best_metric_model.pth", tmp_path / "there.pth")
    index = server.download_artifact(run.run_id, "checkpoints/index.json", tmp_path / "index.json")
    (entry,) = json.loads(index.read_text())["files"]
    assert weight_in(there) == weight_in(Path("best_metric_model.pth")) == 4.0
    assert there.read_bytes() == Path("best_metric_model.pth").read_bytes()
    assert entry["sha256"] == hashlib.sha256(there.read_bytes()).hexdigest()
    assert (entry["name"], entry["size"], entry["step"]) == ("best_metric_model.pth", there.stat().st_size, 8)
    assert entry["metrics"]["val_dice"] == 0.7


def test_of_a_file_per_epoch_the_best_and_the_last_are_kept() -> None:
    training = Training()
    with block() as run:
        for epoch, dice in enumerate((0.3, 0.8, 0.5, 0.7), start=1):
            training.epoch(epoch)
            run.log_metric("val_mean_dice", dice)
            torch.save({"model": training.state(), "epoch": epoch}, f"model_epoch_{epoch:03d}.pt")
            assert len(list((run.folder / "checkpoints").iterdir())) <= 3
    assert kept(run) == {"model_epoch_002.pt": 2.0, "model_epoch_004.pt": 4.0}
    assert [(entry["name"], entry["kept"]) for entry in index_of(run)["files"]] == [
        ("model_epoch_002.pt", "best"),
        ("model_epoch_004.pt", "last"),
    ]
    assert len(list(Path().glob("*.pt"))) == 4


def test_a_verdict_that_comes_after_the_file_was_saved_belongs_to_that_file() -> None:
    training = Training()
    with block() as run:
        for epoch, dice in enumerate((0.3, 0.8, 0.5), start=1):
            training.epoch(epoch)
            torch.save(training.state(), f"epoch_{epoch}.pt")
            run.log_metric("val_mean_dice", dice)
        training.epoch(4)
        torch.save(training.state(), "epoch_4.pt")
    assert kept(run) == {"epoch_2.pt": 2.0, "epoch_4.pt": 4.0}


def test_the_first_file_can_be_the_best_whether_it_is_judged_before_or_after_it_is_saved() -> None:
    for early in (True, False):
        training = Training()
        with block() as run:
            run.log_metric("val_dice", 0.95 if early else 0.1)  # of the weights that the training begins with
            for epoch, dice in enumerate((0.9, 0.5), start=1):
                training.epoch(epoch)
                if early:
                    run.log_metric("val_dice", dice)
                torch.save(training.state(), f"epoch_{epoch}.pt")
                if not early:
                    run.log_metric("val_dice", dice)
            training.epoch(3)
            torch.save(training.state(), "epoch_3.pt")
        assert kept(run) == {"epoch_1.pt": 1.0, "epoch_3.pt": 3.0}


def test_where_there_is_no_room_training_goes_on_and_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_LAB_QUOTA", "3 MB")
    with block() as run:
        torch.save({"layer.weight": torch.zeros(2_000_000)}, "large.pt")
        run.log_metric("after", 1.0)
    assert Path("large.pt").stat().st_size > 8_000_000
    assert kept(run) == {}
    assert any("large.pt is not kept" in notice and "quota" in notice for notice in run.notices)
    assert run.status == "FINISHED"


def test_what_mlflow_saves_of_a_model_is_no_checkpoint_beside_it() -> None:
    import mlflow.pytorch

    with block() as run:
        mlflow.pytorch.save_model(Training().net, "model", pip_requirements=[], serialization_format="pickle")
    assert Path("model", "MLmodel").exists()
    assert kept(run) == {}


def test_a_loss_is_best_where_it_is_smallest_and_the_first_metric_decides() -> None:
    training = Training()
    with block() as run:
        for epoch, (loss, accuracy) in enumerate(((0.9, 0.1), (0.2, 0.2), (0.5, 0.9)), start=1):
            training.epoch(epoch)
            run.log_metric("val_loss", loss)
            run.log_metric("val_accuracy", accuracy)
            torch.save(training.state(), "latest.pt")
    assert kept(run) == {"latest_best.pt": 2.0, "latest.pt": 3.0}
    assert index_of(run)["metric"] == "val_loss"


def test_two_networks_that_are_saved_side_by_side_are_both_kept() -> None:
    generator, discriminator = Training(), Training()
    with block() as run:
        for epoch in range(1, 4):
            generator.epoch(epoch)
            discriminator.epoch(-epoch)
            torch.save(generator.state(), "generator.pt")
            torch.save(discriminator.state(), "discriminator.pt")
    assert kept(run) == {"generator.pt": 3.0, "discriminator.pt": -3.0}


def test_images_that_are_saved_are_nobodys_checkpoint() -> None:
    data = [{"image": torch.full((1, 4, 4), float(number))} for number in range(3)]
    training = Training()
    with block() as run:
        cached = PersistentDataset(data=data, transform=lambda item: item, cache_dir="cache")
        assert [float(item["image"].mean()) for item in cached] == [0.0, 1.0, 2.0]
        torch.save({"pred": torch.zeros(4), "names": ["a"]}, "predictions.pt")
        torch.save(training.state(), "net.pt")
    assert len(list(Path("cache").iterdir())) == 3
    assert set(kept(run)) == {"net.pt"}


def test_monais_checkpoint_saver_is_seen(tmp_path: Path) -> None:
    training = Training()
    scores = iter((0.3, 0.8, 0.5))

    def step(engine: Engine, batch: Any) -> None:
        training.epoch(engine.state.epoch)

    trainer = Engine(step)
    saver = CheckpointSaver(
        save_dir="models",
        save_dict={"net": training.net, "opt": training.optimizer},
        save_final=True,
        save_key_metric=True,
        key_metric_name="val_dice",
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        engine.state.metrics["val_dice"] = next(scores)

    saver.attach(trainer)
    with block() as run:
        trainer.run([0], max_epochs=3)
    found = kept(run)
    assert [value for name, value in found.items() if "key_metric" in name] == [2.0]
    assert [value for name, value in found.items() if "final" in name] == [3.0]
    assert len(found) == 2


def test_a_saver_that_writes_aside_and_renames_gives_the_final_name() -> None:
    training = Training()
    with block() as run:
        for epoch in range(1, 4):
            training.epoch(epoch)
            torch.save(training.state(), "last.pt.tmp")
            os.replace("last.pt.tmp", "last.pt")
    assert kept(run) == {"last.pt": 3.0}


def test_paths_modes_and_links_of_the_user_are_as_without_us() -> None:
    training = Training()
    Path("elsewhere").mkdir()
    Path("link.pt").symlink_to("elsewhere/real.pt")
    with block() as run:
        for epoch in range(1, 3):
            training.epoch(epoch)
            torch.save(training.state(), "link.pt")
            torch.save(training.state(), "twice.pt")
            if epoch == 1:
                os.chmod("elsewhere/real.pt", 0o640)
                os.link("twice.pt", "second_name.pt")
    assert Path("link.pt").is_symlink()
    assert weight_in(Path("elsewhere/real.pt")) == 2.0
    assert Path("elsewhere/real.pt").stat().st_mode & 0o777 == 0o640
    assert weight_in(Path("second_name.pt")) == 2.0
    assert kept(run) == {"link.pt": 2.0, "twice.pt": 2.0}


def test_a_checkpoint_that_is_changed_in_place_by_others_is_not_taken_for_what_was_saved() -> None:
    training = Training()
    with block() as run:
        training.epoch(1)
        torch.save(training.state(), "first.pt")
        training.epoch(2)
        torch.save(training.state(), "second.pt")
        shutil.copyfile("second.pt", "first.pt")
    assert kept(run) == {"second.pt": 2.0}
    assert any("first.pt was changed" in notice for notice in run.notices)


def test_what_happens_to_the_path_after_the_block_does_not_reach_the_run() -> None:
    training = Training()
    with block() as run:
        training.epoch(1)
        torch.save(training.state(), "net.pt")
    training.epoch(9)
    torch.save(training.state(), "net.pt")
    assert kept(run) == {"net.pt": 1.0}


@pytest.fixture
def other_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which no hard link leads to the journals: another file system, where this computer has one."""
    memory = Path("/dev/shm")
    if memory.is_dir() and memory.stat().st_dev != tmp_path.stat().st_dev:
        place = memory / f"mlops-lab-test-{os.getpid()}"
        place.mkdir()
        yield place
        shutil.rmtree(place)
        return

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    yield tmp_path


def test_on_another_disk_a_file_is_copied_behind_the_training_and_not_torn(other_disk: Path) -> None:
    path = other_disk / "large.pt"
    weights = torch.zeros(4_000_000)
    with block() as run:
        for epoch in range(1, 6):
            weights.fill_(float(epoch))
            run.log_metric("val_dice", 1.0 / abs(epoch - 3.1))
            torch.save({"layer.weight": weights}, path)
    found = {
        record.name: torch.load(run.folder / record.file, weights_only=True)["layer.weight"]
        for record, _ in segments.read(run.folder)
        if isinstance(record, Artifact) and record.name.endswith(".pt")
    }
    assert {name: (float(data.min()), float(data.max())) for name, data in found.items()} == {
        "large_best.pt": (3.0, 3.0),
        "large.pt": (5.0, 5.0),
    }


def test_a_nested_run_that_writes_over_the_outer_ones_best_takes_nothing_from_it() -> None:
    training = Training()
    with block() as outer:
        training.epoch(1)
        torch.save(training.state(), "best.pt")
        with block() as inner:
            training.epoch(2)
            torch.save(training.state(), "best.pt")
    assert (kept(outer), kept(inner)) == ({"best.pt": 1.0}, {"best.pt": 2.0})


def test_switched_off_or_too_large_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training()
    with block(checkpoints=False) as run:
        torch.save(training.state(), "net.pt")
    assert not (run.folder / "checkpoints").exists()
    monkeypatch.setattr(checkpoints, "LARGEST", 100)
    with block() as run:
        torch.save(training.state(), "net.pt")
    assert kept(run) == {}
    assert any("net.pt" in notice and "not kept" in notice for notice in run.notices)


def test_torch_is_as_it_was_after_the_block_and_errors_are_torchs_own() -> None:
    before = torch.save, torch.serialization.save, torch.jit.save
    with block() as run:
        with pytest.raises(RuntimeError, match=r"Parent directory .* does not exist"):
            torch.save({}, "no/such/folder.pt")
        with pytest.raises(TypeError):
            torch.save({})  # type: ignore[call-arg]
        buffer: Any = open("by_hand.pt", "wb")  # noqa: SIM115, as users do
        torch.save(Training().state(), buffer)
        buffer.close()
    assert (torch.save, torch.serialization.save, torch.jit.save) == before
    assert run.notices[1:] == []


def test_a_killed_kernel_leaves_its_best_and_last_unless_their_paths_were_written_since(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    program = f"""
import os, signal, torch, mlops_lab
net = torch.nn.Linear(1, 1, bias=False)
with mlops_lab.track(experiment={experiment!r}, offline=True) as run:
    for epoch, dice in enumerate((0.3, 0.8, 0.5), start=1):
        torch.nn.init.constant_(net.weight, epoch)
        run.log_metric("val_dice", dice)
        torch.save(net.state_dict(), f"epoch_{{epoch}}.pt")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=120)
    assert done.returncode == -9, done.stderr.decode()[-2000:]
    # The next training begins with the file that the dead one saved last.
    shutil.copyfile("epoch_1.pt", "epoch_3.pt")
    ((run_id, status),) = [(sent.run_id, sent.status) for sent in sync().runs]
    assert status == "sent"
    assert run_id
    there = {entry["path"] for entry in server.list_artifacts(run_id, "checkpoints")}
    assert there == {"checkpoints/epoch_2.pt", "checkpoints/index.json"}
    assert weight_in(server.download_artifact(run_id, "checkpoints/epoch_2.pt", tmp_path / "there.pt")) == 2.0


def test_a_dataset_of_paths_is_still_readable_by_workers_that_save() -> None:
    # What a DataLoader's worker saves is its own affair: the run is this process's.
    class Saves(Dataset):
        def __getitem__(self, number: Any) -> Any:
            torch.save(Training().state(), f"worker_{number}.pt")
            return number

    with block() as run:
        loader = torch.utils.data.DataLoader(Saves([0, 1]), num_workers=1)
        assert [int(batch) for batch in loader] == [0, 1]
    assert kept(run) == {}
    assert Path("worker_1.pt").exists()

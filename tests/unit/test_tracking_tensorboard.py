"""TensorBoard's writer in a block: its scalars are metrics of the run, and none of them is there twice."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mlops_lab import wire
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import Run, track
from mlops_lab.tracking.journal import folders, segments
from mlops_lab.tracking.model import Metric, Param
from tests.conftest import missing
from tests.unit.test_tracking_block import history

WRITERS = {"torch.utils.tensorboard": "tensorboard", "tensorboardX": "tensorboardX"}


@pytest.fixture(params=list(WRITERS))
def writer_class(request: pytest.FixtureRequest) -> Any:
    """The writer of PyTorch, and the one of tensorboardX."""
    package = WRITERS[request.param]
    if importlib.util.find_spec(package) is None:
        missing(package, f"pip install {package}")
    return importlib.import_module(request.param).SummaryWriter


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


def block(**options: Any) -> Any:
    return track(experiment="tensorboard", offline=True, **options)


def points(run: Run) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record, _ in segments.read(run.folder):
        if isinstance(record, Metric) and not record.key.startswith("system/"):
            found.setdefault(record.key, []).append((record.step, wire.from_number(record.value)))
    return found


def params(run: Run) -> dict[str, str]:
    return {record.key: record.value for record, _ in segments.read(run.folder) if isinstance(record, Param)}


def train(writer: Any, told_first: bool) -> None:
    """A loop of a tutorial, in which the writer is told the loss of every step."""
    weight = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for step in range(1, 4):
        loss: Any = weight.sum() * step
        loss.backward()
        if told_first:
            writer.add_scalar("train_loss", loss.item(), step)
        optimizer.step()
        if not told_first:
            writer.add_scalar("train_loss", loss.item(), step)


def test_scalars_land_under_their_tags_with_their_steps(
    server: TrackingServer, experiment: str, writer_class: Any, tmp_path: Path
) -> None:
    before = dict(vars(writer_class))
    with track(experiment=experiment) as run, writer_class(str(tmp_path / "events")) as writer:
        for epoch in range(3):
            writer.add_scalar("Loss/validation", torch.tensor(1.0 / (epoch + 1)), epoch)
            writer.add_scalars("dice", {"tumour": 0.5, "edema": 0.25}, epoch)
        writer.add_scalar("share (%)", 12.5)
        writer.add_hparams({"roi": "96x96"}, {"hparam/dice": 0.5})
        writer.add_histogram("weights", torch.zeros(4), 0)
    assert run.run_id
    assert [value for _, value in history(server, run.run_id, "Loss/validation")] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert [step for step, _ in history(server, run.run_id, "Loss/validation")] == [0, 1, 2]
    assert history(server, run.run_id, "dice/tumour") == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert history(server, run.run_id, "share ___") == [(1, 12.5)]
    assert [value for _, value in history(server, run.run_id, "hparam/dice")] == [0.5]
    assert params(run)["roi"] == "96x96"
    assert not any("refused" in notice for notice in run.progress().notices)
    assert dict(vars(writer_class)) == before
    assert list((tmp_path / "events").iterdir())


@pytest.mark.parametrize("told_first", [False, True])
def test_the_loss_of_a_captured_loop_is_one_series(writer_class: Any, tmp_path: Path, told_first: bool) -> None:
    with block() as run, writer_class(str(tmp_path / "events")) as writer:
        train(writer, told_first)
    assert points(run)["train_loss"] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_loss_that_no_loop_trains_is_recorded_after_all(writer_class: Any, tmp_path: Path) -> None:
    with block() as run, writer_class(str(tmp_path / "events")) as writer:
        for step, value in enumerate((0.5, 0.25), start=1):
            writer.add_scalar("train_loss", value, step)
    assert points(run) == {"train_loss": [(1, 0.5), (2, 0.25)]}


def test_what_the_user_has_logged_already_is_not_doubled(writer_class: Any, tmp_path: Path) -> None:
    with block() as run, writer_class(str(tmp_path / "events")) as writer:
        for epoch in range(2):
            run.log_metric("val_dice", 0.5, epoch)
            writer.add_scalar("val_dice", 0.5, epoch)
    assert points(run) == {"val_dice": [(0, 0.5), (1, 0.5)]}


def test_monais_handler_does_not_double_the_metrics_of_the_engine(writer_class: Any, tmp_path: Path) -> None:
    from ignite.engine import Engine, Events
    from monai.handlers import TensorBoardStatsHandler

    trainer = Engine(lambda engine, batch: {"loss": 0.5})

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        engine.state.metrics["val_dice"] = 0.1 * engine.state.epoch

    writer = writer_class(str(tmp_path / "events"))
    TensorBoardStatsHandler(writer, tag_name="loss", output_transform=lambda output: output["loss"]).attach(trainer)
    with block() as run:
        trainer.run([0, 1], max_epochs=2)
    writer.close()
    found = points(run)
    assert found["val_dice"] == [(1, pytest.approx(0.1)), (2, pytest.approx(0.2))]
    assert found["loss"] == [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5)]


def test_a_writer_outside_of_a_block_is_nobodys_business(writer_class: Any, tmp_path: Path) -> None:
    with block():
        pass
    with writer_class(str(tmp_path / "events")) as writer:
        writer.add_scalar("a", SimpleNamespace(item=lambda: 1.0).item(), 0)
    assert len(list(folders.journals().iterdir())) == 1

"""ignite engines, and with them MONAI's evaluators: every metric is one series on the axis of the training."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Average
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.handlers import MeanDice, MLFlowHandler, StatsHandler, from_engine

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import track
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Artifact
from tests.unit.captured import params, points


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


def block() -> Any:
    return track(experiment="capture", offline=True)


def weight() -> torch.Tensor:
    return torch.tensor([2.0], requires_grad=True)


def masks(*hits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot prediction and truth [1, 3, 4, 4] in which `hits[c - 1]` of 4 pixels of class c are found."""
    truth, guess = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    for position, hit in enumerate(hits, start=1):
        truth[0, position, position] = 1
        guess[0, position, position, :hit] = 1
    return guess, truth


def evaluator_of(name: str = "val_mean_dice", **options: Any) -> Engine:
    def step(engine: Engine, batch: Any) -> Any:
        guess, truth = masks(*batch)
        return {"pred": list(guess), "label": list(truth)}

    evaluator = Engine(step)
    given = {"include_background": False, "output_transform": from_engine(["pred", "label"]), **options}
    MeanDice(**given).attach(evaluator, name)
    return evaluator


def test_an_evaluator_inside_a_trainer_lies_on_the_trainers_epochs_and_is_not_doubled() -> None:
    evaluator = evaluator_of()
    w = weight()

    def train(engine: Engine, batch: Any) -> None:
        (w * batch).sum().backward()

    trainer = Engine(train)

    @trainer.on(Events.EPOCH_COMPLETED(every=2))
    def validate(engine: Engine) -> None:
        evaluator.run([(4, 4)], max_epochs=1)

    with block() as run:
        trainer.run([1.0, 2.0], max_epochs=4)
    found = points(run)
    assert [point for point in found if point[0] != "train_loss"] == [
        ("val_mean_dice", 2, 1.0),
        ("val_mean_dice", 4, 1.0),
    ]
    assert sum(name == "train_loss" for name, _, _ in found) == 8


def test_an_evaluator_in_the_users_own_loop_counts_its_runs() -> None:
    evaluator = evaluator_of()
    with block() as run:
        for hits in ((4, 4), (4, 2), (2, 2)):
            evaluator.run([hits], max_epochs=1)
    assert [(name, step) for name, step, _ in points(run)] == [("val_mean_dice", n) for n in (1, 2, 3)]


def test_two_engines_with_a_metric_of_one_name_are_two_series() -> None:
    train_evaluator, val_evaluator = evaluator_of("dice"), evaluator_of("dice")
    with block() as run:
        for _ in range(2):
            train_evaluator.run([(4, 4)], max_epochs=1)
            val_evaluator.run([(2, 2)], max_epochs=1)
    assert [(name, step) for name, step, _ in points(run)] == [
        ("dice", 1),
        ("val_evaluator_dice", 1),
        ("dice", 2),
        ("val_evaluator_dice", 2),
    ]


def test_an_engine_keeps_no_handler_of_ours() -> None:
    evaluator = evaluator_of()

    def attached() -> dict[Any, int]:
        return {event: len(handlers) for event, handlers in evaluator._event_handlers.items() if handlers}

    before = attached()
    with block():
        evaluator.run([(4, 4)], max_epochs=1)
    assert attached() == before


def test_the_classes_of_an_engines_metric_have_their_names_and_its_settings_are_params() -> None:
    class_names = ["background", "liver", "tumour"]
    evaluator = evaluator_of("val_dice", reduction="mean_batch")
    labelled = evaluator_of("test_dice", reduction="mean_batch", return_with_label=["a", "b"])
    with block() as run:
        evaluator.run([(4, 2)], max_epochs=1)
        labelled.run([(4, 2)], max_epochs=1)
    values = {name: value for name, _, value in points(run)}
    assert set(values) == {
        *("val_dice", "val_dice_liver", "val_dice_tumour"),
        *("test_dice", "test_dice_a", "test_dice_b"),
    }
    assert values["val_dice_tumour"] == pytest.approx(2 / 3)
    assert params(run)["val_dice.class"] == "DiceMetric"
    assert class_names


def test_other_numbers_of_an_output_are_averaged_over_the_epoch() -> None:
    w = weight()

    def train(engine: Engine, batch: float) -> dict[str, Any]:
        loss = (w * batch).sum()
        loss.backward()
        return {"loss": loss.item(), "accuracy": batch / 4, "kl": torch.tensor(batch), "image": torch.zeros(1, 3)}

    trainer = Engine(train)
    with block() as run:
        trainer.run([1.0, 3.0], max_epochs=2)
    values = {(name, step): value for name, step, value in points(run) if not name.startswith("train_loss")}
    assert values == {("accuracy", 1): 0.5, ("accuracy", 2): 0.5, ("kl", 1): 2.0, ("kl", 2): 2.0}


def test_a_number_that_is_a_metric_too_is_recorded_as_the_metric() -> None:
    trainer = Engine(lambda engine, batch: {"accuracy": batch})
    Average(output_transform=lambda output: output["accuracy"] * 2).attach(trainer, "accuracy")
    with block() as run:
        trainer.run([1.0, 3.0], max_epochs=1)
    assert points(run) == [("accuracy", 1, 4.0)]


def test_the_engines_of_one_fold_are_let_go_and_the_next_fold_has_its_own_series() -> None:
    def fold() -> None:
        evaluator = evaluator_of("dice")
        trainer = Engine(lambda engine, batch: None)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([(4, 4)], max_epochs=1))
        trainer.run([1.0], max_epochs=2)

    with block() as run:
        for _ in range(2):
            fold()
            gc.collect()
    assert [(name, step) for name, step, _ in points(run)] == [
        ("dice", 1),
        ("dice", 2),
        ("dice_2", 1),
        ("dice_2", 2),
    ]


def test_an_evaluator_that_is_made_anew_for_every_epoch_goes_on_with_its_series() -> None:
    with block() as run:
        for _ in range(3):
            evaluator_of("dice").run([(4, 4)], max_epochs=1)
            gc.collect()
    assert [(name, step) for name, step, _ in points(run)] == [("dice", 1), ("dice", 2), ("dice", 3)]


# Errors


def broken(engine: Engine, batch: Any) -> None:
    raise RuntimeError("the disk is on fire")


def test_an_error_that_a_handler_keeps_to_itself_still_fails_the_run() -> None:
    trainer = Engine(broken)
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: None)
    with block() as run:
        trainer.run([1.0], max_epochs=1)
    if hasattr(run, "fail"):
        assert run.status == "FAILED"
        names = [record.name for record, _ in segments.read(run.folder) if isinstance(record, Artifact)]
        assert "traceback.txt" in names
    else:
        assert any("the disk is on fire" in notice for notice in run.notices)


def test_an_error_that_is_raised_again_is_the_users_own() -> None:
    trainer = Engine(broken)
    StatsHandler(name=None).attach(trainer)
    with pytest.raises(RuntimeError, match="on fire"), block() as run:
        trainer.run([1.0], max_epochs=1)
    assert run.status == "FAILED"
    assert not [notice for notice in run.notices if "fire" in notice]


# MONAI's own MLflow handler


def trainer_with(handler: Any) -> SupervisedTrainer:
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 1)
    data = [{"image": torch.ones(2) * number, "label": torch.ones(1)} for number in range(4)]
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=DataLoader(Dataset(data), batch_size=2),
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), 0.125),
        loss_function=torch.nn.MSELoss(),
        train_handlers=[handler],
    )


NOWHERE = "http://127.0.0.1:9"


def test_a_handler_writes_to_the_run_of_the_block_although_its_server_is_dead(tmp_path: Path) -> None:
    artifact = tmp_path / "figure.txt"
    artifact.write_text("a figure")
    handler = MLFlowHandler(
        tracking_uri=NOWHERE,
        experiment_name="another",
        run_name="mine",
        output_transform=from_engine(["loss"], first=True),
        experiment_param={"batch_size": 2},
        artifacts=[str(artifact)],
        close_on_complete=True,
    )
    client = handler.client
    trainer = trainer_with(handler)
    Average(output_transform=lambda output: output[0]["loss"]).attach(trainer, "mean_loss")
    with block() as run:
        trainer.run()
    found = points(run)
    series = {name: [value for key, _, value in found if key == name] for name in {name for name, _, _ in found}}
    assert len(series["mean_loss"]) == 2, "the engine's metrics are recorded once"
    assert len(series["Loss"]) == 4, "the handler's own series are kept"
    assert series["lr_group_0"] == [0.125] * 4
    losses = next(values for name, values in series.items() if name.startswith("train_loss") and len(values) == 4)
    assert losses == pytest.approx(series["Loss"])
    settings = params(run)
    assert settings["batch_size"] == "2"
    assert settings["max_epochs"] == "2"
    assert "figure.txt" in [r.name for r, _ in segments.read(run.folder) if isinstance(r, Artifact)]
    assert run.status == "FINISHED"
    assert (handler.client, handler.cur_run, handler.experiment) == (client, None, None), "it is given back"


def test_a_series_that_the_block_records_is_not_doubled_by_a_handler_that_calls_its_own_the_same() -> None:
    handler = MLFlowHandler(
        tracking_uri=NOWHERE, tag_name="train_loss", output_transform=from_engine(["loss"], first=True)
    )
    with block() as run:
        trainer_with(handler).run()
    losses = [(step, value) for name, step, value in points(run) if name == "train_loss"]
    assert [step for step, _ in losses] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for _, value in losses)


def test_a_handler_makes_and_adopts_no_other_run_on_the_server(
    server: TrackingServer, experiment: str, mlflow_server: str
) -> None:
    handler = MLFlowHandler(
        tracking_uri=mlflow_server, experiment_name=experiment, output_transform=from_engine(["loss"], first=True)
    )
    experiment_id = server.ensure_experiment(experiment)
    foreign = server.create_run(experiment_id, start_time=1, run_name="a colleague's", tags={})["info"]["run_id"]
    with track(experiment=experiment) as run:
        trainer_with(handler).run()
    found = server.post("runs/search", {"experiment_ids": [experiment_id], "max_results": 10})["runs"]
    by_id = {item["info"]["run_id"]: item for item in found}
    assert set(by_id) == {foreign, run.run_id}
    assert by_id[foreign]["info"]["status"] == "RUNNING"
    assert not by_id[foreign]["data"].get("metrics")
    assert {item["key"] for item in by_id[run.run_id]["data"]["metrics"]} >= {"Loss", "lr_group_0"}

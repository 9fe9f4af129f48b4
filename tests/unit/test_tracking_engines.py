"""ignite engines, and with them MONAI's evaluators: every metric is one series on the axis of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import MeanDice, from_engine

from mlops_lab import wire
from mlops_lab.tracking import Run, journal, track
from mlops_lab.tracking.model import Metric


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


def block() -> Any:
    return track(experiment="capture", offline=True)


def points(run: Run) -> list[tuple[str, int, float]]:
    records = [record for record, _ in journal.read(run.folder)]
    return [(r.key, r.step, wire.from_number(r.value)) for r in records if isinstance(r, Metric)]


def weight() -> torch.Tensor:
    return torch.tensor([2.0], requires_grad=True)


def masks(*hits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot prediction and truth [1, 3, 4, 4] in which `hits[c - 1]` of 4 pixels of class c are found."""
    truth, guess = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    for position, hit in enumerate(hits, start=1):
        truth[0, position, position] = 1
        guess[0, position, position, :hit] = 1
    return guess, truth


def evaluator_of(name: str = "val_mean_dice") -> Engine:
    def step(engine: Engine, batch: Any) -> Any:
        guess, truth = masks(*batch)
        return {"pred": list(guess), "label": list(truth)}

    evaluator = Engine(step)
    MeanDice(include_background=False, output_transform=from_engine(["pred", "label"])).attach(evaluator, name)
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

"""Mixed precision: what is recorded is the loss, never the loss times a scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.journal_readings import block, points


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


def weight() -> torch.Tensor:
    return torch.tensor([2.0], requires_grad=True)


def test_the_scaling_of_mixed_precision_is_undone() -> None:
    w = weight()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD([w], lr=0.1)
    with block() as run:
        scaler.scale((w * 3).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert points(run) == [("train_loss", 1, 6.0), ("lr", 1, 0.1)]


@pytest.mark.parametrize(
    ("built", "loss"),
    [
        (lambda scale, a, b: scale(a) / 4, 1.5),
        (lambda scale, a, b: scale(a) + scale(b), 16.0),
        (lambda scale, a, b: sum([scale(a), 0.5 * scale(b)]), 11.0),
        (lambda scale, a, b: torch.stack(scale([a, b])).mean(), 8.0),
        (lambda scale, a, b: scale(a).div_(2), 3.0),
        (lambda scale, a, b: a + b, 16.0),
        (lambda scale, a, b: a.exp().log() + b, 16.0),
    ],
    ids=["accumulated", "sum", "weighted", "list", "in place", "not scaled", "not scaled, not linear"],
)
def test_the_scaling_is_undone_however_the_loss_is_put_together(built: Any, loss: float) -> None:
    w = weight()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with block() as run:
        scaler.scale((w * 3).sum())
        built(scaler.scale, (w * 3).sum(), (w * 5).sum()).backward()
    assert [(name, value) for name, _, value in points(run)] == [("train_loss", pytest.approx(loss))]
    assert run.notices == [run.notices[0]], "nothing to say but that the run is offline"


def test_a_list_of_scaled_losses_is_the_sum_of_the_losses() -> None:
    w = weight()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with block() as run:
        torch.autograd.backward(scaler.scale([(w * 3).sum(), (w * 5).sum()]))
    assert points(run) == [("train_loss", 1, 16.0)]


def test_a_loss_keeps_the_scale_of_its_own_step() -> None:
    w = weight()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with block() as run:
        (scaler.scale((w * 3).sum()) / 2).backward()
        scaler.update(2.0)
        (scaler.scale((w * 5).sum()) / 2).backward()
    assert points(run) == [("train_loss", 1, 3.0), ("train_loss", 2, 5.0)]


@pytest.mark.parametrize(
    "built",
    [
        lambda scale, a, b: scale(a) + b,
        lambda scale, a, b: scale(a).sqrt(),
        lambda scale, a, b: scale(a) * scale(b),
        lambda scale, a, b: b / scale(a),
    ],
)
def test_a_loss_whose_scale_cannot_be_told_is_left_out_and_the_run_says_so(built: Any) -> None:
    w = weight()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with block() as run:
        built(scaler.scale, (w * 3).sum(), (w * 5).sum()).backward()
    assert points(run) == []
    assert "GradScaler" in run.notices[-1]

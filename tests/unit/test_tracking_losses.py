"""The training loss: one point per optimizer step, whatever the step was put together from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.losses import DiceCELoss, DiceLoss
from torch import nn
from torch.nn import functional as F

from mlops_lab.tracking.capture import construction
from tests.unit.journal_readings import block, params, points, series, troubles, values


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder, and every test has the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture
def armed() -> Iterator[None]:
    """What is built is remembered, as from ``%load_ext mlops_lab`` on."""
    construction.arm()
    yield
    construction.disarm()


def net() -> nn.Linear:
    return nn.Linear(3, 1)


def batch() -> torch.Tensor:
    return torch.randn(4, 3)


def test_a_step_is_one_point() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with block() as run:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(batch()).square().mean()
            loss.backward()
            optimizer.step()
            told.append(loss.item())
    assert values(run, "train_loss") == told
    assert troubles(run) == []


def test_accumulated_gradients_are_one_point_and_what_is_left_at_the_end_is_written() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with block() as run:
        for step in range(10):
            loss = model(batch()).square().mean() / 4
            loss.backward()
            told.append(loss.item())
            if (step + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
    assert values(run, "train_loss") == [sum(told[:4]), sum(told[4:8]), sum(told[8:])]


def test_two_backward_calls_before_a_step_are_their_sum() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with block() as run:
        for _ in range(2):
            optimizer.zero_grad()
            first = model(batch()).square().mean()
            first.backward()
            second = model(batch()).abs().mean()
            second.backward()
            optimizer.step()
            told.append(first.item() + second.item())
    assert values(run, "train_loss") == told


@pytest.mark.parametrize("enabled", [True, False])
def test_mixed_precision_with_clipping_and_accumulation(enabled: bool) -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=enabled)
    told = []
    with block() as run:
        for step in range(6):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(batch()).float().square().mean()
            scaler.scale(loss / 2).backward()
            told.append(loss.item() / 2)
            if step % 2:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
    assert values(run, "train_loss") == pytest.approx([sum(told[:2]), sum(told[2:4]), sum(told[4:])])
    assert troubles(run) == []


def test_a_step_that_the_scaler_leaves_out_is_a_point_as_well() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    told = []
    with block(grad_norm=True) as run:
        for factor in (1.0, math.inf, 1.0):
            loss = model(batch()).square().mean() * factor
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            told.append(loss.item())
    assert values(run, "train_loss") == told
    assert math.isinf(values(run, "grad_norm")[1])


def test_a_loss_that_the_user_threw_away_is_not_added_to_the_next_one() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with block() as run:
        for factor in (1.0, math.nan, 2.0):
            optimizer.zero_grad()
            loss = model(batch()).square().mean() * factor
            loss.backward()
            told.append(loss.item())
            if not torch.isfinite(loss):
                continue
            optimizer.step()
    found = values(run, "train_loss")
    assert found[0] == told[0]
    assert math.isnan(found[1])
    assert found[2] == told[2]


def test_a_line_search_is_one_point_with_its_first_evaluation() -> None:
    model, inputs = net(), batch()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    told = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - 1).square().mean()
        loss.backward()
        told.append(loss.item())
        return loss

    with block() as run:
        for _ in range(3):
            begun = len(told)
            optimizer.step(closure)
            told[begun:] = [told[begun]]
        closure()  # to see where it ended
        told.pop()
        optimizer.step(closure)
    assert values(run, "train_loss") == told[:4]


def test_a_closure_for_an_ordinary_optimizer() -> None:
    model, told = net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(batch()).square().mean()
        loss.backward()
        told.append(loss.item())
        return loss

    with block() as run:
        for _ in range(3):
            optimizer.step(closure)
    assert values(run, "train_loss") == told


@pytest.mark.parametrize("way", ["data", "no_grad", "set to none"])
def test_an_update_by_hand_makes_every_backward_a_point(way: str) -> None:
    weight, told = torch.tensor([2.0], requires_grad=True), []
    with block() as run:
        for step in range(11):
            loss = (weight * (step + 1)).sum()
            loss.backward()
            told.append(loss.item())
            assert weight.grad is not None
            if way == "data":
                weight.data -= 0.1 * weight.grad.data
                weight.grad.data.zero_()
            else:
                with torch.no_grad():
                    weight -= 0.1 * weight.grad
                    weight.grad.zero_()
            if way == "set to none":
                weight.grad = None
    assert values(run, "train_loss") == told


def test_an_update_by_hand_may_accumulate() -> None:
    weight, told = torch.tensor([2.0], requires_grad=True), []
    with block() as run:
        for step in range(6):
            loss = (weight * (step + 1)).sum()
            loss.backward()
            told.append(loss.item())
            assert weight.grad is not None
            if step % 3 == 2:
                with torch.no_grad():
                    weight -= 0.1 * weight.grad
                weight.grad = None
    assert values(run, "train_loss") == [sum(told[:3]), sum(told[3:])]


def test_an_optimizer_of_another_make_counts_when_it_sets_the_gradients_to_none() -> None:
    class Momentum:
        def __init__(self, params: list[nn.Parameter]) -> None:
            self.params, self.state = params, [torch.zeros_like(p) for p in params]

        def step(self) -> None:
            for p, m in zip(self.params, self.state, strict=True):
                assert p.grad is not None
                m.mul_(0.9).add_(p.grad)
                p.data.sub_(0.01 * m)
                p.grad = None

    model, told = net(), []
    optimizer = Momentum(list(model.parameters()))
    with block() as run:
        for step in range(8):
            loss = model(batch()).square().mean() / 2
            loss.backward()
            told.append(loss.item())
            if step % 2:
                optimizer.step()
    assert values(run, "train_loss") == [sum(told[i : i + 2]) for i in (0, 2, 4, 6)]


def test_gradients_that_are_asked_for_are_a_training_as_well() -> None:
    model, told = net(), []
    with block() as run:
        for _ in range(3):
            loss = model(batch()).square().mean()
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            told.append(loss.item())
            with torch.no_grad():
                for p, gradient in zip(model.parameters(), gradients, strict=True):
                    p -= 0.1 * gradient
    assert values(run, "train_loss") == told


def test_a_metatensor_loss_is_read_once() -> None:
    model = nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_function = DiceLoss(sigmoid=True)
    image = MetaTensor(torch.rand(1, 1, 8, 8))
    told = []
    with block() as run:
        for _ in range(3):
            optimizer.zero_grad()
            loss = loss_function(model(image), image > 0.5)
            loss.backward()
            optimizer.step()
            assert isinstance(loss, MetaTensor)
            told.append(loss.item())
    assert values(run, "train_loss") == told
    assert params(run)["loss_function"] == "DiceLoss"


@pytest.mark.usefixtures("armed")
def test_the_loss_module_is_named_with_its_arguments() -> None:
    model = nn.Conv2d(1, 2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True, lambda_ce=0.5)
    with block() as run:
        for _ in range(2):
            optimizer.zero_grad()
            loss_function(model(torch.rand(1, 1, 4, 4)), torch.ones(1, 1, 4, 4)).backward()
            optimizer.step()
    found = params(run)
    assert found["loss_function"] == "DiceCELoss"
    assert found["loss_function.lambda_ce"] == "0.5"
    assert series(run) == {"train_loss", "lr"}, "what a loss module calls itself is none of the user's losses"


def test_functions_give_the_name_of_the_loss() -> None:
    model, head = net(), nn.Linear(3, 2)
    for expected, function in {
        "mse_loss": lambda: F.mse_loss(model(batch()), torch.zeros(4, 1)),
        "cross_entropy": lambda: F.cross_entropy(head(batch()), torch.zeros(4, dtype=torch.long)),
        "l1_loss": lambda: F.l1_loss(model(batch()), torch.zeros(4, 1)),
        "binary_cross_entropy_with_logits": lambda: F.binary_cross_entropy_with_logits(
            model(batch()), torch.zeros(4, 1)
        ),
    }.items():
        with block() as run:
            function().backward()
        assert params(run).get("loss_function") == expected or expected == "l1_loss"


def test_the_users_own_function_gives_the_name_of_the_loss() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with block() as run:
        for _ in range(2):
            optimizer.zero_grad()
            log_cosh_loss(model(batch())).backward()
            optimizer.step()
    assert params(run)["loss_function"] == "log_cosh_loss"


def log_cosh_loss(difference: torch.Tensor) -> torch.Tensor:
    return torch.log(torch.cosh(difference)).mean()


class BoundaryLoss(nn.Module):
    """A loss of the user's own, made of others."""

    def __init__(self, weight: float = 0.5) -> None:
        super().__init__()
        self.weight = weight
        self.dice = DiceLoss(sigmoid=True)
        self.ce = nn.BCEWithLogitsLoss()

    def forward(self, guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.dice(guess, truth) + self.weight * self.ce(guess, truth)
        return loss


def test_a_loss_module_of_the_users_own_is_one_loss() -> None:
    model = nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = BoundaryLoss(weight=0.25)
    with block() as run:
        for _ in range(3):
            optimizer.zero_grad()
            criterion(model(torch.rand(1, 1, 4, 4)), torch.ones(1, 1, 4, 4)).backward()
            optimizer.step()
    assert params(run)["loss_function"] == "BoundaryLoss"
    assert series(run) == {"train_loss", "lr"}
    assert "__call__" not in BoundaryLoss.__dict__


def test_several_losses_in_one_step_are_series_beside_their_sum() -> None:
    model = nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dice, ce = DiceLoss(sigmoid=True), nn.BCEWithLogitsLoss()
    told: list[tuple[float, float]] = []
    with block() as run:
        for _ in range(3):
            optimizer.zero_grad()
            guess, truth = model(torch.rand(1, 1, 4, 4)), torch.ones(1, 1, 4, 4)
            loss = dice(guess, truth) + 0.5 * ce(guess, truth)
            loss.backward()
            told.append((dice(guess.detach(), truth).item(), ce(guess.detach(), truth).item()))
            optimizer.step()
    assert values(run, "train_loss_dice") == pytest.approx([one for one, _ in told])
    assert values(run, "train_loss_bce_with_logits") == pytest.approx([other for _, other in told])
    assert values(run, "train_loss") == pytest.approx([one + 0.5 * other for one, other in told])
    assert params(run)["loss_function"] == "DiceLoss + BCEWithLogitsLoss"
    assert series(run) == {"train_loss", "train_loss_dice", "train_loss_bce_with_logits", "lr"}


def test_the_terms_of_a_sum_are_named_as_their_variables_wherever_they_come_from() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told: list[tuple[float, float]] = []

    def train() -> None:
        for step in range(4):
            outputs = model(batch())
            loss_recon = F.mse_loss(outputs, torch.ones(4, 1))
            kl = -0.5 * outputs.abs().sum()
            loss = (loss_recon + 0.1 * kl) / 2
            loss.backward()
            told.append((loss_recon.item(), kl.item()))
            if step % 2:
                optimizer.step()
                optimizer.zero_grad()

    with block() as run:
        train()
    means = [[(told[i][part] + told[i + 1][part]) / 2 for i in (0, 2)] for part in (0, 1)]
    assert values(run, "train_loss_recon") == pytest.approx(means[0])
    assert values(run, "train_loss_kl") == pytest.approx(means[1])
    assert series(run) == {"train_loss", "train_loss_recon", "train_loss_kl", "lr"}


def test_attributes_of_the_users_own_trainer_are_terms_as_well() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.net = net()
            self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)

        def optimize(self) -> None:
            outputs = self.net(batch())
            self.optimizer.zero_grad()
            self.loss_cycle = outputs.abs().mean()
            self.loss_identity = outputs.square().mean()
            self.loss = self.loss_cycle + self.loss_identity
            self.loss.backward()
            self.optimizer.step()

    trainer = Trainer()
    with block() as run:
        for _ in range(2):
            trainer.optimize()
    assert series(run) == {"train_loss", "train_loss_cycle", "train_loss_identity", "lr"}
    for name in ("train_loss", "train_loss_cycle", "train_loss_identity"):
        assert len(values(run, name)) == 2


def test_a_loss_that_is_only_looked_at_is_no_part() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mse, monitored = nn.MSELoss(), nn.L1Loss()
    with block() as run:
        for _ in range(6):
            optimizer.zero_grad()
            outputs = model(batch())
            monitored(outputs, torch.zeros(4, 1))
            mse(outputs, torch.zeros(4, 1)).backward()
            optimizer.step()
    assert series(run) == {"train_loss", "lr"}
    assert params(run)["loss_function"] == "MSELoss"


def test_a_loss_without_reduction_or_in_a_loop_over_heads_is_one_loss() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mse = nn.MSELoss(reduction="none")
    with block() as run:
        for _ in range(2):
            optimizer.zero_grad()
            outputs = model(batch())
            loss = sum(mse(outputs * k, torch.zeros(4, 1)).mean() for k in (1, 2))
            assert isinstance(loss, torch.Tensor)
            loss.backward()
            optimizer.step()
    assert series(run) == {"train_loss", "lr"}
    assert params(run)["loss_function"] == "MSELoss"


def test_a_module_that_is_made_for_every_step_is_one_loss() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with block() as run:
        for _ in range(5):
            optimizer.zero_grad()
            outputs = model(batch())
            loss = nn.MSELoss()(outputs, torch.zeros(4, 1)) + nn.L1Loss()(outputs, torch.zeros(4, 1))
            loss.backward()
            optimizer.step()
    assert params(run)["loss_function"] == "MSELoss + L1Loss"
    assert len(values(run, "train_loss_mse")) == len(values(run, "train_loss_l1")) == 5


def test_a_term_that_joins_later_is_seen() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mse, consistency_loss = nn.MSELoss(), nn.L1Loss()
    with block() as run:
        for step in range(6):
            optimizer.zero_grad()
            outputs = model(batch())
            loss = mse(outputs, torch.zeros(4, 1))
            if step >= 3:
                loss = loss + 0.1 * consistency_loss(outputs, torch.zeros(4, 1))
            loss.backward()
            optimizer.step()
    assert len(values(run, "train_loss")) == 6
    assert [step for _, step, _ in points(run, "train_loss_l1")] == [4, 5, 6]


def test_the_values_of_the_first_step_are_not_kept_in_memory() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gone = []

    def train() -> None:
        import weakref

        for step in range(3):
            outputs = model(batch())
            gone.append(weakref.ref(outputs))
            loss = nn.functional.mse_loss(outputs, torch.zeros(4, 1))
            loss.backward()
            del outputs, loss
            assert gone[step]() is None
            optimizer.step()

    with block() as run:
        train()
    assert len(points(run, "train_loss")) == 3

"""What an untouched cell tells: losses, optimizers and MONAI metrics, without one line of tracking code."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.metrics import ConfusionMatrixMetric, Cumulative, DiceMetric, HausdorffDistanceMetric, ROCAUCMetric
from torch.utils.checkpoint import checkpoint

from tests.unit.journal_readings import block, params, points


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


def weight() -> torch.Tensor:
    return torch.tensor([2.0], requires_grad=True)


def masks(*hits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot prediction and truth [1, 3, 4, 4] in which `hits[c - 1]` of 4 pixels of class c are found."""
    truth, guess = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    for position, hit in enumerate(hits, start=1):
        truth[0, position, position] = 1
        guess[0, position, position, :hit] = 1
    return guess, truth


def test_without_an_optimizer_every_backward_is_one_point_of_the_training_loss() -> None:
    w = weight()
    with block() as run:
        for factor in (1.0, 2.0):
            (w * factor).sum().backward()
        torch.autograd.backward((w * 3).sum())
        torch.autograd.backward([(w * 1).sum(), (w * 4).sum()])
    assert points(run) == [
        ("train_loss", 1, 2.0),
        ("train_loss", 2, 4.0),
        ("train_loss", 3, 6.0),
        ("train_loss", 4, 10.0),
    ]


def test_a_metatensor_loss_counts_once() -> None:
    w = weight()
    with block() as run:
        loss = MetaTensor(w * 3).sum()
        assert isinstance(loss, MetaTensor)
        loss.backward()
    assert points(run) == [("train_loss", 1, 6.0)]


def test_a_backward_of_many_values_is_no_loss_and_one_number_is_one_whatever_its_gradient() -> None:
    w = weight()
    with block() as run:
        (w * 2).sum().backward(gradient=torch.tensor(1.0))
        torch.autograd.backward([(w * 3).sum()], [torch.tensor(0.25)])
        torch.autograd.backward(term for term in [(w * 1).sum(), (w * 4).sum()])
        vector = torch.ones(3, requires_grad=True) * w
        vector.backward(torch.ones(3))
    assert [value for _, _, value in points(run)] == [4.0, 6.0, 10.0]


def test_a_gradient_of_the_parameters_is_a_loss_and_one_of_an_image_or_a_penalty_is_none() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    image = torch.ones(1, 1, requires_grad=True)
    with block() as run:
        loss = layer(image).sum() * 0 + 3
        torch.autograd.grad(loss, layer.parameters(), retain_graph=True)
        torch.autograd.grad(loss, image, retain_graph=True)
        torch.autograd.grad(loss, list(layer.parameters()), create_graph=True)
    assert points(run) == [("train_loss", 1, 3.0)]


def test_a_checkpointed_loss_counts_once() -> None:
    w = weight()
    with block() as run:
        checkpoint(lambda x: (x * 3).sum(), w, use_reentrant=True).backward()
    assert points(run) == [("train_loss", 1, 6.0)]


def test_a_loss_that_is_not_a_number_is_kept_as_it_is() -> None:
    w = weight()
    with block() as run:
        (w * math.nan).sum().backward()
        (w * math.inf).sum().backward()
    values = [value for _, _, value in points(run)]
    assert math.isnan(values[0])
    assert values[1] == math.inf


def test_values_on_their_way_from_a_device_arrive_in_order_and_a_broken_device_stops_nothing() -> None:
    def broken(wait: bool) -> float | None:
        raise RuntimeError("device-side assert triggered")

    with block() as run:
        run.log_deferred("train_loss", lambda wait: 1.5 if wait else None)
        run.drain()
        assert points(run) == [], "a value that has not arrived is waited for at the end, not in between"
        run.log_deferred("train_loss", broken)
        run.log_deferred("train_loss", lambda wait: 2.5)
    assert points(run) == [("train_loss", 1, 1.5), ("train_loss", 3, 2.5)]
    assert "could not be read back" in " ".join(run.notices)


def test_the_optimizer_and_its_rate_become_params_once() -> None:
    w = weight()
    optimizer = torch.optim.AdamW([w], lr=0.25)
    with block() as run:
        for _ in range(3):
            (w * 1).sum().backward()
            optimizer.step()
    assert params(run)["optimizer"] == "AdamW"
    assert params(run)["optimizer.lr"] == "0.25"


def test_every_optimizer_of_a_grid_search_keeps_its_rate() -> None:
    w = weight()
    with block() as run:
        for rate in (0.5, 0.25, 0.125):
            optimizer = torch.optim.SGD([w], lr=rate)
            (w * 1).sum().backward()
            optimizer.step()
            del optimizer
    found = params(run)
    assert [found[name] for name in ("optimizer.lr", "optimizer_2.lr", "optimizer_3.lr")] == ["0.5", "0.25", "0.125"]


def test_an_error_in_the_backward_reaches_the_user_and_leaves_the_guard_open() -> None:
    w = weight()
    with block() as run:
        with pytest.raises(RuntimeError):
            torch.ones(1).sum().backward()
        (w * 3).sum().backward()
    assert points(run)[-1][2] == 6.0


def test_everything_is_restored_exactly() -> None:
    def doors() -> list[Any]:
        from torch.optim.optimizer import _global_optimizer_post_hooks

        return [
            torch.Tensor.__dict__["backward"],
            torch.autograd.backward,
            torch.autograd.grad,
            torch.amp.GradScaler.__dict__["scale"],
            dict(_global_optimizer_post_hooks),
            DiceMetric.__dict__["aggregate"],
            Cumulative.__dict__["aggregate"],
            Cumulative.__dict__.get("__init_subclass__"),
            Engine.__dict__["run"],
            list(sys.meta_path),
        ]

    before = doors()
    with block():
        assert doors() != before
        with block():
            pass
        assert doors() != before, "the inner block must not take the outer block's hooks away"
    assert doors() == before
    with pytest.raises(ValueError, match="stop"), block():
        raise ValueError("stop")
    assert doors() == before


def test_weights_are_bit_identical_with_and_without_tracking() -> None:
    def train() -> torch.Tensor:
        torch.manual_seed(3)
        layer = torch.nn.Linear(4, 1)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            layer(torch.randn(8, 4)).pow(2).mean().backward()
            optimizer.step()
        return torch.cat([p.detach().flatten() for p in layer.parameters()])

    plain = train()
    with block():
        tracked = train()
    assert torch.equal(plain, tracked)


def test_a_metric_has_the_name_that_its_variable_has() -> None:
    val_dice = DiceMetric(include_background=False)
    dice_metric = DiceMetric(include_background=False)
    mixed = {"tumour_dice": DiceMetric(include_background=False)}
    with block() as run:
        for metric in (val_dice, dice_metric, mixed["tumour_dice"]):
            metric(*masks(4, 4))
        val_dice.aggregate()
        dice_metric.aggregate()
        mixed["tumour_dice"].aggregate()
    assert [name for name, _, _ in points(run)] == ["val_dice", "dice", "tumour_dice"]


def test_two_metrics_of_one_name_are_two_series() -> None:
    dice_metric = DiceMetric(include_background=False)
    m = DiceMetric(include_background=False)
    found = {"train": [DiceMetric(include_background=False)], "val": [DiceMetric(include_background=False)]}
    with block() as run:
        for _ in range(2):
            for metric, hits in ((dice_metric, 4), (m, 2), (found["train"][0], 4), (found["val"][0], 2)):
                metric.reset()
                metric(*masks(hits, hits))
                metric.aggregate()
    names = [name for name, _, _ in points(run) if "_class_" not in name]
    assert names == ["dice", "dice_2", "train_dice", "val_dice"] * 2
    assert [value for name, _, value in points(run) if name == "dice"] == [1.0, 1.0]


def test_a_metric_that_is_made_anew_for_every_epoch_stays_one_series() -> None:
    def validate() -> None:
        dice_metric = DiceMetric(include_background=False)
        dice_metric(*masks(4, 4))
        dice_metric.aggregate()

    with block() as run:
        for _ in range(3):
            validate()
    assert points(run) == [("dice", step, 1.0) for step in (1, 2, 3)]


def test_a_metric_without_a_name_is_called_as_its_class() -> None:
    with block() as run:
        for metric in [HausdorffDistanceMetric(include_background=False)]:
            metric(*masks(4, 4))
            metric.aggregate()
    assert [name for name, _, _ in points(run)] == ["hausdorff_distance"]


def test_an_attribute_of_the_users_own_trainer_gives_the_name() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.lesion_metric = DiceMetric(include_background=False)

        def validate(self) -> None:
            self.lesion_metric(*masks(4, 4))
            self.lesion_metric.aggregate()

    with block() as run:
        Trainer().validate()
    assert [name for name, _, _ in points(run)] == ["lesion"]


def test_per_class_values_and_their_mean_are_recorded_step_by_step() -> None:
    dice_metric = DiceMetric(include_background=False, reduction="mean_batch")
    with block() as run:
        for hits in ((4, 2), (4, 4)):
            dice_metric.reset()
            dice_metric(*masks(*hits))
            dice_metric.aggregate()
    first, second = points(run)[:3], points(run)[3:]
    assert [(name, step) for name, step, _ in first] == [("dice", 1), ("dice_class_0", 1), ("dice_class_1", 1)]
    assert [value for _, _, value in first] == pytest.approx([(1 + 2 / 3) / 2, 1.0, 2 / 3])
    assert [(step, value) for _, step, value in second] == [(2, 1.0), (2, 1.0), (2, 1.0)]


def test_cases_without_reduction_are_averaged_over_what_is_known() -> None:
    dice_metric = DiceMetric(include_background=False, reduction="none", ignore_empty=True)
    with block() as run:
        guess, truth = masks(4, 2)
        dice_metric(guess, truth)
        truth[0, 2] = 0  # the second class is missing in the second case: NaN
        dice_metric(guess, truth)
        dice_metric.aggregate()
    values = {name: value for name, _, value in points(run)}
    assert values["dice_class_0"] == 1.0
    assert values["dice_class_1"] == pytest.approx(2 / 3)


def test_counts_of_known_cases_are_no_metric() -> None:
    dice_metric = DiceMetric(include_background=False, get_not_nans=True)
    with block() as run:
        dice_metric(*masks(4, 4))
        dice_metric.aggregate()
    assert points(run) == [("dice", 1, 1.0)]


def test_several_results_of_one_metric_have_their_own_names() -> None:
    confusion = ConfusionMatrixMetric(include_background=False, metric_name=["sensitivity", "f1 score"])
    auc = ROCAUCMetric()
    with block() as run:
        confusion(*masks(4, 4))
        confusion.aggregate()
        auc(torch.tensor([[0.1], [0.9]]), torch.tensor([[0], [1]]))
        auc.aggregate()
    assert points(run) == [("confusion_sensitivity", 1, 1.0), ("confusion_f1_score", 1, 1.0), ("auc", 1, 1.0)]


def test_a_metric_class_of_the_users_own_is_seen() -> None:
    with block() as run:

        class ShareMetric(Cumulative):
            def aggregate(self) -> float:
                return 0.75

        for metric in [ShareMetric()]:
            assert metric.aggregate() == 0.75
    assert points(run) == [("share", 1, 0.75)]
    assert not hasattr(ShareMetric.aggregate, "_mlops_lab_hook")


def test_libraries_that_are_imported_inside_the_block_are_hooked(tmp_path: Path) -> None:
    program = """
import sys
from mlops_lab.tracking import track
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Metric
with track(experiment="late", offline=True) as run:
    assert "torch" not in sys.modules
    import torch
    from monai.metrics import DiceMetric
    from ignite.engine import Engine
    w = torch.ones(1, requires_grad=True)
    (w * 5).sum().backward()
    dice_metric = DiceMetric()
    dice_metric(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    dice_metric.aggregate()
    assert hasattr(Engine.run, "__wrapped__")
assert not hasattr(Engine.run, "__wrapped__") and not hasattr(torch.Tensor.backward, "__wrapped__")
assert type(torch.__spec__.loader).__name__ == "SourceFileLoader", torch.__spec__.loader
import inspect
assert "class DiceMetric" in inspect.getsource(DiceMetric)
points = [r for r, _ in segments.read(run.folder) if isinstance(r, Metric) and not r.key.startswith("system/")]
print(sorted((r.key, r.value) for r in points))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[('dice', 1.0), ('train_loss', 5.0)]"


def test_a_block_without_any_library_is_no_trouble() -> None:
    program = """
import sys
for name in ("torch", "monai", "ignite"):
    sys.modules[name] = None
from mlops_lab.tracking import track
with track(experiment="bare", offline=True) as run:
    try:
        import torch
    except ImportError:
        run.log_metric("x", 1.0)
print(run.progress().metrics)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "{'x': 1.0}"

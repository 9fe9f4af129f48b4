"""MONAI in a tracked block: classes by their names, metrics as they were set up, a training that does not feel it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.metrics import ConfusionMatrixMetric, Cumulative, CumulativeIterationMetric, DiceMetric, ROCAUCMetric
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, ToTensord
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks

from mlops_lab.tracking import track
from mlops_lab.tracking.capture import construction
from mlops_lab.tracking.capture.naming import labels_in
from tests.unit.captured import artifacts, params, points


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> Iterator[None]:
    """Journals of these tests stay in the test's folder; constructors are watched, as after ``%load_ext``."""
    construction.arm()
    yield
    construction.disarm()


def block(**options: Any) -> Any:
    return track(experiment="monai", offline=True, **options)


def masks(*hits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot prediction and truth [1, 3, 4, 4] in which `hits[c - 1]` of 4 pixels of class c are found."""
    truth, guess = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    for position, hit in enumerate(hits, start=1):
        truth[0, position, position] = 1
        guess[0, position, position, :hit] = 1
    return guess, truth


def dice_of(*hits: int, **options: Any) -> DiceMetric:
    metric = DiceMetric(reduction="mean_batch", **{"include_background": False, **options})
    metric(*masks(*hits))
    return metric


# Class labels


def test_classes_are_called_as_the_code_calls_them_that_takes_the_result_apart() -> None:
    def validate(dice_metric: DiceMetric, dice_metric_batch: DiceMetric) -> None:
        dice_metric.aggregate()
        metric_batch = dice_metric_batch.aggregate()
        metric_tc = metric_batch[0].item()
        metric_wt = metric_batch[1].item()
        metric_et = float(metric_batch[2])
        assert metric_tc == metric_wt == metric_et == 1

    whole, by_class = DiceMetric(), DiceMetric(reduction="mean_batch")
    ones = torch.ones(2, 3, 4, 4)
    with block() as run:
        for metric in (whole, by_class):
            metric(ones, ones)
        validate(whole, by_class)
    assert {name for name, _, _ in points(run)} == {
        "dice",
        "dice_batch",
        *(f"dice_batch_{c}" for c in ("tc", "wt", "et")),
    }
    assert artifacts(run)["cases/dice.csv"].splitlines()[0] == "case,aggregation,epoch,tc,wt,et"


def test_classes_are_called_as_the_code_calls_them() -> None:
    class_names = ["background", "liver", "tumour"]
    dice_metric = dice_of(4, 2)
    with block() as run:
        dice_metric.aggregate()
    assert points(run) == [
        ("dice", 1, pytest.approx((1 + 2 / 3) / 2)),
        ("dice_liver", 1, 1.0),
        ("dice_tumour", 1, pytest.approx(2 / 3)),
    ]
    assert class_names[0] == "background"


def test_with_the_background_every_class_has_its_name_and_a_wrong_list_is_not_used() -> None:
    labels = {"0": "background", "1": "left ventricle", "2": "myocardium"}
    val_files_labels = ["a.nii", "b.nii", "c.nii"]
    dice_metric = dice_of(4, 4, include_background=True)
    with block() as run:
        dice_metric.aggregate()
    assert [name for name, _, _ in points(run)] == ["dice", "dice_background", "dice_left_ventricle", "dice_myocardium"]
    del labels
    with block() as run:
        dice_metric.aggregate()
    assert [name for name, _, _ in points(run)] == ["dice", "dice_class_0", "dice_class_1", "dice_class_2"]
    assert val_files_labels, "a list of files is none of classes"


def test_the_metrics_own_labels_come_first() -> None:
    classes = ["a", "b"]
    dice_metric = dice_of(4, 2, return_with_label=["liver", "tumour"])
    numbered = dice_of(4, 4, return_with_label=True)
    with block() as run:
        value = dice_metric.aggregate()
        assert isinstance(value, dict), "the metric itself gives what it always gave"
        numbered.aggregate()
    names = [name for name, _, _ in points(run)]
    assert names == ["dice", "dice_liver", "dice_tumour", "numbered", "numbered_label_1", "numbered_label_2"]
    assert points(run)[2][2] == 0.6667, "MONAI rounds these"
    assert classes


@pytest.mark.parametrize(
    ("given", "count", "background", "found"),
    [
        (["liver", "tumour"], 2, False, ["liver", "tumour"]),
        (["bg", "liver", "tumour"], 2, False, ["liver", "tumour"]),
        (["bg", "liver", "tumour"], 2, True, None),
        ({0: "bg", 1: "liver"}, 1, False, ["liver"]),
        ({"liver": 1, "tumour": 2}, 2, False, ["liver", "tumour"]),
        ({"bg": 0, "liver": 1}, 2, True, ["bg", "liver"]),
        (["liver", "liver"], 2, False, None),
        (["/data/a.nii", "/data/b.nii"], 2, False, None),
        ([0, 1], 2, False, None),
        (["left/right", "a b"], 2, True, ["left_right", "a_b"]),
    ],
)
def test_lists_and_dictionaries_of_classes(given: Any, count: int, background: bool, found: Any) -> None:
    assert labels_in(given, count, background) == found


# Metrics


def test_a_metric_says_how_it_was_set_up() -> None:
    dice_metric = DiceMetric(include_background=False, reduction="mean_batch", get_not_nans=True)
    confusion = ConfusionMatrixMetric(metric_name=["sensitivity"], reduction="mean")
    with block() as run:
        for metric in (dice_metric, confusion):
            metric(*masks(4, 4))
        dice_metric.aggregate()
        confusion.aggregate()
    found = params(run)
    assert found["dice.class"] == "DiceMetric"
    assert found["dice.include_background"] == "False"
    assert found["dice.reduction"] == "mean_batch"
    assert found["confusion.metric_name"] == "['sensitivity']"


def test_a_scalar_metric_is_one_series_whatever_lists_there_are() -> None:
    class_names = ["healthy", "ill"]
    auc_metric = ROCAUCMetric()
    with block() as run:
        auc_metric(torch.tensor([[0.1], [0.9]]), torch.tensor([[0], [1]]))
        assert auc_metric.aggregate() == 1.0
    assert points(run) == [("auc", 1, 1.0)]
    assert class_names


# The whole of it


def test_every_hook_is_taken_out_again() -> None:
    def doors() -> list[Any]:
        return [
            *(vars(CumulativeIterationMetric)[name] for name in ("__call__",)),
            *(vars(Cumulative)[name] for name in ("extend", "append", "aggregate")),
            *(vars(Engine)[name] for name in ("run", "_handle_exception")),
            *(vars(cls)[name] for cls, name in ((ConfigWorkflow, "run"), (ConfigParser, "get_parsed_content"))),
            len(_global_optimizer_post_hooks),
        ]

    before = doors()
    with block():
        assert all(now is not then for now, then in zip(doors()[:-1], before[:-1], strict=True))
    assert doors() == before


def test_a_block_that_leaves_a_capture_out_has_nothing_of_it() -> None:
    dice_metric = dice_of(4, 4)
    net = nn.Linear(3, 1)
    with block(capture=["networks"]) as run:
        net(torch.ones(1, 3)).sum().backward()
        torch.optim.SGD(net.parameters(), 0.1).step()
        dice_metric.aggregate()
    assert params(run)["network"] == "Linear"
    assert points(run) == []


def test_training_is_the_same_bit_for_bit_with_and_without_us(tmp_path: Path) -> None:
    data = []
    for number in range(4):
        np.save(tmp_path / f"image_{number}.npy", np.full((4, 4), number + 1.0, dtype=np.float32))
        data.append({"image": str(tmp_path / f"image_{number}.npy")})
    load = [LoadImaged(keys="image"), EnsureChannelFirstd(keys="image", channel_dim="no_channel")]

    def train() -> tuple[torch.Tensor, float, list[float]]:
        torch.manual_seed(3)
        np.random.seed(3)
        dataset = Dataset(data, transform=Compose([*load, ToTensord(keys="image")]))
        loader = DataLoader(dataset, batch_size=2, shuffle=True)
        net = UNet(2, 1, 2, channels=(4, 8), strides=(2,), dropout=0.25)
        loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        dice_metric = DiceMetric(include_background=False)
        found = []
        for _ in range(2):
            for batch in loader:
                optimizer.zero_grad()
                out = net(batch["image"])
                loss_function(out, (batch["image"] > 2).float()).backward()
                optimizer.step()
                dice_metric(torch.nn.functional.one_hot(out.argmax(1), 2).movedim(-1, 1), (batch["image"] > 2).float())
            found.append(dice_metric.aggregate().item())
            dice_metric.reset()
        return torch.cat([p.detach().flatten() for p in net.parameters()]), float(torch.rand(1)), found

    construction.disarm()
    weights, number, dice = train()
    construction.arm()
    with block() as run:
        tracked_weights, tracked_number, tracked_dice = train()
    assert torch.equal(torch.as_tensor(weights), torch.as_tensor(tracked_weights))
    assert number == tracked_number
    assert dice == tracked_dice or all(math.isnan(value) for value in dice)
    assert params(run)["network"] == "UNet"
    assert any(name.startswith("transforms/") for name in artifacts(run))
    assert not [notice for notice in run.notices if "could not" in notice]

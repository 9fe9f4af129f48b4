"""Loops in the styles of well-known methods and tutorials: what a person expects to see of each is what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.losses import PatchAdversarialLoss
from monai.visualize import GradCAM, VanillaGrad
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

from tests.unit.journal_readings import block, params, points, series, troubles, values


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder, and every test has the same random numbers."""
    torch.manual_seed(0)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 3), torch.randint(0, 2, (4,))


def samples(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 3), torch.randint(0, 2, (count,)))


class Detector(nn.Module):
    """Gives its losses as a dictionary, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.classify, self.locate = nn.Linear(3, 2), nn.Linear(3, 1)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "classification": F.cross_entropy(self.classify(inputs), labels),
            "box_regression": self.locate(inputs).abs().mean(),
        }


@pytest.mark.parametrize("way", ["keys", "sum"])
def test_losses_in_a_dictionary_are_series_of_their_keys(way: str) -> None:
    detector = Detector()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1)
    told: list[tuple[float, float, float]] = []
    with block() as run:
        for _ in range(3):
            optimizer.zero_grad()
            losses = detector(*batch())
            total = 0.5 * losses["classification"] + losses["box_regression"] if way == "keys" else sum(losses.values())
            total.backward()
            optimizer.step()
            told.append((total.item(), losses["classification"].item(), losses["box_regression"].item()))
    assert values(run, "train_loss") == [one for one, _, _ in told]
    assert values(run, "train_loss_classification") == [one for _, one, _ in told]
    assert values(run, "train_loss_box_regression") == [one for _, _, one in told]
    assert params(run)["loss_function"] == "cross_entropy"
    assert troubles(run) == []


def test_terms_with_weights_that_are_learned_are_series() -> None:
    model, log_vars = nn.Linear(3, 2), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([*model.parameters(), log_vars], lr=0.01)
    told: list[tuple[float, float]] = []
    with block() as run:
        for _ in range(3):
            inputs, labels = batch()
            outputs = model(inputs)
            seg_loss, cls_loss = outputs.square().mean(), F.cross_entropy(outputs, labels)
            loss = torch.exp(-log_vars[0]) * seg_loss + torch.exp(-log_vars[1]) * cls_loss + log_vars.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told.append((seg_loss.item(), cls_loss.item()))
    assert values(run, "train_loss_seg") == [one for one, _ in told]
    assert values(run, "train_loss_cls") == [other for _, other in told]


def test_an_autoencoder_that_a_discriminator_joins_later() -> None:
    autoencoder, discriminator = nn.Linear(3, 3), nn.Linear(3, 1)
    l1_loss, adv_loss = nn.L1Loss(), PatchAdversarialLoss(criterion="least_squares")
    optimizer_g = torch.optim.Adam(autoencoder.parameters(), lr=0.01)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=0.02)
    told: dict[str, list[float]] = {"g": [], "d": [], "recons": [], "generator": []}
    with block() as run:
        for epoch in range(4):
            images = torch.rand(4, 3)
            optimizer_g.zero_grad()
            reconstruction = autoencoder(images)
            recons_loss = l1_loss(reconstruction, images)
            loss_g = recons_loss
            if epoch > 0:
                logits = discriminator(reconstruction)
                generator_loss = adv_loss(logits, target_is_real=True, for_discriminator=False)
                loss_g = loss_g + 0.01 * generator_loss
                told["recons"].append(recons_loss.item())
                told["generator"].append(generator_loss.item())
            loss_g.backward()
            optimizer_g.step()
            told["g"].append(loss_g.item())
            if epoch > 0:
                optimizer_d.zero_grad()
                fake = adv_loss(discriminator(reconstruction.detach()), target_is_real=False, for_discriminator=True)
                real = adv_loss(discriminator(images), target_is_real=True, for_discriminator=True)
                loss_d = (fake + real) * 0.5
                loss_d.backward()
                optimizer_d.step()
                told["d"].append(loss_d.item())
    assert values(run, "train_loss_g") == told["g"]
    assert values(run, "train_loss_d") == told["d"]
    assert points(run, "train_loss_recons") == [("train_loss_recons", n + 2, told["recons"][n]) for n in range(3)]
    assert points(run, "train_loss_generator") == [
        ("train_loss_generator", n + 2, told["generator"][n]) for n in range(3)
    ]
    assert (params(run)["optimizer_g.lr"], params(run)["optimizer_d.lr"]) == ("0.01", "0.02")


class Focal(nn.Module):
    """A loss whose class does not say so."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ce = F.cross_entropy(outputs, labels, reduction="none")
        loss: torch.Tensor = ((1 - torch.exp(-ce)) ** self.gamma * ce).mean()
        return loss


def test_a_module_that_is_called_criterion_is_the_loss() -> None:
    model, criterion = nn.Linear(3, 2), Focal(gamma=1.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with block() as run:
        for _ in range(3):
            inputs, labels = batch()
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()
    assert params(run)["loss_function"] == "Focal"
    assert series(run) == {"train_loss", "lr"}
    assert "__call__" not in Focal.__dict__


class SharpnessAware(torch.optim.Optimizer):
    """Steps uphill first, and then takes the gradient from there (SAM)."""

    def __init__(self, parameters: Any, base: type[torch.optim.Optimizer], **settings: Any) -> None:
        super().__init__(parameters, settings)
        self.base = base(self.param_groups, **settings)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        for p in self.param_groups[0]["params"]:
            self.state[p]["before"] = p.data.clone()
            p.add_(p.grad, alpha=0.05)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for p in self.param_groups[0]["params"]:
            p.data = self.state[p]["before"]
        self.base.step()
        self.zero_grad()


def test_an_optimizer_that_looks_around_first_has_one_point_a_step() -> None:
    model = nn.Linear(3, 2)
    optimizer = SharpnessAware(model.parameters(), torch.optim.SGD, lr=0.1)
    told = []
    with block() as run:
        for _ in range(4):
            inputs, labels = batch()
            loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.first_step()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.second_step()
            told.append(loss.item())
    assert values(run, "train_loss") == told


def test_the_attack_of_an_adversarial_training_is_no_part_of_its_loss() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with block() as run:
        for _ in range(3):
            inputs, labels = batch()
            inputs.requires_grad_()
            F.cross_entropy(model(inputs), labels).backward()
            assert inputs.grad is not None
            attacked = (inputs + 0.1 * inputs.grad.sign()).detach()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(attacked), labels)
            loss.backward()
            optimizer.step()
            told.append(loss.item())
    assert values(run, "train_loss") == told


def test_gradients_of_two_tasks_that_are_put_together_by_hand_are_one_point() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with block() as run:
        for _ in range(3):
            outputs = model(batch()[0])
            first, second = outputs.square().mean(), outputs.abs().mean()
            gradients = torch.autograd.grad(first, list(model.parameters()), retain_graph=True)
            others = torch.autograd.grad(second, list(model.parameters()))
            for p, one, other in zip(model.parameters(), gradients, others, strict=True):
                p.grad = one + other
            optimizer.step()
            told.append(first.item() + second.item())
    assert values(run, "train_loss") == told


def test_heat_maps_are_no_training() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    told = []

    def saliency(image: torch.Tensor) -> torch.Tensor | None:
        image = image.clone().requires_grad_()
        optimizer.zero_grad()
        head(image)[:, 1].sum().backward()
        return image.grad

    with block() as run:
        GradCAM(nn_module=model, target_layers="0")(x=torch.rand(1, 1, 8, 8))
        VanillaGrad(model)(torch.rand(1, 1, 8, 8))
        for _epoch in range(2):
            for _ in range(3):
                inputs, labels = batch()
                optimizer.zero_grad()
                loss = F.cross_entropy(head(inputs), labels)
                loss.backward()
                optimizer.step()
                told.append(loss.item())
            for _ in range(2):
                assert saliency(torch.randn(1, 3)) is not None
    assert values(run, "train_loss") == told


def test_a_validation_that_forgot_no_grad_is_no_part_of_the_terms() -> None:
    model, ce, l1 = nn.Linear(3, 2), nn.CrossEntropyLoss(), nn.L1Loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train_loader, val_loader = DataLoader(samples(8), batch_size=4), DataLoader(samples(6), batch_size=2)
    told: list[float] = []

    def compute(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[Any, float]:
        outputs = model(inputs)
        first = ce(outputs, labels)
        return first + 0.1 * l1(outputs, torch.zeros(len(inputs), 2)), first.item()

    with block() as run:
        for _ in range(3):
            for inputs, labels in train_loader:
                optimizer.zero_grad()
                loss, first = compute(inputs, labels)
                loss.backward()
                optimizer.step()
                told.append(first)
            for inputs, labels in val_loader:
                compute(inputs, labels)
    assert values(run, "train_loss_cross_entropy") == told


class WrappedDataLoader:
    """The loader of PyTorch's own tutorial, which brings batches to a device."""

    def __init__(self, dl: Any) -> None:
        self.dl = dl

    def __len__(self) -> int:
        return len(self.dl)

    def __iter__(self) -> Iterator[Any]:
        for inputs, labels in self.dl:
            yield inputs.to("cpu"), labels.to("cpu")


def test_a_loader_inside_of_another_one_is_called_as_that() -> None:
    train_dl, valid_dl = (WrappedDataLoader(DataLoader(samples(4), batch_size=2)) for _ in range(2))
    with block() as run:
        for loader in (train_dl, valid_dl):
            assert len(list(loader)) == 2
    assert {"train_loader.batch_size", "val_loader.batch_size"} <= set(params(run))


def test_zipped_loaders_that_a_progress_bar_keeps_alive_have_all_their_epochs() -> None:
    labelled, unlabelled = DataLoader(samples(10), batch_size=2), DataLoader(samples(8), batch_size=2)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with block() as run:
        for _ in range(3):
            bar = enumerate(zip(labelled, unlabelled, strict=False))
            for _step, ((inputs, labels), (others, _)) in bar:
                optimizer.zero_grad()
                (F.cross_entropy(model(inputs), labels) + 0.1 * model(others).square().mean()).backward()
                optimizer.step()
    assert [(step, value) for _, step, value in points(run, "epoch")] == [(4, 1.0), (8, 2.0), (12, 3.0)]


def test_the_optimizers_of_all_folds_are_described_once() -> None:
    dataset = samples(12)
    folds = [(range(8), range(8, 12)), (range(4, 12), range(4))]
    told = []
    with block() as run:
        for training, _validation in folds:
            model = nn.Linear(3, 2)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for inputs, labels in DataLoader(Subset(dataset, list(training)), batch_size=4):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()
                told.append(loss.item())
    assert values(run, "train_loss") == told
    assert {name for name in params(run) if name.startswith("optimizer")} == {"optimizer", "optimizer.lr"}


def test_the_steps_of_the_epochs_go_up_when_a_second_loss_begins_late_and_when_a_second_training_follows() -> None:
    train_loader = DataLoader(samples(6), batch_size=2)
    segmenter, critic = nn.Linear(3, 2), nn.Linear(2, 1)
    opt_seg, opt_critic = (torch.optim.SGD(model.parameters(), lr=0.1) for model in (segmenter, critic))

    def train(epochs: int) -> None:
        for epoch in range(epochs):
            for inputs, labels in train_loader:
                opt_seg.zero_grad()
                loss_seg = F.cross_entropy(segmenter(inputs), labels)
                loss_seg.backward()
                opt_seg.step()
                if epoch:
                    opt_critic.zero_grad()
                    loss_critic = critic(segmenter(inputs).detach()).mean()
                    loss_critic.backward()
                    opt_critic.step()

    with block() as run:
        train(epochs=3)
        model = nn.Linear(3, 2)
        opt_refine = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(2):
            for inputs, labels in train_loader:
                opt_refine.zero_grad()
                loss = F.cross_entropy(model(inputs), labels)
                loss.backward()
                opt_refine.step()
    assert [(step, value) for _, step, value in points(run, "epoch")] == [(3, 1), (6, 2), (9, 3), (12, 4), (15, 5)]
    assert {
        name: len(values(run, name)) for name in series(run) if name.startswith("train_loss") and "epoch" not in name
    } == {
        "train_loss_seg": 9,
        "train_loss_critic": 6,
        "train_loss_refine": 6,
    }
    assert params(run)["epochs"] == "3"
    assert {name for name in params(run) if name in ("optimizer", "optimizer_refine", "loss_function_refine")} == {
        "optimizer_refine",
        "loss_function_refine",
    }


def test_a_second_training_goes_on_where_its_optimizer_takes_the_place_of_the_first() -> None:
    train_loader = DataLoader(samples(4), batch_size=2)
    model = nn.Linear(3, 2)
    with block() as run:
        for make, rate in ((torch.optim.SGD, 0.1), (torch.optim.Adam, 0.01)):
            optimizer: torch.optim.Optimizer = make(model.parameters(), lr=rate)
            for _ in range(2):
                for inputs, labels in train_loader:
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(inputs), labels)
                    loss.backward()
                    optimizer.step()
    assert len(values(run, "train_loss")) == 8
    assert points(run, "lr") == [("lr", 1, 0.1), ("lr", 5, 0.01)]
    found = {name: value for name, value in params(run).items() if name.startswith(("optimizer", "loss_function"))}
    assert found == {
        "optimizer": "SGD",
        "optimizer.lr": "0.1",
        "optimizer_2": "Adam",
        "optimizer_2.lr": "0.01",
        "loss_function": "cross_entropy",
    }


def test_the_number_of_epochs_from_an_earlier_cell_is_a_param_but_a_counter_is_none() -> None:
    earlier = "max_epochs = 2\n"
    cell = """
for epoch in range(max_epochs):
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
"""
    counted = cell.replace("max_epochs", "1, 3").replace("epoch ", "epochs ")
    for code, expected in ((cell, {"max_epochs": "2"}), (counted, {})):
        model = nn.Linear(3, 2)
        notebook = {
            "__name__": "__main__",
            "F": F,
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
            "train_loader": DataLoader(samples(4), batch_size=2),
        }
        exec(earlier, notebook)
        with block() as run:
            exec(code, notebook)
        assert {name: value for name, value in params(run).items() if "epoch" in name} == expected
        assert len(points(run, "epoch")) == 2


def test_an_optimizer_that_carries_another_one_is_no_second_optimizer() -> None:
    class Patient(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            super().__init__(inner.param_groups, {})
            self.inner, self.param_groups = inner, inner.param_groups

        def step(self, closure: Any = None) -> Any:
            return self.inner.step(closure)

    model = nn.Linear(3, 2)
    optimizer = Patient(torch.optim.SGD(model.parameters(), lr=0.1))
    with block() as run:
        for _ in range(3):
            inputs, labels = batch()
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    assert len(values(run, "train_loss")) == 3
    assert values(run, "lr") == [0.1]
    assert {name for name in params(run) if name.startswith("optimizer")} == {"optimizer", "optimizer.lr"}


def test_the_data_of_an_evaluator_are_called_as_its_place_in_the_bundle_or_its_variable() -> None:
    def evaluator(size: int) -> dict[str, Any]:
        data = [{"image": torch.ones(1, 2, 2), "label": torch.ones(1, 2, 2)}] * size
        loader = {"_target_": "DataLoader", "dataset": {"_target_": "Dataset", "data": data}, "batch_size": 1}
        return {
            "_target_": "SupervisedEvaluator",
            "device": "cpu",
            "network": {"_target_": "torch.nn.Identity"},
            "val_data_loader": loader,
        }

    expected = {"val_dataset.size": "3", "test_dataset.size": "2"}
    parser = ConfigParser({"validate": {"evaluator": evaluator(3)}, "test": {"evaluator": evaluator(2)}})
    with block() as run:
        for part in ("validate", "test"):
            parser.get_parsed_content(f"{part}#evaluator").run()
    assert {name: value for name, value in params(run).items() if name.endswith("dataset.size")} == expected

    val_evaluator = ConfigParser(evaluator(3)).get_parsed_content()
    test_evaluator = ConfigParser(evaluator(2)).get_parsed_content()
    with block() as run:
        val_evaluator.run()
        test_evaluator.run()
    assert {name: value for name, value in params(run).items() if name.endswith("dataset.size")} == expected

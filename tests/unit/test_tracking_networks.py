"""The network that a run trains is known by what its optimizers hold, whichever cell it was built in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.networks.nets import UNet
from torch import nn

from mlops_lab.tracking import track
from mlops_lab.tracking.capture import construction
from tests.unit.captured import artifacts, params


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> Iterator[None]:
    """Journals of these tests stay in the test's folder; constructors are watched, as after ``%load_ext``."""
    construction.arm()
    yield
    construction.disarm()


def block(**options: Any) -> Any:
    return track(experiment="monai", offline=True, **options)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    optimizer.zero_grad()
    net(x).sum().backward()
    optimizer.step()


def test_a_network_that_was_built_in_an_earlier_cell_is_described() -> None:
    net = UNet(2, 1, 2, channels=(4, 8), strides=(2,), dropout=0.25)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with block() as run:
        for _ in range(2):
            step(net, optimizer, torch.ones(1, 1, 8, 8))
    found = params(run)
    assert {name: value for name, value in found.items() if name.startswith("network")} == {
        "network": "UNet",
        "network.spatial_dims": "2",
        "network.in_channels": "1",
        "network.out_channels": "2",
        "network.channels": "(4, 8)",
        "network.strides": "(2,)",
        "network.dropout": "0.25",
        "network.parameters": str(sum(p.numel() for p in net.parameters())),
    }
    text = artifacts(run)["model/network.txt"]
    assert "class: monai.networks.nets.unet.UNet" in text
    assert "Conv2d(1, 4" in text


def test_the_whole_network_counts_also_where_only_its_head_is_trained() -> None:
    class Classifier(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.body = nn.Linear(4, width)
            self.head = nn.Linear(width, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.head(self.body(x))
            return found

    model = Classifier(8)
    for parameter in model.body.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam(model.head.parameters())
    with block() as run:
        step(model, optimizer, torch.ones(1, 4))
    found = params(run)
    assert found["network"] == "Classifier"
    assert found["network.width"] == "8"
    assert found["network.parameters"] == "18"
    assert "frozen parameters: 40" in artifacts(run)["model/network.txt"]


def test_two_networks_with_two_optimizers_are_two_and_wrappers_are_looked_through() -> None:
    generator, discriminator = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 1))
    opt_g = torch.optim.Adam(generator.parameters())
    wrapped = torch.nn.DataParallel(discriminator)
    opt_d = torch.optim.Adam(wrapped.parameters())
    with block() as run:
        wrapped(generator(torch.ones(2, 3))).sum().backward()
        for _ in range(2):
            opt_g.step()
            opt_d.step()
    found = params(run)
    assert (found["network"], found["network.out_features"]) == ("Linear", "4")
    assert found["network_2"] == "Sequential"
    assert set(artifacts(run)) >= {"model/network.txt", "model/network_2.txt"}


def test_a_compiled_and_a_scripted_network_have_their_own_names() -> None:
    compiled = torch.compile(UNet(2, 1, 2, channels=(4, 8), strides=(2,)), backend="eager")
    with block() as run:
        step(compiled, torch.optim.SGD(compiled.parameters(), 0.1), torch.ones(1, 1, 8, 8))
    assert params(run)["network"] == "UNet"
    assert params(run)["network.channels"] == "(4, 8)"
    scripted = torch.jit.script(nn.Linear(3, 1))
    with block() as run:
        step(scripted, torch.optim.SGD(scripted.parameters(), 0.1), torch.ones(1, 3))
    assert params(run)["network"] == "Linear"


def test_a_network_from_before_the_arming_shows_what_it_holds() -> None:
    construction.disarm()
    net = UNet(2, 1, 2, channels=(4, 8), strides=(2,))
    construction.arm()
    with block() as run:
        step(net, torch.optim.SGD(net.parameters(), 0.1), torch.ones(1, 1, 8, 8))
    assert params(run)["network.channels"] == "(4, 8)"
    assert "built before it was watched" in artifacts(run)["model/network.txt"]


def test_the_network_of_an_engine_is_found_although_no_variable_of_the_cell_is_called_so() -> None:
    def trainer() -> SupervisedTrainer:
        net = UNet(2, 1, 1, channels=(4, 8), strides=(2,))
        data = [{"image": torch.ones(1, 8, 8), "label": torch.ones(1, 8, 8)}]
        return SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=DataLoader(Dataset(data), batch_size=1),
            network=net,
            optimizer=torch.optim.SGD(net.parameters(), 0.1),
            loss_function=nn.MSELoss(),
        )

    construction.disarm()
    early = trainer()
    construction.arm()
    for engine in (early, trainer()):
        with block() as run:
            engine.run()
        assert params(run)["network"] == "UNet"
        assert params(run)["network.channels"] == "(4, 8)"


def test_parameters_without_a_network_are_no_network() -> None:
    weight = torch.tensor([2.0], requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.1)
    with block() as run:
        (weight * 2).sum().backward()
        optimizer.step()
    assert "network" not in params(run)
    assert not [notice for notice in run.notices if "network" in notice]


def test_the_next_fold_is_no_second_network_but_another_architecture_is() -> None:
    def fold(width: int) -> None:
        net = nn.Linear(3, width)
        step(net, torch.optim.SGD(net.parameters(), 0.1), torch.ones(1, 3))

    with block() as run:
        for width in (4, 4, 8):
            fold(width)
    found = params(run)
    assert (found["network.out_features"], found["network_2.out_features"]) == ("4", "8")
    assert "network_3" not in found


def test_folds_whose_networks_and_optimizers_are_kept_are_said_once() -> None:
    networks, optimizers = [], []
    with block() as run:
        for _ in range(3):
            networks.append(nn.Linear(3, 4))
            optimizers.append(torch.optim.SGD(networks[-1].parameters(), 0.1))
            for _ in range(2):
                step(networks[-1], optimizers[-1], torch.ones(1, 3))
    assert {name for name in params(run) if name.startswith("network")} == {
        "network",
        "network.in_features",
        "network.out_features",
        "network.parameters",
    }
    assert {name for name in artifacts(run) if name.startswith("model/")} == {"model/network.txt"}


def test_two_networks_that_are_built_alike_are_two_where_they_are_trained_together() -> None:
    first, second = nn.Linear(3, 4), nn.Linear(3, 4)
    opt_a, opt_b = torch.optim.SGD(first.parameters(), 0.1), torch.optim.SGD(second.parameters(), 0.1)
    with block() as run:
        for _ in range(2):
            (first(torch.ones(1, 3)) + second(torch.ones(1, 3))).sum().backward()
            opt_a.step()
            opt_b.step()
    assert params(run)["network_2.out_features"] == "4"


def test_a_module_that_only_holds_a_network_is_looked_through() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._model = UNet(2, 1, 2, channels=(4, 8), strides=(2,))
            self.loss_function = nn.MSELoss()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self._model(x)
            return found

    net = Net()
    with block() as run:
        step(net, torch.optim.SGD(net.parameters(), 0.1), torch.ones(1, 1, 8, 8))
    assert params(run)["network"] == "UNet"
    assert params(run)["network.channels"] == "(4, 8)"


def test_the_network_of_an_evaluation_is_the_one_that_the_code_names() -> None:
    def evaluate(model: nn.Module, loader: Any) -> None:
        loss_function = nn.CrossEntropyLoss(weight=torch.ones(2))
        with torch.no_grad():
            for batch in loader:
                loss_function(model(batch).flatten(2), torch.zeros(1, 64, dtype=torch.long))

    model = UNet(2, 1, 2, channels=(4, 8), strides=(2,))
    loader = DataLoader([torch.ones(1, 8, 8)], batch_size=1)
    with block() as run:
        evaluate(model, loader)
    found = params(run)
    assert (found["network"], found["network.channels"]) == ("UNet", "(4, 8)")
    assert "network_2" not in found


def test_a_detector_tells_of_the_network_that_it_was_given() -> None:
    class Detector(nn.Module):
        def __init__(self, network: nn.Module, score: float) -> None:
            super().__init__()
            self.network = network
            self.score = score

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(x)
            return found

    detector = Detector(UNet(2, 1, 2, channels=(4, 8), strides=(2,)), score=0.5)
    with block() as run:
        step(detector, torch.optim.SGD(detector.network.parameters(), 0.1), torch.ones(1, 1, 8, 8))
    found = params(run)
    assert (found["network"], found["network.score"]) == ("Detector", "0.5")
    assert (found["network.network"], found["network.network.channels"]) == ("UNet", "(4, 8)")

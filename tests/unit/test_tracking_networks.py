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

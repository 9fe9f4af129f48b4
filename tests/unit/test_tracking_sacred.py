"""What tracking must never change: weights, random numbers, torch.compile, and the libraries after the block."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import Compose, RandFlip, RandGaussianNoise, RandRotate90
from monai.utils import set_determinism
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from tests.unit.journal_readings import block, troubles, values


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


def state() -> str:
    """Digest the states of all random generators."""
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state().numpy().tobytes())
    return hashlib.sha256(pickle.dumps(states)).hexdigest()


def digest(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


class Noisy(torch.utils.data.Dataset[torch.Tensor]):
    """Augments with the three random streams that people use."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        noise = random.random() + np.random.rand() + torch.rand(1)
        return torch.full((1, 8, 8), float(index)) + noise


def train(workers: int, scaled: bool) -> tuple[str, str]:
    """Train a small network; give the digests of its weights and of the random states afterwards."""
    set_determinism(seed=11)
    model = UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,), dropout=0.1)
    augment = Compose([RandFlip(prob=0.5), RandRotate90(prob=0.5), RandGaussianNoise(prob=0.5)])
    train_loader = DataLoader(Dataset(Noisy(), augment), batch_size=2, shuffle=True, num_workers=workers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
    for _epoch in range(2):
        for inputs in train_loader:
            optimizer.zero_grad()
            loss = loss_function(model(inputs), (inputs > 2).float())
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        scheduler.step()
    set_determinism(seed=None)
    random.seed(1)
    return digest(model), state()


@pytest.mark.parametrize(("workers", "scaled"), [(0, False), (2, True)])
def test_weights_and_random_numbers_are_the_same_bit_for_bit(workers: int, scaled: bool) -> None:
    def seeded() -> tuple[str, str]:
        weights, _ = train(workers, scaled)
        set_determinism(seed=5)
        train_loader = DataLoader(Dataset(Noisy()), batch_size=2, shuffle=True, num_workers=workers)
        for _ in train_loader:
            pass
        return weights, state()

    plain = seeded()
    with block(grad_norm=True) as run:
        tracked = seeded()
    assert tracked == plain
    assert len(values(run, "train_loss")) == 6
    assert troubles(run) == []


def test_every_door_is_as_it_was() -> None:
    def doors() -> list[Any]:
        loader, iterator = torch.utils.data.DataLoader, torch.utils.data.dataloader._BaseDataLoaderIter
        return [
            torch.Tensor.__dict__["backward"],
            torch.autograd.backward,
            torch.autograd.grad,
            torch.amp.GradScaler.__dict__["scale"],
            torch.amp.GradScaler.__dict__["step"],
            [cls.__dict__.get("__call__") for cls in (nn.modules.loss._Loss, Own, DiceCELoss)],
            [cls.__dict__.get(name) for cls in (loader, DataLoader) for name in ("__iter__", "__init_subclass__")],
            iterator.__dict__["__next__"],
            dict(_global_optimizer_post_hooks),
            dict(_global_optimizer_pre_hooks),
            (torch.manual_seed, torch.random.manual_seed, random.seed, np.random.seed),
        ]

    class Own(nn.Module):
        """Stands for a loss of the user's own, which is hooked when it is found; see its name in the block."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean()

    Own.__name__ = "OwnLoss"
    criterion = Own()
    before = doors()
    for error in (None, ValueError("stop")):
        try:
            with block(grad_norm=True):
                criterion(nn.Linear(2, 2)(torch.ones(1, 2))).backward()
                assert "__call__" in Own.__dict__
                assert doors() != before
                if error is not None:
                    raise error
        except ValueError:
            assert error is not None
        assert doors() == before


def test_an_error_in_a_loss_or_a_loader_is_the_users() -> None:
    class Broken(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> int:
            raise OSError(f"no such slice: {index}")

    with block() as run:
        with pytest.raises(OSError, match="no such slice: 0"):
            next(iter(torch.utils.data.DataLoader(Broken())))
        with pytest.raises(ValueError, match="batch_size"):
            nn.CrossEntropyLoss()(torch.ones(2, 3), torch.ones(3, dtype=torch.long))
        with pytest.raises(RuntimeError, match="does not require grad"):
            torch.ones(1).sum().backward()
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = nn.MSELoss()(model(torch.ones(1, 2)), torch.ones(1, 1))
        loss.backward()
        optimizer.step()
    assert values(run, "train_loss") == [loss.item()]
    assert troubles(run) == []


def steps(step: Callable[..., Any], count: int = 4) -> list[float]:
    torch.manual_seed(0)
    return [float(step(torch.randn(8, 3), torch.randint(0, 3, (8,)))) for _ in range(count)]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_loss_is_compiled_whole_and_the_training_is_recorded(backend: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, criterion = nn.Linear(3, 3), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

    @torch.compile(backend=backend, fullgraph=True)
    def forward(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return criterion(model(inputs), labels)  # type: ignore[no-any-return]

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = forward(inputs, labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    with block() as run:
        told = steps(step)
    assert values(run, "train_loss") == told
    assert values(run, "lr") == [0.1]
    assert troubles(run) == []


def test_what_was_compiled_before_the_block_is_not_compiled_again_for_it() -> None:
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    model, criterion = nn.Linear(3, 3), nn.CrossEntropyLoss()
    forward = torch.compile(lambda inputs, labels: criterion(model(inputs), labels), backend=counter, fullgraph=True)
    steps(forward)
    assert counter.frame_count == 1
    with block():
        steps(forward)
    steps(forward)
    assert counter.frame_count == 1


def test_a_compiled_step_is_taken_apart_as_without_us() -> None:
    from torch._dynamo.testing import CompileCounter

    def trial() -> tuple[list[float], int]:
        torch._dynamo.reset()
        torch.manual_seed(0)
        counter = CompileCounter()
        model, criterion = nn.Linear(3, 3), nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        @torch.compile(backend=counter)
        def step(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            return loss.detach()  # type: ignore[no-any-return]

        return steps(step), counter.frame_count

    plain = trial()
    with warnings.catch_warnings(record=True) as said, block(capture=["torch", "loaders", "seeds"]) as run:
        tracked = trial()
    assert tracked == plain
    assert [str(warning.message) for warning in said if "Dynamo" in str(warning.message)] == []
    assert values(run, "train_loss") == tracked[0]
    assert troubles(run) == []


def test_a_compiled_optimizer_does_not_hide_the_loss() -> None:
    torch._dynamo.reset()
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = torch.compile(optimizer.step, backend="eager")
    told = []
    with block() as run:
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 3)).square().mean()
            loss.backward()
            step()
            told.append(loss.item())
    assert values(run, "train_loss") == told


def test_a_graph_is_still_traced_by_fx() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.criterion = nn.Linear(2, 2), nn.CrossEntropyLoss()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.criterion(self.layer(x), y)  # type: ignore[no-any-return]

    with block():
        graph = torch.fx.symbolic_trace(Net()).graph
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["layer", "criterion"]


def test_a_process_that_is_forked_inside_a_block_records_nothing() -> None:
    model = nn.Linear(2, 1)
    with block() as run:
        child = os.fork()
        if child == 0:
            try:
                model(torch.ones(1, 2)).sum().backward()
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    assert values(run, "train_loss") == []


def test_torch_that_arrives_inside_the_block_is_left_as_it_is_alone(tmp_path: Path) -> None:
    program = """
import sys, random
from mlops_lab.tracking import track
with track(experiment="late", offline=True) as run:
    import torch
    from torch.utils.data import DataLoader
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(4)
    for x in DataLoader(torch.ones(2, 1)):
        torch.nn.MSELoss()(model(x), x).backward()
        optimizer.step()
for function in (
    torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad, torch.manual_seed, torch.random.manual_seed,
    torch.amp.GradScaler.step, DataLoader.__iter__, torch.nn.modules.loss._Loss.__call__, random.seed,
):
    assert function.__module__ is None or not function.__module__.startswith("mlops_lab"), function
    code = getattr(function, "__code__", None)
    assert code is None or "mlops_lab" not in code.co_filename, function
print(sorted(run.progress().metrics))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'train_loss', 'train_loss_epoch'" in done.stdout

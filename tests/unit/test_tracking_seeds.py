"""Seeds and determinism become params, also when they were set long before the block."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import Dataset, ThreadDataLoader
from monai.utils import set_determinism

from mlops_lab.tracking import Run
from mlops_lab.tracking.capture.torch import seeds
from tests.unit.journal_readings import block, params


@pytest.fixture(autouse=True)
def _armed(mlops_home: Path) -> Iterator[None]:
    """Seeds are remembered, as from ``%load_ext mlops_lab`` on; the random numbers of other tests are not touched."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    torch.manual_seed(67280421310721)  # what it begins with
    seeds.arm()
    yield
    seeds.disarm()
    set_determinism(seed=None)
    torch.use_deterministic_algorithms(False)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def trained() -> dict[str, str]:
    """Train for one step in a block; give the params that tell of seeds."""
    with block() as run:
        train()
    return told(run)


def train() -> None:
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()


def told(run: Run) -> dict[str, str]:
    return {name: value for name, value in params(run).items() if name.startswith(("seed", "deterministic"))}


def test_the_seed_of_an_earlier_cell_counts() -> None:
    set_determinism(seed=7)
    assert trained() == {"seed": "7", "deterministic": "True"}


def test_the_last_seed_before_the_block_counts_and_the_first_one_in_it() -> None:
    torch.manual_seed(1)
    torch.manual_seed(2)
    assert trained()["seed"] == "2"
    with block() as run:
        torch.manual_seed(3)
        train()
        torch.manual_seed(4)
    assert told(run)["seed"] == "3"


def test_different_seeds_are_named() -> None:
    with block() as run:
        random.seed(1)
        np.random.seed(seed=2)
        torch.manual_seed(3)
        train()
    assert told(run) == {
        "seed": "1",
        "seed.random": "1",
        "seed.numpy": "2",
        "seed.torch": "3",
        "deterministic": "False",
    }


def test_a_seed_of_64_bits_is_the_same_for_numpy() -> None:
    with block() as run:
        torch.manual_seed(2**40 + 5)
        np.random.seed(5)
        train()
    assert told(run)["seed"] == str(2**40 + 5)
    assert "seed.numpy" not in told(run)


def test_a_seed_that_was_drawn_anew_takes_the_place_of_the_one_that_was_given() -> None:
    set_determinism(seed=7)
    set_determinism(seed=None)
    assert trained() == {"seed": str(torch.initial_seed()), "deterministic": "False"}


def test_a_function_that_seeds_can_still_be_given_to_spawned_workers() -> None:
    for function in (torch.manual_seed, torch.random.manual_seed, random.seed, np.random.seed):
        assert pickle.loads(pickle.dumps(function)) is function


def test_algorithms_that_are_told_to_be_deterministic() -> None:
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    assert trained() == {"seed": "0", "deterministic": "True"}


def test_what_is_no_number_and_what_workers_seed_is_no_seed() -> None:
    random.seed("patient")
    torch.manual_seed(11)
    with block() as run:
        loader = ThreadDataLoader(Dataset([1.0, 2.0]), num_workers=1, use_thread_workers=True)
        assert len(list(loader)) == 2
        train()
    assert told(run)["seed"] == "11"
    assert "seed.random" not in told(run)


def test_without_arming_the_seeds_of_the_block_and_of_torch_are_known(tmp_path: Path) -> None:
    program = """
import random, torch
from mlops_lab import track
torch.manual_seed(21)
with track(experiment="seeds", offline=True) as run:
    random.seed(22)
    layer = torch.nn.Linear(1, 1)
    layer(torch.ones(1, 1)).sum().backward()
print({name: value for name, value in run.params.items() if name.startswith("seed")})
random.seed(1)
assert random.seed.__self__ is random._inst
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "{'seed': '21', 'seed.torch': '21', 'seed.random': '22'}"


def test_arming_imports_nothing_and_waits_for_the_libraries() -> None:
    program = """
import sys
from mlops_lab.tracking.capture.torch import seeds
seeds.arm()
assert not {"torch", "numpy"} & set(sys.modules)
import random, numpy, torch
random.seed(5); numpy.random.seed(5); torch.manual_seed(5)
assert seeds._seeds == {"random": 5, "numpy": 5, "torch": 5}, seeds._seeds
numpy.random.default_rng(3)
seeds.disarm()
assert not hasattr(torch.manual_seed, "_mlops_lab_hook") and not hasattr(random.seed, "_mlops_lab_hook")
assert not hasattr(numpy.random.seed, "_mlops_lab_hook")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

"""Several processes: one run for a distributed training, and a word about those that a block cannot see into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lab import wire
from mlops_lab.tracking import ranks, track
from mlops_lab.tracking.journal import folders, segments
from mlops_lab.tracking.model import Metric, Start
from mlops_lab.tracking.options import TrackOptions
from tests.jupyter_servers import free_port

SCRIPT = """
import os, sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import mlops_lab

with mlops_lab.track(experiment="ddp", offline=True, seed=3) as run:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    net = DistributedDataParallel(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        loss = net(torch.full((1, 2), float(rank + 1))).sum()
        loss.backward()
        optimizer.step()
    run.log_param("of_rank", rank)
    run.log_metric("val_dice", 0.5)
    run.log_text("text", "notes.txt")
    torch.save(net.state_dict(), f"net_{rank}.pt")
    with open(f"rank_{rank}.txt", "w") as told:
        told.write(" ".join(str(float(value)) for value in net.module.weight.flatten()))
    dist.barrier()
    dist.destroy_process_group()
assert run.status == "FINISHED"
"""


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals and files of these tests stay in the test's folder."""
    monkeypatch.chdir(tmp_path)


def block() -> Any:
    return track(experiment="processes", offline=True)


def points(folder: Path, name: str) -> list[float]:
    records = [record for record, _ in segments.read(folder)]
    return [wire.from_number(r.value) for r in records if isinstance(r, Metric) and r.key == name]


def test_a_script_under_torchrun_makes_one_run_and_every_rank_learns() -> None:
    Path("train.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, "train.py"], capture_output=True, text=True, timeout=240, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = folders.journals().iterdir()
    assert len(points(folder, "train_loss")) == 5
    assert points(folder, "val_dice") == [0.5]
    assert Path("rank_0.txt").read_text() == Path("rank_1.txt").read_text()


def train(rank: int, place: str) -> None:
    """What ``mp.spawn`` runs: each process opens a block."""
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
    with track(experiment="spawned", offline=True) as run:
        run.log_metric("of_rank", rank)
    distributed.destroy_process_group()


def test_of_spawned_processes_the_first_makes_a_run_and_the_parent_says_so(tmp_path: Path) -> None:
    import torch.multiprocessing

    with block() as run:
        torch.multiprocessing.spawn(train, args=(str(tmp_path),), nprocs=2)
    others = [folder for folder in folders.journals().iterdir() if folder.name != run.key]
    assert [points(folder, "of_rank") for folder in others] == [[0.0]]
    assert sum("started 2 processes" in notice for notice in run.notices) == 1
    assert "torch.multiprocessing.spawn" in " ".join(run.notices)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "LOCAL_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "3"}, True),
        ({"SLURM_PROCID": "3", "MASTER_ADDR": "node1"}, False),
        ({"RANK": ""}, True),
    ],
)
def test_the_first_process_is_told_by_the_launchers_variables(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks.records() is expected


def test_what_another_rank_tells_mlflow_makes_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("RANK", "1")
    with block():
        mlflow.set_experiment("trials")
        with mlflow.start_run(run_name="trial"):
            mlflow.log_metric("a", 1.0)
            mlflow.log_text("text", "note.txt")
            with mlflow.start_run(nested=True):
                mlflow.log_param("b", 2)
    assert not list(folders.journals().iterdir())


def test_a_silent_run_takes_everything_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("text")
    start = Start(1, "key", "experiment", "name", 0, "user", {})
    run = ranks.Silent(start, TrackOptions()).run
    run.log_metric("a", 1.0)
    run.log_params({"b": 2})
    run.set_tag("c", "d")
    run.log_text("text", "folder/text.txt")
    run.log_artifact(tmp_path / "file.txt")
    run.log_deferred("e", lambda wait: 1.0)
    run.drain(wait=True)
    assert run.progress().waiting == 0
    assert run.run_id is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt"]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["torchrun", "--nproc_per_node=2", "train.py"], "torchrun"),
        (["python", "-m", "torch.distributed.run", "train.py"], "torch.distributed.run"),
        ("nnUNetv2_train 1 3d_fullres 0", "nnUNetv2_train"),
        (["/usr/bin/env", "accelerate", "launch", "train.py"], "accelerate launch"),
        (["git", "status"], ""),
        (["python", "-c", "print('trained')"], ""),
    ],
)
def test_a_launcher_that_a_cell_starts_is_named_once(command: Any, named: str, tmp_path: Path) -> None:
    # The programs need not be there: what counts is that somebody meant to start them.
    with block() as run:
        for _ in range(2):
            try:
                subprocess.run(
                    command, shell=isinstance(command, str), capture_output=True, check=False, cwd=tmp_path, timeout=60
                )
            except FileNotFoundError:
                assert named
    said = [notice for notice in run.notices if "not in this run" in notice]
    assert [named in notice for notice in said] == ([True] if named else [])


def test_an_exclamation_mark_is_seen_as_well() -> None:
    from IPython.utils.process import system

    with block() as run:
        system("echo torchrun train.py")
    assert any("torchrun" in notice for notice in run.notices)


def test_the_workers_of_a_loader_are_no_strangers() -> None:
    import torch

    with block() as run:
        data: Any = torch.utils.data.TensorDataset(torch.ones(4, 1))
        assert len(list(torch.utils.data.DataLoader(data, num_workers=1))) == 4
    assert not any("process" in notice for notice in run.notices)


def test_auto3dseg_is_named_and_the_score_of_each_network_recorded(tmp_path: Path) -> None:
    from monai.apps.auto3dseg.bundle_gen import BundleAlgo

    place = tmp_path / "segresnet_0"
    (place / "configs").mkdir(parents=True)
    (place / "configs" / "hyper_parameters.yaml").write_text(f"ckpt_path: {place}\n")
    trained = "\n".join(
        [
            "import pathlib, sys",
            "place = pathlib.Path(sys.argv[-1])",
            "(place / 'progress.yaml').write_text('- best_avg_dice_score: 0.5\\n- best_avg_dice_score: 0.75\\n')",
        ]
    )
    (tmp_path / "train.py").write_text(trained)
    algorithm = BundleAlgo(template_path=str(place))
    algorithm.output_path = str(place)
    before = BundleAlgo._run_cmd
    with block() as run:
        algorithm.device_setting.update({"CUDA_VISIBLE_DEVICES": "0", "n_devices": 1, "NUM_NODES": 1})
        algorithm._run_cmd(f"{sys.executable} {tmp_path / 'train.py'} {place}")
    assert points(run.folder, "auto3dseg/segresnet_0/best_score") == [0.75]
    assert sum("Auto3DSeg" in notice for notice in run.notices) == 1
    assert BundleAlgo._run_cmd is before


def test_popen_is_as_it_was_after_the_block() -> None:
    import torch.multiprocessing

    spawn: Any = sys.modules["torch.multiprocessing.spawn"]
    assert torch.multiprocessing.start_processes is spawn.start_processes
    before = subprocess.Popen.__init__, spawn.start_processes
    with block():
        assert subprocess.Popen.__init__ is not before[0]
    assert (subprocess.Popen.__init__, spawn.start_processes) == before

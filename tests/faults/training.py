"""A toy training in plain PyTorch that writes its own log, so that what a run should hold is known from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mlops_lab.connection.rest import TrackingServer

PROGRAM = """
import os, sys, time
import torch
import mlops_lab

torch.set_num_threads(1)
torch.manual_seed(0)
own = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
network = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
criterion = torch.nn.MSELoss()
with mlops_lab.track(experiment={experiment!r}, run_name={name!r}) as run:
    os.write(own, f"KEY {{run.key}}\\n".encode())
    for step in range(1, {steps} + 1):
        inputs = torch.randn(8, 4)
        loss = criterion(network(inputs), inputs.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log_metric("by hand", step / 7)
        os.write(own, f"{{step}} {{loss.item()!r}} {{step / 7!r}}\\n".encode())
        time.sleep({pace})
os.write(own, f"END {{run.status}}\\n".encode())
"""


def program(experiment: str, log: Path, steps: int = 100_000, pace: float = 0.001, name: str = "toy") -> str:
    """Give the program of a training with so many steps, `pace` seconds apart."""
    return PROGRAM.format(log=str(log), experiment=experiment, name=name, steps=steps, pace=pace)


class OwnLog:
    """What the training wrote down itself.

    Attributes
    ----------
    key
        Key of the run; empty where the training did not come so far.
    loss, by_hand
        The values, from step 1 on.
    end
        Status of the run in the end; empty where the training did not come so far.
    """

    def __init__(self, path: Path) -> None:
        self.key = self.end = ""
        self.loss: list[float] = []
        self.by_hand: list[float] = []
        for line in path.read_text().splitlines() if path.exists() else []:
            if line.startswith("KEY "):
                self.key = line[4:]
            elif line.startswith("END "):
                self.end = line[4:]
            else:
                _, loss, by_hand = line.split()
                self.loss.append(float(loss))
                self.by_hand.append(float(by_hand))


def until(come: Callable[[], bool], limit: float = 120.0) -> None:
    """Wait until something has come about."""
    end = time.monotonic() + limit
    while not come():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def run_of(server: TrackingServer, experiment: str, key: str) -> str:
    """Give the id of the one run with our key."""
    experiment_id = server.ensure_experiment(experiment)
    found = server.search_runs([experiment_id], f"tags.`mlops_lab.run_key` = '{key}'")["runs"]
    assert len(found) == 1, f"{len(found)} runs of {key}"
    return str(found[0]["info"]["run_id"])


def series(server: TrackingServer, run_id: str, name: str) -> list[tuple[int, float]]:
    """Give all points of one series, as the server orders them."""
    points: list[tuple[int, float]] = []
    query = {"run_id": run_id, "metric_key": name, "max_results": 25000}
    while True:
        answer = server.get("metrics/get-history", query)
        points += [(int(point.get("step", 0)), float(point["value"])) for point in answer.get("metrics", [])]
        if not answer.get("next_page_token"):
            return points
        query["page_token"] = answer["next_page_token"]


def loss_name(server: TrackingServer, run_id: str) -> str:
    """Give the name under which the loss of the toy was captured."""
    names = {metric["key"] for metric in server.get_run(run_id)["data"]["metrics"]}
    (name,) = [name for name in names if "loss" in name.lower()]
    return str(name)


def check(server: TrackingServer, experiment: str, own: OwnLog) -> str:
    """Make sure that the server has every value of `own`, once and in order, and at most one more; gives the run."""
    run_id = run_of(server, experiment, own.key)
    if not own.loss:
        return run_id
    for name, values in (("by hand", own.by_hand), (loss_name(server, run_id), own.loss)):
        there = series(server, run_id, name)
        assert [step for step, _ in there] == list(range(1, len(there) + 1)), f"{name}: once and in order"
        assert len(values) <= len(there) <= len(values) + 1
        assert [value for _, value in there][: len(values)] == values
    return run_id

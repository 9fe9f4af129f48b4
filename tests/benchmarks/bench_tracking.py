"""What tracking costs the training thread, and what `%load_ext mlops_lab` costs the start of a notebook.

Goals: a captured loss at most 20 microseconds (median); loading under 150 ms. The floor is the same loop untracked,
the rival is MLflow's own `log_metric` over HTTP to the same server, which is what people write by hand.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["MLOPS_LAB_HOME"] = tempfile.mkdtemp(prefix="bench-tracking-")

STEPS = 4000
RIVAL_STEPS = 200
LOADS = 7

LOAD = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
begin = time.perf_counter()
if sys.argv[1] == "ours":
    shell.run_line_magic("load_ext", "mlops_lab")
else:
    shell.run_line_magic("load_ext", "autoreload")
print("SECONDS", time.perf_counter() - begin)
"""


def backward_steps(count: int, after: Callable[[float], None] | None = None) -> list[float]:
    """Time each backward of a loss that costs almost nothing itself, in microseconds."""
    import torch

    weight = torch.ones(1, requires_grad=True)
    times = []
    for _ in range(count):
        loss = (weight * 2).sum()
        begin = time.perf_counter_ns()
        loss.backward()
        if after is not None:
            after(loss.item())
        times.append((time.perf_counter_ns() - begin) / 1000)
    return times


def journal_appends(count: int) -> list[float]:
    """Time each record alone, without torch, in microseconds."""
    from mlops_lab import track

    times = []
    with track(experiment="bench", offline=True) as run:
        for step in range(count):
            begin = time.perf_counter_ns()
            run.log_metric("loss", 0.5, step)
            times.append((time.perf_counter_ns() - begin) / 1000)
    return times


def tracked_steps(uri: str | None) -> list[float]:
    """The same loop in a block; `uri` None: no server answers."""
    from mlops_lab import track

    os.environ["MLFLOW_TRACKING_URI"] = uri or "http://127.0.0.1:9"
    with track(experiment="bench"):
        return backward_steps(STEPS)


def rival_steps(uri: str) -> list[float]:
    """The same loop with MLflow's own call after each step."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench-rival")
    with mlflow.start_run():
        step = iter(range(RIVAL_STEPS + 1))
        mlflow.log_metric("loss", 0.0, next(step))
        return backward_steps(RIVAL_STEPS, lambda value: mlflow.log_metric("loss", value, next(step)))


def load_seconds(which: str) -> list[float]:
    """Time the loading of an extension in a fresh IPython, in seconds."""
    times = []
    for _ in range(LOADS):
        command = [sys.executable, "-c", LOAD, which]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(float(done.stdout.split("SECONDS ")[1]))
    return times


def p99(times: list[float]) -> float:
    """The time that one step in a hundred exceeds."""
    return statistics.quantiles(times, n=100)[98]


def main() -> None:
    """Print the tables."""
    from mlops_lab.connection import embedded

    uri = embedded.start().uri
    assert uri is not None
    try:
        backward_steps(500)  # warm-up
        bare = backward_steps(STEPS)
        rows = [
            ("bare loop (floor)", bare),
            ("captured, server up", tracked_steps(uri)),
            ("captured, server down", tracked_steps(None)),
            ("one journal record alone", journal_appends(STEPS)),
            ("bare loop again", backward_steps(STEPS)),
            ("mlflow.log_metric over HTTP (rival)", rival_steps(uri)),
        ]
    finally:
        embedded.stop()
    floor = statistics.median(bare)
    print(f"{'cost of one loss step, microseconds':40} {'median':>10} {'p99':>10} {'over floor':>11} {'ratio':>7}")
    for name, times in rows:
        middle = statistics.median(times)
        print(f"{name:40} {middle:10.1f} {p99(times):10.1f} {middle - floor:11.1f} {middle / floor:7.2f}")
    ours, theirs = load_seconds("ours"), load_seconds("autoreload")
    print(f"\n{'%load_ext in a fresh IPython, ms':40} {'median':>10} {'slowest':>10}")
    for name, times in (("mlops_lab", ours), ("autoreload, IPython's own (floor)", theirs)):
        print(f"{name:40} {statistics.median(times) * 1000:10.1f} {max(times) * 1000:10.1f}")


if __name__ == "__main__":
    main()

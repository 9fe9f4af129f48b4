"""What the journal costs: a logged metric on the training thread, the way to the server, and the steps of a training.

Goals: a logged metric at most 20 microseconds (median) and 100 (p99) with the server up, down or hung; a million points
to the embedded server in at most twice the time of raw log-batch posts of the same points; the sender's memory bounded
at 64 MB; the slowest steps of a training the same whether the server is up, down, hung or killed.

The rivals log the same metric in the same loop as their own documentation says. On the way to the server the floor is
httpx and orjson posting batches of 1000 that lie ready in memory, and the rival MLflow's own client with batches of
1000; floor and ours take turns, so that a busy machine treats them alike. ``POINTS`` (the variable) makes it shorter.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["MLOPS_LAB_HOME"] = tempfile.mkdtemp(prefix="bench-journal-")
os.environ["MLOPS_LAB_QUOTA"] = "20 GB"
os.environ["WANDB_SILENT"] = "true"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

POINTS = int(os.environ.get("POINTS", "1000000"))
TURNS = 10
BATCH = 1000
STARTED = 1_700_000_000_000
STEPS = 6000
RIVAL_POINTS = min(POINTS, 20_000)
CALLS = 5000
DOWN = "http://127.0.0.1:9"
SLOW_CALLS = 300
"""Calls of the rivals that wait for a server."""

Log = Callable[[float, int], object]
"""Logs one value at one step."""

SEND = """
import os, resource, sys, threading, time
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking.projection.projector import Projector
from pathlib import Path
import httpx, mlops_lab.connection.transport

def memory():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

server = TrackingServer(sys.argv[2])
server.version()
before = peak = memory()
over = threading.Event()
def watch():
    global peak
    while not over.wait(0.02):
        peak = max(peak, memory())
watcher = threading.Thread(target=watch)
watcher.start()
cpu = time.process_time()
begin = time.perf_counter()
assert Projector(Path(sys.argv[1]), lambda: server).push()
seconds = time.perf_counter() - begin
cpu = time.process_time() - cpu
over.set()
watcher.join()
print(seconds, cpu, before, peak)
"""


def point(step: int) -> dict[str, Any]:
    """One point, as MLflow words it."""
    return {"key": "loss", "value": 1.0 / (step + 1), "timestamp": STARTED + step, "step": step}


def raw_posts(uri: str, first: int, count: int) -> tuple[float, float]:
    """Post batches that lie ready, with one keep-alive connection; gives seconds and CPU seconds of the client."""
    import httpx
    import orjson

    from mlops_lab.connection.rest import TrackingServer

    server = TrackingServer(uri)
    run_id = server.create_run(server.ensure_experiment("bench-floor"))["info"]["run_id"]
    steps = range(first, first + count)
    with httpx.Client(trust_env=False, timeout=60) as client:
        begin, cpu = time.perf_counter(), time.process_time()
        for start in range(0, count, BATCH):
            body = {"run_id": run_id, "metrics": [point(step) for step in steps[start : start + BATCH]]}
            content = orjson.dumps(body)
            answer = client.post(
                f"{uri}/api/2.0/mlflow/runs/log-batch", content=content, headers={"Content-Type": "application/json"}
            )
            answer.raise_for_status()
        return time.perf_counter() - begin, time.process_time() - cpu


def our_posts(uri: str, first: int, count: int) -> tuple[float, float, float, float]:
    """Project a journal in a fresh process; gives seconds, CPU seconds, and memory before and at its peak (MB)."""
    from mlops_lab.tracking.journal.writer import Journal
    from mlops_lab.tracking.model import End, Metric, Start

    written = Journal.create(Start(1, f"bench-{first}-{time.time_ns()}", "bench", "bench", STARTED, "ada", {}))
    for step in range(first, first + count):
        written.append(Metric("loss", 1.0 / (step + 1), step, STARTED + step))
        if step % 10_000 == 0:
            written.look_after()
    written.append(End("FINISHED", STARTED + first + count))
    written.close()
    done = subprocess.run(
        [sys.executable, "-c", SEND, str(written.folder), uri], capture_output=True, text=True, check=True
    )
    seconds, cpu, before, peak = map(float, done.stdout.split())
    return seconds, cpu, before, peak


def rival_posts(uri: str) -> float:
    """MLflow's own client with the same batches; gives seconds."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri)
    found = client.get_experiment_by_name("bench-rival")
    run = client.create_run(found.experiment_id if found else client.create_experiment("bench-rival"))
    begin = time.perf_counter()
    for start in range(0, RIVAL_POINTS, BATCH):
        steps = range(start, start + BATCH)
        metrics = [Metric("loss", 1.0 / (step + 1), STARTED + step, step) for step in steps]
        client.log_batch(run.info.run_id, metrics)
    return time.perf_counter() - begin


def calls(log: Log, count: int) -> list[float]:
    """Time each call between two steps of about half a millisecond, in microseconds."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.randn(300, 300)
    times = []
    for step in range(count):
        value = float((matrix @ matrix)[0, 0])
        begin = time.perf_counter_ns()
        log(value, step)
        times.append((time.perf_counter_ns() - begin) / 1000)
    return times


def our_calls(uri: str) -> list[float]:
    """Ours, with what answers or does not answer at `uri`."""
    from mlops_lab import track

    os.environ["MLFLOW_TRACKING_URI"] = uri
    with track(experiment="bench-calls") as run:
        return calls(lambda value, step: run.log_metric("loss", value, step), CALLS)


def mlflow_calls(uri: str, synchronous: bool) -> list[float]:
    """What people write by hand, waiting for the server or not."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench-calls-mlflow")
    with mlflow.start_run():
        count = SLOW_CALLS if synchronous else CALLS
        return calls(lambda value, step: mlflow.log_metric("loss", value, step, synchronous=synchronous), count)


def monai_calls(uri: str) -> list[float]:
    """MONAI's MLFlowHandler, called as an engine calls it after each iteration."""
    from ignite.engine import Engine
    from monai.handlers import MLFlowHandler

    engine = Engine(lambda engine, batch: None)
    handler = MLFlowHandler(
        uri,
        output_transform=lambda output: output,
        experiment_name="bench-calls-monai",
        run_name=f"turn-{time.time_ns()}",
    )
    handler.start(engine)

    def log(value: float, step: int) -> None:
        engine.state.iteration, engine.state.output = step, {"loss": value}
        handler.iteration_completed(engine)

    try:
        return calls(log, SLOW_CALLS)
    finally:
        handler.close()


def tensorboard_calls() -> list[float]:
    """TensorBoard's SummaryWriter."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tempfile.mkdtemp(prefix="bench-tensorboard-")) as writer:
        return calls(lambda value, step: writer.add_scalar("loss", value, step), CALLS)


def wandb_calls() -> list[float]:
    """Weights & Biases without a server."""
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=tempfile.mkdtemp(prefix="bench-wandb-"))
    try:
        return calls(lambda value, step: run.log({"loss": value}, step), CALLS)
    finally:
        run.finish()


def one_metric(uri: str, hung: str) -> None:
    """Print the table of what one call costs."""
    ways: dict[str, tuple[Callable[[], list[float]], str]] = {
        "Run.log_metric, server up": (lambda: our_calls(uri), "torch"),
        "Run.log_metric, server down": (lambda: our_calls(DOWN), "torch"),
        "Run.log_metric, server hung": (lambda: our_calls(hung), "torch"),
        "TensorBoard SummaryWriter": (tensorboard_calls, "tensorboard"),
        "wandb, offline": (wandb_calls, "wandb"),
        "mlflow.log_metric, async": (lambda: mlflow_calls(uri, synchronous=False), "mlflow"),
        "mlflow.log_metric": (lambda: mlflow_calls(uri, synchronous=True), "mlflow"),
        "MONAI MLFlowHandler": (lambda: monai_calls(uri), "ignite"),
    }
    calls(lambda value, step: None, 500)  # warm-up
    print(f"{'one logged metric, microseconds':44} {'median':>9} {'p99':>9} {'slowest':>9}")
    for name, (way, needs) in ways.items():
        if not importlib.util.find_spec(needs):
            print(f"{name:44} {'not installed':>19}")
            continue
        with quiet():
            times = way()
        print(f"{name:44} {statistics.median(times):9.1f} {p99(times):9.1f} {max(times):9.0f}")
    print()


def p99(times: list[float]) -> float:
    """The time that one in a hundred exceeds."""
    return statistics.quantiles(times, n=100)[98]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the libraries say out of the tables."""
    logging.disable(logging.WARNING)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def hung_server() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


def steps(during: Callable[[int], None] | None = None) -> list[float]:
    """Time each step of a toy training of about a millisecond, in microseconds; `during` is told the step."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    inputs, wanted = torch.randn(256, 64), torch.randn(256, 1)
    times = []
    for step in range(STEPS):
        if during is not None:
            during(step)
        begin = time.perf_counter_ns()
        optimizer.zero_grad()
        loss = (network(inputs) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        times.append((time.perf_counter_ns() - begin) / 1000)
    return times


def tracked_steps(uri: str, during: Callable[[int], None] | None = None) -> list[float]:
    """The same training in a block."""
    from mlops_lab import track

    os.environ["MLFLOW_TRACKING_URI"] = uri
    with track(experiment="bench"):
        return steps(during)


def killed(pid: int) -> Callable[[int], None]:
    """Give what kills the server's processes after a third of the training."""

    def kill(step: int) -> None:
        if step == STEPS // 3:
            os.killpg(os.getpgid(pid), signal.SIGKILL)

    return kill


def throughput(uri: str) -> None:
    """Print the table of times over HTTP."""
    share = max(BATCH, POINTS // TURNS // BATCH * BATCH)
    floor, ours = [], []
    for turn in range(max(1, POINTS // share)):
        floor.append(raw_posts(uri, turn * share, share))
        ours.append(our_posts(uri, turn * share, share))
    whole = our_posts(uri, 0, POINTS) if os.environ.get("WHOLE") else max(ours, key=lambda turn: turn[3] - turn[2])
    rival = rival_posts(uri) / RIVAL_POINTS * POINTS
    points = share * len(floor)
    rows = [
        (f"raw posts of {points:,} points (floor)", sum(turn[0] for turn in floor), sum(turn[1] for turn in floor)),
        ("journal to server", sum(turn[0] for turn in ours), sum(turn[1] for turn in ours)),
        (f"MlflowClient.log_batch ({RIVAL_POINTS:,}, scaled)", rival * points / POINTS, float("nan")),
    ]
    print(f"{'over HTTP to the embedded server':44} {'seconds':>9} {'client CPU':>11} {'ratio':>7}")
    for name, seconds, cpu in rows:
        print(f"{name:44} {seconds:9.1f} {cpu:11.1f} {seconds / rows[0][1]:7.2f}")
    ratios = sorted(mine[0] / theirs[0] for mine, theirs in zip(ours, floor, strict=True))
    print(f"{'ratio, turn by turn':44} median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")
    print(
        f"{'memory of the sender':44} {whole[3] - whole[2]:.1f} MB more at its peak than before ({whole[3]:.0f} MB)\n"
    )


def slowest_steps(uri: str, hung: str, pid: int) -> None:
    """Print the table of the steps; the server is killed in the last of them."""
    steps()  # warm-up
    rows = [("untracked (floor)", steps())]
    with quiet():
        rows.append(("server up", tracked_steps(uri)))
        rows.append(("server down", tracked_steps(DOWN)))
        rows.append(("server hung", tracked_steps(hung)))
        rows.append(("server killed in the middle", tracked_steps(uri, killed(pid))))
    rows.append(("untracked again", steps()))
    floor = statistics.median(rows[0][1])
    print(f"{'a step of a toy training, microseconds':44} {'median':>9} {'p99':>9} {'slowest':>9} {'ratio':>7}")
    for name, times in rows:
        middle = statistics.median(times)
        print(f"{name:44} {middle:9.0f} {p99(times):9.0f} {max(times):9.0f} {middle / floor:7.2f}")


def main() -> None:
    """Print the tables."""
    from mlops_lab.connection import embedded

    server = embedded.start()
    assert server.uri is not None
    assert server.pid is not None
    try:
        with hung_server() as hung:
            one_metric(server.uri, hung)
            throughput(server.uri)
            slowest_steps(server.uri, hung, server.pid)
    finally:
        embedded.stop()
    print(f"(journals were in {Path(os.environ['MLOPS_LAB_HOME'])})")


if __name__ == "__main__":
    main()

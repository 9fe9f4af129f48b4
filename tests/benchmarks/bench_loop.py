"""What tracking costs a training loop, all hooks together: a toy loop of about 1 ms a step, and a small 3D UNet.

Goals: at most 5% slower for the toy loop, at most 1% for the UNet, at most 50 microseconds a step. The rivals log the
same two numbers, loss and learning rate, once a step, as their own documentation says. All ways take turns within one
process, in an order that changes from round to round; a ratio compares a way with the untracked loop of its own round.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["MLOPS_LAB_HOME"] = tempfile.mkdtemp(prefix="bench-loop-")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

WARM_UP = 2.0
"""Seconds at the beginning of each turn that count for themselves: tracking looks at the code and the environment."""
MEASURED = 2.5
"""Seconds of each turn that count."""

FLOOR = "untracked (floor)"

Log = Callable[[int, float, float], None]
Loop = Callable[[Log | None], list[float]]
"""Trains for one turn, and gives the seconds that each step took."""
Way = Callable[[Loop], list[float]]


def toy_loop() -> Loop:
    """Make a loop over a loader whose step takes about 1 ms."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    train_loader = DataLoader(TensorDataset(torch.randn(512, 64), torch.randint(0, 4, (512,))), batch_size=16)

    def build(width: int, seconds: float) -> Loop:
        model = torch.nn.Sequential(
            torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.Linear(width, 4)
        )
        return _loop(model, train_loader, torch.nn.CrossEntropyLoss(), 1e-3, seconds)

    for width in (128, 192, 256, 384, 512, 768, 1024):
        loop = build(width, 0.3)
        if statistics.median(loop(None)) > 0.9e-3:
            break
    return build(width, WARM_UP + MEASURED)


def unet_loop() -> Loop:
    """Make a loop of a small 3D UNet on patches of 32 x 32 x 32."""
    import torch
    from monai.data import DataLoader, Dataset
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    images = torch.rand(8, 1, 32, 32, 32)
    train_loader = DataLoader(Dataset([(image, (image > 0.5).float()) for image in images]), batch_size=2)
    model = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2), num_res_units=1)
    return _loop(model, train_loader, DiceCELoss(to_onehot_y=True, softmax=True), 1e-4, WARM_UP + MEASURED)


def _loop(model: Any, train_loader: Any, loss_function: Any, lr: float, seconds: float) -> Loop:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)

    def loop(log: Log | None) -> list[float]:
        times: list[float] = []
        begin = time.perf_counter()
        over = begin + seconds
        while begin < over:
            begin = time.perf_counter()
            for inputs, labels in train_loader:
                optimizer.zero_grad()
                loss = loss_function(model(inputs), labels)
                loss.backward()
                optimizer.step()
                if log is not None:
                    log(len(times), loss.item(), optimizer.param_groups[0]["lr"])
                end = time.perf_counter()
                times.append(end - begin)
                begin = end
        return times

    return loop


def untracked(loop: Loop) -> list[float]:
    """The floor."""
    return loop(None)


def tracked(loop: Loop) -> list[float]:
    """Ours, with a server that takes what is sent."""
    from mlops_lab import track

    with track(experiment="bench-loop"), contextlib.redirect_stderr(None):
        return loop(None)


def tracked_offline(loop: Loop) -> list[float]:
    """Ours, with nothing but the journal."""
    from mlops_lab import track

    with track(experiment="bench-loop", offline=True, checkpoints=False):
        return loop(None)


def mlflow_sync(loop: Loop) -> list[float]:
    """What people write by hand."""
    import mlflow

    mlflow.set_experiment("bench-mlflow")
    with mlflow.start_run():
        return loop(lambda step, loss, lr: mlflow.log_metrics({"loss": loss, "lr": lr}, step))


def mlflow_async(loop: Loop) -> list[float]:
    """The same without waiting for the server."""
    import mlflow

    mlflow.set_experiment("bench-mlflow")
    with mlflow.start_run():
        times = loop(lambda step, loss, lr: mlflow.log_metrics({"loss": loss, "lr": lr}, step, synchronous=False))
        mlflow.flush_async_logging()
        return times


def monai_handler(loop: Loop) -> list[float]:
    """MONAI's MLFlowHandler, called as an engine calls it after each iteration."""
    from ignite.engine import Engine
    from monai.handlers import MLFlowHandler

    engine = Engine(lambda engine, batch: None)
    handler = MLFlowHandler(
        os.environ["MLFLOW_TRACKING_URI"],
        output_transform=lambda output: output,
        experiment_name="bench-monai",
        run_name=f"turn-{time.time_ns()}",
    )
    handler.start(engine)

    def log(step: int, loss: float, lr: float) -> None:
        engine.state.iteration, engine.state.output = step, {"loss": loss, "lr": lr}
        handler.iteration_completed(engine)

    try:
        return loop(log)
    finally:
        handler.close()


def tensorboard(loop: Loop) -> list[float]:
    """TensorBoard's SummaryWriter."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tempfile.mkdtemp(prefix="bench-tensorboard-")) as writer:

        def log(step: int, loss: float, lr: float) -> None:
            writer.add_scalar("loss", loss, step)
            writer.add_scalar("lr", lr, step)

        return loop(log)


def wandb_offline(loop: Loop) -> list[float]:
    """Weights & Biases without a server."""
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=tempfile.mkdtemp(prefix="bench-wandb-"))
    try:
        return loop(lambda step, loss, lr: run.log({"loss": loss, "lr": lr}, step))
    finally:
        run.finish()


WAYS: dict[str, tuple[Way, str]] = {
    FLOOR: (untracked, "torch"),
    "untracked, again": (untracked, "torch"),
    "mlops_lab, server up": (tracked, "torch"),
    "mlops_lab, offline": (tracked_offline, "torch"),
    "TensorBoard SummaryWriter": (tensorboard, "tensorboard"),
    "wandb, offline": (wandb_offline, "wandb"),
    "mlflow.log_metrics, async": (mlflow_async, "mlflow"),
    "mlflow.log_metrics": (mlflow_sync, "mlflow"),
    "MONAI MLFlowHandler": (monai_handler, "ignite"),
}


def compare(name: str, loop: Loop, rounds: int) -> None:
    """Let all ways take turns; print their times and ratios."""
    ways = {label: way for label, (way, needs) in WAYS.items() if importlib.util.find_spec(needs)}
    absent = [label for label in WAYS if label not in ways]
    times: dict[str, list[float]] = {label: [] for label in ways}
    ratios: dict[str, list[float]] = {label: [] for label in ways}
    early: dict[str, list[float]] = {label: [] for label in ways}
    order = list(ways)
    for turn in range(rounds):
        random.Random(turn).shuffle(order)
        first, rest = {}, {}
        for label in order:
            took = ways[label](loop)
            warm = sum(1 for elapsed in accumulate(took) if elapsed < WARM_UP)
            first[label], rest[label] = statistics.median(took[:warm]), statistics.median(took[warm:])
            times[label] += took[warm:]
        for label in ways:
            ratios[label].append(rest[label] / rest[FLOOR])
            early[label].append(first[label] / first[FLOOR])
    floor = statistics.median(times[FLOOR])
    heads = f"{'median ms':>10} {'p99 ms':>9} {'over, us':>9} {'ratio':>7} {'in the rounds':>15} {'first 2 s':>10}"
    print(f"\n{name:28} {heads}")
    for label in ways:
        middle = statistics.median(times[label])
        p99 = statistics.quantiles(times[label], n=100)[98]
        found = sorted(ratios[label])
        ratio, spread = statistics.median(found), f"{found[0]:.3f} - {found[-1]:.3f}"
        over, begin = (middle - floor) * 1e6, statistics.median(early[label])
        print(f"{label:28} {middle * 1e3:10.3f} {p99 * 1e3:9.3f} {over:9.1f} {ratio:7.3f} {spread:>15} {begin:10.3f}")
    if absent:
        print(f"not installed: {', '.join(absent)}")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the embedded server for the ways that need one."""
    from mlops_lab.connection import embedded

    uri = embedded.start().uri
    assert uri is not None
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield uri
    finally:
        embedded.stop()


def main() -> None:
    """Print the tables; ``bench_loop.py quick`` is a short round."""
    quick = "quick" in sys.argv[1:]
    logging.disable(logging.WARNING)
    with server() as uri:
        import mlflow
        import torch

        torch.set_num_threads(1)
        mlflow.set_tracking_uri(uri)
        with (
            open(Path(tempfile.mkdtemp(prefix="bench-said-")) / "stderr", "w") as said,
            contextlib.redirect_stderr(said),
        ):
            compare("toy loop", toy_loop(), 1 if quick else 11)
            compare("3D UNet, 2 x 32 x 32 x 32", unet_loop(), 1 if quick else 9)


if __name__ == "__main__":
    main()

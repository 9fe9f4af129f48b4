"""What tracking costs a training loop, all hooks together: a toy loop of about 1 ms a step, and a small 3D UNet.

Goals: at most 5% slower for the toy loop, at most 1% for the UNet, at most 50 microseconds a step. The rivals log the
same two numbers, loss and learning rate, once a step, as their own documentation says. All ways take turns within one
process, in an order that changes from round to round; a ratio compares a way with the untracked loop of its own round.
Time on the wall is what a person feels; on a computer that does other things as well, the processor time of the thread
that trains tells more (its lowest decile: what others do only adds to it), though it leaves out what that thread waited
for, a lock or a server.
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
from collections.abc import Callable, Iterable, Iterator
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
Step = tuple[float, float]
"""Seconds that a step took: on the wall, and of the processor in the thread that trains."""
Loop = Callable[[Log | None], list[Step]]
"""Trains for one turn."""
Way = Callable[[Loop], list[Step]]


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
        if statistics.median(used for _, used in loop(None)) > 0.9e-3:
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

    def loop(log: Log | None) -> list[Step]:
        times: list[Step] = []
        begin = time.perf_counter()
        over = begin + seconds
        while begin < over:
            begin, busy = time.perf_counter(), time.thread_time()
            for inputs, labels in train_loader:
                optimizer.zero_grad()
                loss = loss_function(model(inputs), labels)
                loss.backward()
                optimizer.step()
                if log is not None:
                    log(len(times), loss.item(), optimizer.param_groups[0]["lr"])
                end, used = time.perf_counter(), time.thread_time()
                times.append((end - begin, used - busy))
                begin, busy = end, used
        return times

    return loop


def untracked(loop: Loop) -> list[Step]:
    """The floor."""
    return loop(None)


def tracked(loop: Loop) -> list[Step]:
    """Ours, with a server that takes what is sent."""
    from mlops_lab import track

    with track(experiment="bench-loop"), contextlib.redirect_stderr(None):
        return loop(None)


def tracked_offline(loop: Loop) -> list[Step]:
    """Ours, with nothing but the journal."""
    from mlops_lab import track

    with track(experiment="bench-loop", offline=True, checkpoints=False):
        return loop(None)


def mlflow_sync(loop: Loop) -> list[Step]:
    """What people write by hand."""
    import mlflow

    mlflow.set_experiment("bench-mlflow")
    with mlflow.start_run():
        return loop(lambda step, loss, lr: mlflow.log_metrics({"loss": loss, "lr": lr}, step))


def mlflow_async(loop: Loop) -> list[Step]:
    """The same without waiting for the server."""
    import mlflow

    mlflow.set_experiment("bench-mlflow")
    with mlflow.start_run():
        times = loop(lambda step, loss, lr: mlflow.log_metrics({"loss": loss, "lr": lr}, step, synchronous=False))
        mlflow.flush_async_logging()
        return times


def monai_handler(loop: Loop) -> list[Step]:
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


def tensorboard(loop: Loop) -> list[Step]:
    """TensorBoard's SummaryWriter."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tempfile.mkdtemp(prefix="bench-tensorboard-")) as writer:

        def log(step: int, loss: float, lr: float) -> None:
            writer.add_scalar("loss", loss, step)
            writer.add_scalar("lr", lr, step)

        return loop(log)


def wandb_offline(loop: Loop) -> list[Step]:
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
    rounds_of: dict[str, list[list[Step]]] = {label: [] for label in ways}
    order = list(ways)
    for turn in range(rounds):
        random.Random(turn).shuffle(order)
        for label in order:
            rounds_of[label].append(ways[label](loop))
    heads = ("wall ms", "p99 ms", "ratio", "busy ms", "over, us", "ratio", "first 2 s")
    print(f"\n{name:28}", *(f"{head:>9}" for head in heads))
    floor = _Turns(rounds_of[FLOOR])
    for label, steps in rounds_of.items():
        turns = _Turns(steps)
        wall, busy, early = (
            statistics.median(one / other for one, other in zip(mine, theirs, strict=True))
            for mine, theirs in ((turns.wall, floor.wall), (turns.busy, floor.busy), (turns.early, floor.early))
        )
        middle, used = statistics.median(turns.wall) * 1e3, statistics.median(turns.busy) * 1e3
        over = statistics.median(one - other for one, other in zip(turns.busy, floor.busy, strict=True)) * 1e6
        figures = [f"{middle:.3f}", f"{turns.p99 * 1e3:.3f}", f"{wall:.3f}"]
        figures += [f"{used:.3f}", f"{over:.1f}", f"{busy:.3f}", f"{early:.3f}"]
        print(f"{label:28}", *(f"{figure:>9}" for figure in figures))
    if absent:
        print(f"not installed: {', '.join(absent)}")


class _Turns:
    """The turns of one way: `wall` (median) and `busy` (lowest decile) after the first seconds, `busy` in these."""

    def __init__(self, turns: list[list[Step]]) -> None:
        self.wall: list[float] = []
        self.busy: list[float] = []
        self.early: list[float] = []
        rest: list[float] = []
        for steps in turns:
            warm = sum(1 for elapsed in accumulate(wall for wall, _ in steps) if elapsed < WARM_UP)
            rest += [wall for wall, _ in steps[warm:]]
            self.wall.append(statistics.median(wall for wall, _ in steps[warm:]))
            self.busy.append(_lowest_decile(busy for _, busy in steps[warm:]))
            self.early.append(_lowest_decile(busy for _, busy in steps[:warm]))
        self.p99 = statistics.quantiles(rest, n=100)[98]


def _lowest_decile(seconds: Iterable[float]) -> float:
    return statistics.quantiles(seconds, n=10)[0]


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
    """Print the tables; ``bench_loop.py quick`` is a short round, ``bench_loop.py ours`` leaves the rivals out."""
    quick = "quick" in sys.argv[1:]
    if "ours" in sys.argv[1:]:
        for label in [label for label in WAYS if not label.startswith(("untracked", "mlops_lab"))]:
            del WAYS[label]
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

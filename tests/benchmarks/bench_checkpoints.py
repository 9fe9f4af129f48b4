"""What keeping a checkpoint costs the thread that saves: `torch.save` in a block beside the same without one.

The goal: a snapshot costs about 0.1 ms whatever the size of the file. The floor is the same `torch.save`, the rival a
copy of the file, which is what `mlflow.log_artifact` and a plain copy cost the thread.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["MLOPS_LAB_HOME"] = tempfile.mkdtemp(prefix="bench-checkpoints-")

ROUNDS = 15
SIZES = {"1 MB": 250_000, "100 MB": 25_000_000}


def milliseconds(step: Callable[[int], object]) -> list[float]:
    """Time `step` again and again."""
    times = []
    for number in range(ROUNDS):
        begin = time.perf_counter()
        step(number)
        times.append((time.perf_counter() - begin) * 1000)
    return times


def main() -> None:
    """Print one line per size."""
    import torch

    from mlops_lab.tracking import track
    from mlops_lab.tracking.capture.checkpoints.saves import Checkpoints

    inside: list[float] = []
    saved = Checkpoints.saved

    def timed(self: Checkpoints, path: Path) -> None:
        begin = time.perf_counter()
        saved(self, path)
        inside.append((time.perf_counter() - begin) * 1000)

    Checkpoints.saved = timed  # type: ignore[method-assign]
    place = Path(tempfile.mkdtemp(prefix="bench-checkpoints-"))
    for size, numbers in SIZES.items():
        state = {"layer.weight": torch.zeros(numbers)}
        path = place / "last.pt"
        plain = milliseconds(lambda _, state=state, path=path: torch.save(state, path))
        copy = milliseconds(lambda number, path=path: shutil.copyfile(path, place / f"copy_{number % 2}"))
        inside.clear()
        with track(experiment="bench", offline=True) as run:
            tracked = milliseconds(lambda _, state=state, path=path: torch.save(state, path))
            begin = time.perf_counter()
        end = (time.perf_counter() - begin) * 1000
        shutil.rmtree(run.folder)
        print(
            f"{size}: torch.save {statistics.median(plain):.1f} ms, in a block {statistics.median(tracked):.1f} ms, "
            f"of it the snapshot {statistics.median(inside):.2f} ms (longest {max(inside):.2f}); a copy "
            f"{statistics.median(copy):.1f} ms; at the block's end {end:.0f} ms"
        )
    shutil.rmtree(place)
    shutil.rmtree(os.environ["MLOPS_LAB_HOME"])


if __name__ == "__main__":
    main()

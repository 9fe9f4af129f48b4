"""ignite engines, and with them MONAI's trainers and evaluators: `state.metrics` after every epoch.

The step is the epoch of the outermost engine, so that an evaluator that a trainer's handler calls lies on the
trainer's axis. The loss of a training engine is not taken from its output: backward has shown it already.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from ..run import Run, runs
from .naming import callers_name
from .patches import Patches
from .values import numbers

MODULES = ("ignite.engine.engine",)


def install(module: Any, patches: Patches) -> None:
    """Hook ``Engine.run`` of ignite's module `module`."""
    engine_class = module.Engine
    epoch_completed = module.Events.EPOCH_COMPLETED
    run_engine = engine_class.run
    running = threading.local()
    books: dict[str, _Book] = {}

    @functools.wraps(run_engine)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = runs.current
        if run is None:
            return run_engine(self, *args, **kwargs)
        stack: list[Any] = running.__dict__.setdefault("engines", [])
        stack.append(self)
        given = callers_name(self)
        book = books.setdefault(run.key, _Book())
        # Attached last, so after the metrics and the validation that hang on the same event.
        handle = self.add_event_handler(epoch_completed, lambda engine: _record(run, book, stack, engine, given))
        try:
            return run_engine(self, *args, **kwargs)
        finally:
            stack.pop()
            handle.remove()

    patches.set(engine_class, "run", watched)


class _Book:
    """Who owns which metric name in one run, and how far each series has come."""

    def __init__(self) -> None:
        self.owners: dict[str, Any] = {}
        self.last: dict[str, int] = {}

    def name(self, engine: Any, name: str, given: str | None) -> str:
        # Two engines with a metric of one name (accuracy of training and of validation) are two series.
        candidates = [name, f"{given}_{name}" if given else f"{name}_2"]
        candidates += [f"{name}_{number}" for number in range(2, 100)]
        for candidate in candidates:
            if self.owners.setdefault(candidate, engine) is engine:
                return candidate
        return name

    def step(self, name: str, epoch: int, nested: bool) -> int:
        last = self.last.get(name, 0)
        # An evaluator that the user's own loop runs again and again is always in its first epoch.
        step = epoch if nested or epoch > last else last + 1
        self.last[name] = max(last, step)
        return step


def _record(run: Run, book: _Book, stack: list[Any], engine: Any, given: str | None) -> None:
    try:
        nested = len(stack) > 1
        epoch = int(stack[0].state.epoch)
        for name, value in dict(engine.state.metrics).items():
            for key, number in numbers(book.name(engine, str(name), given), value).items():
                run.log_metric(key, number, book.step(key, epoch, nested))
    except Exception:
        run.notice("The metrics of an ignite engine could not be recorded.")

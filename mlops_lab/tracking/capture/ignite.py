"""ignite engines, and with them MONAI's trainers and evaluators: `state.metrics` after every epoch, and what they lose.

The step is the epoch of the outermost engine, so that an evaluator that a trainer's handler calls lies on the
trainer's axis. The loss of a training engine is not taken from its output: backward has shown it already. Other
numbers of its output are averaged over the epoch. An error that a handler keeps to itself still fails the run.
"""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from ..run import Run, runs
from . import mlflow_handlers
from .monai.cases import Cases
from .monai.metrics import handled_labels, handler_key
from .naming import callers_labels, callers_name
from .patches import Patches
from .values import Labels, numbers

MODULES = ("ignite.engine.engine",)

_NO_RESULTS = {"loss", "image", "label", "pred", "y", "y_pred", "x", "batch", "reals", "fakes", "latents"}
"""Entries of an output that are the loss, which is recorded where it is back-propagated, or data."""
MOST_OUTPUTS = 32
"""Entries of an output that are looked at."""


def install(module: Any, patches: Patches) -> None:
    """Hook ``Engine.run`` of ignite's module `module`."""
    engine_class, events = module.Engine, module.Events
    run_engine, handle = engine_class.run, engine_class._handle_exception
    running = threading.local()

    @functools.wraps(run_engine)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = runs.current
        if run is None:
            return run_engine(self, *args, **kwargs)
        stack: list[_Pass] = running.__dict__.setdefault("passes", [])
        current = _Pass(self, run, stack, callers_name(self))
        stack.append(current)
        with ExitStack() as undo:
            undo.callback(stack.remove, current)
            try:
                mlflow_handlers.bind(run, self)
            except Exception:
                run.notice("An MLFlowHandler could not be bound to this run; it may have begun another one.")
            # Attached last, so after the metrics and the validation that hang on the same events.
            for event, function in (
                (events.ITERATION_COMPLETED, current.iterated),
                (events.EPOCH_COMPLETED, current.completed),
            ):
                undo.callback(self.add_event_handler(event, function).remove)
            result = run_engine(self, *args, **kwargs)
        if current.error is not None:
            _fail(run, current.error)
        return result

    @functools.wraps(handle)
    def watched_handle(self: Any, error: BaseException) -> Any:
        for current in running.__dict__.get("passes", ()):
            if current.engine is self:
                current.error = error
        return handle(self, error)

    patches.set(engine_class, "run", watched)
    patches.set(engine_class, "_handle_exception", watched_handle)


class _Pass:
    """One engine while it runs."""

    def __init__(self, engine: Any, run: Run, stack: list[_Pass], given: str | None) -> None:
        self.engine = engine
        self.error: BaseException | None = None
        """What a handler was given to deal with; where it is raised again, the user sees it."""
        self._run = run
        self._stack = stack
        self._given = given
        self._outputs: list[str] | None = None
        self._sums: dict[str, Any] = {}
        self._count = 0

    def iterated(self, engine: Any) -> None:
        """Add up the numbers of one iteration's output."""
        if self._outputs == []:
            return
        try:
            output = _output(engine.state.output)
            if self._outputs is None:
                self._outputs = [key for key, value in list(output.items())[:MOST_OUTPUTS] if _is_number(key, value)]
            self._count += 1
            for key in self._outputs:
                value = output[key]
                value = value.detach() if hasattr(value, "detach") else value
                self._sums[key] = self._sums[key] + value if key in self._sums else value
        except Exception:
            self._outputs = []
            self._sums.clear()
            self._run.notice("The outputs of an ignite engine changed from step to step; they are not recorded.")

    def completed(self, engine: Any) -> None:
        """Record one epoch."""
        run = self._run
        try:
            nested = len(self._stack) > 1
            if not nested and engine.state.max_epochs not in (None, 1):
                run.note_param("max_epochs", engine.state.max_epochs)
            epoch = int(self._stack[0].engine.state.epoch)
            book = run.book("ignite", _Book)
            values = dict(engine.state.metrics)
            sums, self._sums = self._sums, {}
            count, self._count = self._count, 0
            values = {**{key: float(total) / count for key, total in sums.items() if count}, **values}
            flat = {key for value in values.values() if isinstance(value, Mapping) for key in value}
            for name, value in values.items():
                if name in flat:
                    continue  # ignite repeats the entries of a dictionary under their own names
                title = book.name(engine, str(name), self._given, epoch, nested)
                step = book.step(title, epoch, nested)
                key = handler_key(engine, name)
                labels: Labels = handled_labels(run, key) or _labels
                for series, number in numbers(title, value, labels=labels).items():
                    run.log_metric(series, number, step)
                run.book("cases", Cases).settle(key, title, step)
        except Exception:
            run.notice("The metrics of an ignite engine could not be recorded.")


class _Book:
    """Who owns which metric name in one run, and how far each series has come."""

    def __init__(self) -> None:
        self.owners: dict[str, Callable[[], Any]] = {}
        self.given: dict[str, str | None] = {}
        """What the user calls the engine that has a name."""
        self.last: dict[str, int] = {}

    def name(self, engine: Any, name: str, given: str | None, epoch: int, nested: bool) -> str:
        # Two engines with a metric of one name (accuracy of training and of validation) are two series.
        candidates = [name, f"{given}_{name}"] if given and self.given.get(name, given) != given else [name]
        candidates += [f"{name}_{number}" for number in range(2, 100)]
        for candidate in candidates:
            if candidate not in self.owners:
                self.owners[candidate] = weakref.ref(engine)
                self.given[candidate] = given
            owner = self.owners[candidate]()
            if owner is engine:
                return candidate
            # One that is made anew for every epoch goes on with the series of the one before; that of another fold,
            # which begins again at the first epoch, does not.
            once = not nested and engine.state.max_epochs in (None, 1)
            if owner is None and (once or epoch > self.last.get(candidate, 0)):
                self.owners[candidate] = weakref.ref(engine)
                return candidate
        return name

    def step(self, name: str, epoch: int, nested: bool) -> int:
        last = self.last.get(name, 0)
        # An evaluator that the user's own loop runs again and again is always in its first epoch.
        step = epoch if nested or epoch > last else last + 1
        self.last[name] = max(last, step)
        return step


def _output(output: Any) -> dict[Any, Any]:
    """Give the output of an iteration by name; MONAI's is a list with one dictionary per case."""
    if isinstance(output, (list, tuple)) and output:
        output = output[0]
    return output if isinstance(output, dict) else {}


def _is_number(key: Any, value: Any) -> bool:
    if not isinstance(key, str) or key.lower() in _NO_RESULTS or isinstance(value, bool):
        return False
    shape = getattr(value, "shape", None)
    return isinstance(value, (int, float)) if shape is None else math.prod(shape) == 1


def _labels(count: int) -> list[str] | None:
    return callers_labels(count, True)


def _fail(run: Run, error: BaseException) -> None:
    fail = getattr(run, "fail", None)
    if callable(fail):
        fail(error)
    else:
        run.notice(f"An engine failed, and a handler kept the error to itself ({type(error).__name__}: {error}).")

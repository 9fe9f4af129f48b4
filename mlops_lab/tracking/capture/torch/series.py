"""The points of one loss, and their mean over an epoch, whether they are there yet or still on a device."""

from __future__ import annotations

from typing import Any

from ...deferred import Reader
from ...run import Run
from .arriving import Arriving, Value


class Series:
    """One loss of a run.

    Attributes
    ----------
    name
        Name of the metric.
    thread
        Id of the thread that writes it.
    step
        Step of the last point.
    mean
        Of the points since the epoch began.
    member
        The optimizer that minimizes it.
    described
        The loss function has become a param.
    """

    __slots__ = ("_run", "described", "mean", "member", "name", "step", "thread")

    def __init__(self, run: Run, name: str, thread: int) -> None:
        self._run = run
        self.name = name
        self.thread = thread
        self.step = reached(run, name)
        self.mean = Mean()
        self.member: Any = None
        self.described = False

    def begin(self) -> None:
        """Begin a mean; an epoch begins."""
        self.mean = Mean()

    def log(self, value: Value, step: int | None = None) -> None:
        """Record the next point."""
        self.step = self.step + 1 if step is None else step
        mean = self.mean
        if type(value) is float:
            mean.sum += value
            mean.count += 1
            self._run.log_metric(self.name, value, self.step)
        elif isinstance(value, (float, int)):
            self.log(float(value), self.step)
        else:
            self._run.log_deferred(self.name, mean.adding(value))


class Mean:
    """The mean of the points since it was begun; some may be on their way."""

    __slots__ = ("count", "sum", "waiting")

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0
        self.waiting = False

    def adding(self, value: Reader) -> Reader:
        """Have `value` counted in as soon as it has arrived."""
        self.waiting = True

        def read(wait: bool) -> float | None:
            number = value(wait)
            if number is not None:
                self.sum += number
                self.count += 1
            return number

        return Arriving(read)

    def value(self) -> Value | None:
        """Give the mean; what reads it, to be asked when all points have arrived; None without any."""
        if self.waiting:
            return lambda wait: self.sum / self.count if self.count else float("nan")
        return self.sum / self.count if self.count else None


def reached(run: Run, name: str) -> int:
    """Give the last step of the metric `name`, 0 where it has none; a run that is taken up again has some."""
    return run.steps.get(name, 0)

"""The series of a run's losses: which one a loss belongs to, its points, and their mean over an epoch."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING, Any

from ...deferred import Reader
from ...run import Run
from . import losses
from .arriving import Arriving, Value, total
from .parts import Part
from .words import class_words, free, shared

if TYPE_CHECKING:
    from .optimizers import Member
    from .sites import Site, Thread

LOSS = "train_loss"


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
    began
        Step of the last point before the epoch began.
    mean
        Of the points since the epoch began.
    member
        The optimizer that minimizes it.
    described
        The loss function has become a param.
    """

    __slots__ = ("_recorded", "_run", "began", "described", "mean", "member", "name", "step", "thread")

    def __init__(self, run: Run, name: str, thread: int) -> None:
        self._run = run
        self.name = name
        self._recorded = run.metric_name(name)
        self.thread = thread
        self.step = self.began = reached(run, name)
        self.mean = Mean()
        self.member: Any = None
        self.described = False

    def begin(self) -> None:
        """Begin a mean; an epoch begins."""
        self.mean = Mean()
        self.began = self.step

    def log(self, value: Value, step: int | None = None) -> None:
        """Record the next point."""
        self.step = self.step + 1 if step is None else step
        mean = self.mean
        if type(value) is float:
            mean.sum += value
            mean.count += 1
            if self._recorded:
                self._run.log_point(self._recorded, value, self.step)
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


class AllSeries:
    """The losses of one run, by name, and which of them a loss belongs to."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.by_name: dict[str, Series] = {}

    def of(self, thread: Thread, sites: list[Site], member: Member | None) -> Series:
        """Give the series that the losses of `sites`, which `member` minimizes, go to; a new one where it must be."""
        series: Series | None = next((site.series for site in sites if site.series is not None), None)
        if series is None and member is not None:
            series = member.series
        if series is None:
            series = self._new(thread, sites, member)
        for site in sites:
            if site.series is None:
                site.series = series
        if member is not None:
            member.series = series
            series.member = member
        return series

    def log_parts(self, series: Series, found: dict[Part, list[Value]] | None) -> None:
        """Record what the last point of `series` was put together from."""
        for part, values in (found or {}).items():
            if part.series is None:
                words = part.words()
                stem = f"{LOSS}_{'_'.join(words)}" if words else f"{series.name}_{'_'.join(class_words(part.name))}"
                part.series = self._add(free(stem, self.by_name), series.thread)
            part.series.log(total(values, divisor=len(values)), series.step)

    def describe(self, series: Series, sites: list[Site]) -> None:
        """Make it a param what the losses of `sites` are made of."""
        if series.step == 1 and any(site.unsure for site in sites):
            return
        series.described = True
        parts = list(dict.fromkeys(part for site in sites for part in site.parts))
        functions = list(dict.fromkeys(name for site in sites for name in site.functions))
        losses.describe(self._run, f"loss_function{series.name.removeprefix(LOSS)}", parts, functions)

    def _new(self, thread: Thread, sites: list[Site], member: Member | None) -> Series:
        words: list[str] = []
        if any(site.several for site in sites):
            words = shared(site.words for site in sites if site.words)
            # The first loss, if several optimizers share it, needs nothing to set it apart.
            if not words and (self.by_name or any(len(site.reach) < 2 for site in sites)):
                words = [member.suffix] if member is not None and member.suffix else []
        stem = "_".join([LOSS, *words])
        for number in count(1):
            name = stem if number == 1 else f"{stem}_{number}"
            known = self.by_name.get(name)
            if known is None:
                break
            owner = known.member.optimizer() if known.member is not None else None
            mine = known.thread == thread.key or known.thread not in [other.ident for other in threading.enumerate()]
            if mine and (not words or owner is None):
                known.thread = thread.key
                return known
        return self._add(name, thread.key)

    def _add(self, name: str, thread: int) -> Series:
        self.by_name[name] = series = Series(self._run, name, thread)
        return series


def reached(run: Run, name: str) -> int:
    """Give the last step of the metric `name`, 0 where it has none; a run that is taken up again has some."""
    return run.steps.get(name, 0)

"""Epochs: passes of a loader in which a loss was back-propagated, with their mean losses and their time.

Of several loaders that are under way the outermost loop counts: a validation, or patches of a batch, that are iterated
within an epoch are none of their own; of loaders that are iterated side by side, one does.
"""

from __future__ import annotations

import dis
import itertools
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from . import loaders
from .frames import authors, mentioned, variables
from .loaders import LoaderInfo
from .series import reached

if TYPE_CHECKING:
    from .loops import Loops
    from .sites import Thread

_COUNTS = (
    "max_epochs",
    "n_epochs",
    "num_epochs",
    "epochs",
    "nb_epochs",
    "total_epochs",
    "max_epoch",
    "N_EPOCHS",
    "MAX_EPOCHS",
    "NUM_EPOCHS",
    "EPOCHS",
)


class Epochs:
    """The epochs of one run."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        """Per thread: the number of the last epoch."""
        self.steps: dict[int, int] = {}
        """Per thread: the step of the last point of ``epoch``."""
        self.under_way: dict[LoaderInfo, tuple[Loops, Thread, int]] = {}
        """The passes that are epochs, and their numbers."""
        self.names: dict[int, str] = {}
        """Per thread: the name of the loader of the last epoch."""
        self.whole: int | None = None


def trained(loops: Loops, thread: Thread, frame: FrameType) -> None:
    """Take note of the first backward call in `thread` after a pass of a loader has begun or ended there."""
    active = loops.passes.active
    for info in active:
        info.training = True
    if not active or thread.epoch is not None:
        return
    run = loops.run
    book = run.book("epochs", Epochs)
    thread.epoch = info = _outermost(active, book.names.get(thread.key))
    # Trainings in several threads at once count for themselves; one after another goes on counting.
    last = book.numbers.get(thread.key)
    if last is None:
        last = 0 if book.under_way else max([reached(run, "epoch_seconds"), *book.numbers.values()])
    number = book.numbers[thread.key] = last + 1
    book.under_way[info] = (loops, thread, number)
    if not book.names and (told := _whole(frame)) is not None:
        name, book.whole = told
        run.note_param(name, book.whole)
    book.names[thread.key] = info.name
    for series in loops.series.by_name.values():
        if series.thread == thread.key:
            series.begin()
    info.shown = True
    facts = run.facts
    facts.update(epoch=number, batch=info.batch, batches=info.batches)
    facts.update(data_seconds=info.data_seconds, step_seconds=info.step_seconds)
    if book.whole is not None and number <= book.whole:
        facts["epochs"] = book.whole
    else:
        facts.pop("epochs", None)  # a second training in the same block


def _outermost(active: list[LoaderInfo], last: str | None) -> LoaderInfo:
    candidates = [info for info in active if info.name == last]
    candidates = candidates or [info for info in active if "train" in info.name]
    candidates = candidates or [info for info in active if not info.name.startswith(("val", "test"))] or active
    outer = [info for info in candidates if not any(other in candidates for other in info.nested)] or candidates
    # Iterators that were made ahead, to be drawn from within the loop, come before the loop.
    latest = outer[-1]
    return next(info for info in outer if info.site == latest.site)


def _whole(frame: FrameType) -> tuple[str, int] | None:
    """Find the number of epochs among the variables around `frame`, with its name, if exactly one is a candidate."""
    for caller in authors(frame):
        held, scope = variables(caller), caller.f_globals
        used = mentioned(caller.f_code, scope)
        found = {scope[name]: name for name in _COUNTS if name in used and type(scope.get(name)) is int}
        if held is not scope:
            found.update((held[name], name) for name in _COUNTS if type(held.get(name)) is int)
        for value in [value for value, name in found.items() if value < 1 or name in _counters(caller.f_code)]:
            del found[value]
        if found:
            value, name = found.popitem()
            return None if found else (name, value)
    return None


def _counters(code: CodeType) -> set[str]:
    """Give the variables that a ``for`` of `code` counts with, whatever they are called."""
    steps = list(dis.get_instructions(code))
    after = [step for before, step in itertools.pairwise(steps) if before.opname == "FOR_ITER"]
    return {step.argval for step in after if step.opname.startswith("STORE_")}


def _over(info: LoaderInfo, cut: bool) -> None:
    found = info.run.book("epochs", Epochs).under_way.pop(info, None)
    if found is None:
        return
    loops, thread, number = found
    thread.epoch = None
    if cut:
        return
    run = info.run
    mine = [series for series in loops.series.by_name.values() if series.thread == thread.key]
    # Of several losses some begin later, come more rarely, or come no more: the one that came most often counts.
    book = run.book("epochs", Epochs)
    gained = max([series.step - series.began for series in mine], default=0)
    step = max([book.steps.get(thread.key, 0) + max(gained, 1), *(series.step for series in mine)])
    book.steps[thread.key] = step
    run.log_metric("epoch", number, step)
    for series in mine:
        mean: Any = series.mean.value()
        if callable(mean):
            run.log_deferred(f"{series.name}_epoch", mean)
        elif mean is not None:
            run.log_metric(f"{series.name}_epoch", mean, number)
    run.log_metric("epoch_seconds", max(info.stepped - info.began, 0.0), number)
    run.log_metric("data_seconds", info.data_seconds, number)


loaders.listen(_over)

"""MONAI's metric classes: what `aggregate` gives is recorded under the name that the user gave the metric.

`Cumulative` is the base of all of them, but each defines an `aggregate` of its own; so every subclass that does is
hooked, and those that are defined while the block is open are hooked when they appear. What a metric gathers before
that is followed case by case; see :mod:`.cases`.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ...run import Run, runs
from ..construction import arguments
from ..naming import callers_group, callers_labels, callers_name, calling_frame, labels_in, snake_case
from ..patches import Patches, family
from ..torch.frames import variables
from ..unpacking import callers_unpacking
from ..values import Labels, numbers
from .cases import Cases, count_of

MODULES = ("monai.metrics.metric", "monai.metrics.cumulative_average")

LONGEST_VALUE = 500
_PLUMBING = ("output_transform", "device", "save_details", "metric_fn", "name")
"""Arguments of an engine's metric that say nothing of what it measures."""
_inside = threading.local()
_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_number = itertools.count(1)


def install(module: Any, patches: Patches) -> None:
    """Hook the metric classes below the base class that `module` defines."""
    base = getattr(module, "Cumulative", None) or module.CumulativeAverage

    def hook(cls: type) -> None:
        original = cls.__dict__.get("aggregate")
        if not callable(original) or hasattr(original, "_mlops_lab_hook"):
            return

        @functools.wraps(original)
        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(_inside, "aggregate", False):
                return original(self, *args, **kwargs)
            _inside.aggregate = True
            try:
                value = original(self, *args, **kwargs)
            finally:
                _inside.aggregate = False
            _record(self, value, str(args[0] if args else kwargs.get("reduction") or getattr(self, "reduction", "")))
            return value

        watched._mlops_lab_hook = True  # type: ignore[attr-defined]
        patches.set(cls, "aggregate", watched)

    def appeared(cls: Any, /, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        hook(cls)

    for cls in family(base):
        hook(cls)
    patches.set(base, "__init_subclass__", classmethod(appeared))
    if hasattr(module, "CumulativeIterationMetric"):
        _follow(module, patches)


def _follow(module: Any, patches: Patches) -> None:
    """Hook what a metric gathers its cases with."""
    call = module.CumulativeIterationMetric.__call__

    @functools.wraps(call)
    def watched_call(self: Any, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        before = getattr(_inside, "given", None)
        _inside.given = (y_pred, y)
        try:
            return call(self, y_pred, y, **kwargs)
        finally:
            _inside.given = before

    patches.set(module.CumulativeIterationMetric, "__call__", watched_call)
    for name in ("extend", "append"):
        patches.set(module.Cumulative, name, _gathering(getattr(module.Cumulative, name)))


def _gathering(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def watched(self: Any, *data: Any) -> Any:
        run = runs.current
        if run is None or not run.options.cases:
            return original(self, *data)
        before = _safely(run, count_of, self)
        result = original(self, *data)
        if before is not None:
            given = getattr(_inside, "given", None) or (data[0] if data else None, data[1] if len(data) > 1 else None)
            _safely(run, lambda: _cases(run).note(run, self, before, count_of(self), given))
        return result

    return watched


def metric_name(metric: Any, given: str | None) -> str:
    """Name a metric: as the user calls it without the word metric, else as its class is called."""
    if given:
        return re.sub(r"(^|_)metrics?(?=_|$)", "", given).strip("_") or given
    cls = type(metric).__name__
    return snake_case(cls.removesuffix("Metric") or cls)


class _Book:
    """Which metric object owns which name in one run; the name of one that is gone is free for its successor."""

    def __init__(self) -> None:
        self._owners: dict[str, weakref.ref[Any]] = {}
        self.handled: dict[tuple[int, str], Labels] = {}
        """Per metric of an engine what names its classes."""

    def name(self, metric: Any, given: str | None) -> str:
        wanted = metric_name(metric, given)
        group = snake_case(callers_group(metric) or "") if not given else ""
        if group:
            wanted = group if wanted in group else f"{group}_{wanted}"
        for candidate in [wanted, *(f"{wanted}_{number}" for number in range(2, 100))]:
            owner = self._owners.get(candidate)
            owned = owner() if owner is not None else None
            if owned is None:
                self._owners[candidate] = weakref.ref(metric)
            if owned is None or owned is metric:
                return candidate
        return wanted


def labels_of(metric: Any) -> Labels:
    """Give what names the classes of `metric`: its own list, else one in the code that called us."""
    background = getattr(metric, "include_background", True) is not False
    own = getattr(metric, "return_with_label", None)

    @functools.cache
    def labels(count: int) -> tuple[str, ...] | None:
        found = labels_in(own, count, background) or callers_labels(count, background) or callers_unpacking(count)
        return tuple(found) if found is not None else None

    def listed(count: int) -> list[str] | None:
        found = labels(count)
        return list(found) if found is not None else None

    return listed


def describe(run: Run, name: str, metric: Any, handler: Any = None) -> None:
    """Make the class of a metric params of the run, and what it, or the `handler` that made it, was built with."""
    run.note_param(f"{name}.class", type(metric).__name__)
    given = arguments(metric) if handler is None else arguments(handler)
    for argument, value in (given or {}).items():
        if argument not in _PLUMBING:
            run.note_param(f"{name}.{argument}", str(value)[:LONGEST_VALUE])


def _record(metric: Any, value: Any, reduction: str) -> None:
    run = runs.current
    if run is None:
        return
    try:
        frame = calling_frame(("monai.metrics", "mlops_lab."))
        parts = getattr(metric, "metric_name", None)
        names = None
        if isinstance(parts, (list, tuple)):
            names = [snake_case(str(part).replace(" ", "_")) for part in parts]
        if isinstance(value, tuple) and getattr(metric, "get_not_nans", False):
            value = value[0]  # the second entry counts cases, it is no result
        labels = labels_of(metric)
        if frame is not None and str(frame.f_globals.get("__name__", "")).startswith("monai.handlers"):
            # ignite's metric handlers aggregate for the engine, which reports the value under the engine's name.
            handler = variables(frame).get("self")
            title = getattr(handler, "_name", None)
            if handler is not None and title:
                key = handler_key(handler._engine, title)
                run.book("metrics", _Book).handled[key] = labels
                describe(run, str(title), metric, handler)
                _keep(run, metric, str(title), labels, names, key)
            return
        name = run.book("metrics", _Book).name(metric, callers_name(metric))
        describe(run, name, metric)
        for series, number in numbers(name, value, names, labels).items():
            if name == series or "channel" not in reduction:  # over the channels: one value per case, not per class
                run.log_metric(series, number)
        _keep(run, metric, name, labels, names)
    except Exception:
        run.notice(f"The metric {type(metric).__name__} gave something that is not recorded.")


def handler_key(engine: Any, name: Any) -> tuple[int, str]:
    """Tell an engine's metric from those of other engines."""
    return _numbers.setdefault(engine, next(_number)), str(name)


def handled_labels(run: Run, key: tuple[int, str]) -> Labels | None:
    """Give what names the classes of an engine's metric; None for one that is not MONAI's."""
    return run.book("metrics", _Book).handled.get(key)


def _keep(run: Run, metric: Any, title: str, labels: Labels, parts: list[str] | None, key: Any = None) -> None:
    if run.options.cases and hasattr(metric, "_buffers"):
        _safely(run, lambda: _cases(run).aggregated(run, metric, title, labels, parts, key))


def _cases(run: Run) -> Cases:
    return run.book("cases", Cases)


def _safely(run: Run, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:
        run.notice(f"The cases of a metric could not be followed ({type(error).__name__}); its result is recorded.")
        return None

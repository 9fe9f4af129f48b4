"""MONAI's metric classes: what `aggregate` gives is recorded under the name that the user gave the metric.

`Cumulative` is the base of all of them, but each defines an `aggregate` of its own; so every subclass that does is
hooked, and those that are defined while the block is open are hooked when they appear.
"""

from __future__ import annotations

import functools
import re
import threading
import weakref
from typing import Any

from ..run import Run, runs
from .naming import callers_group, callers_name, calling_module, snake_case
from .patches import Patches
from .values import numbers

MODULES = ("monai.metrics.metric", "monai.metrics.cumulative_average")


def install(module: Any, patches: Patches) -> None:
    """Hook the metric classes below the base class that `module` defines."""
    base = getattr(module, "Cumulative", None) or module.CumulativeAverage
    inside = threading.local()
    books: weakref.WeakKeyDictionary[Run, _Book] = weakref.WeakKeyDictionary()

    def hook(cls: type) -> None:
        original = cls.__dict__.get("aggregate")
        if not callable(original) or hasattr(original, "_mlops_lab_hook"):
            return

        @functools.wraps(original)
        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(inside, "aggregate", False):
                return original(self, *args, **kwargs)
            inside.aggregate = True
            try:
                value = original(self, *args, **kwargs)
            finally:
                inside.aggregate = False
            _record(books, self, value)
            return value

        watched._mlops_lab_hook = True  # type: ignore[attr-defined]
        patches.set(cls, "aggregate", watched)

    def appeared(cls: Any, /, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        hook(cls)

    for cls in _family(base):
        hook(cls)
    patches.set(base, "__init_subclass__", classmethod(appeared))


def metric_name(metric: Any, given: str | None) -> str:
    """Name a metric: as the user calls it without ``_metric``, else as its class is called."""
    if given:
        short = re.sub(r"_?metrics?$", "", given)
        return short or given
    cls = type(metric).__name__
    return snake_case(cls.removesuffix("Metric") or cls)


class _Book:
    """Which metric object owns which name in one run; the name of one that is gone is free for its successor."""

    def __init__(self) -> None:
        self._owners: dict[str, weakref.ref[Any]] = {}

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


def _record(books: weakref.WeakKeyDictionary[Run, _Book], metric: Any, value: Any) -> None:
    run = runs.current
    # ignite's metric handlers aggregate for the engine, which reports the value itself under the engine's name.
    if run is None or calling_module(("monai.metrics", "mlops_lab.")).startswith("monai.handlers"):
        return
    try:
        name = books.setdefault(run, _Book()).name(metric, callers_name(metric))
        labels = getattr(metric, "metric_name", None)
        texts = None
        if isinstance(labels, (list, tuple)):
            texts = [snake_case(str(label).replace(" ", "_")) for label in labels]
        if isinstance(value, tuple) and getattr(metric, "get_not_nans", False):
            value = value[0]  # the second entry counts cases, it is no result
        for key, number in numbers(name, value, texts).items():
            run.log_metric(key, number)
    except Exception:
        run.notice(f"The metric {type(metric).__name__} gave something that is not recorded.")


def _family(base: type) -> list[type]:
    found: list[type] = [base]
    for cls in found:
        below: list[type] = cls.__subclasses__()
        found += [derived for derived in below if derived not in found]
    return found

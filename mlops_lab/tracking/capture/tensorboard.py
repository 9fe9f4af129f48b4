"""TensorBoard: what a ``SummaryWriter`` is told becomes metrics of the run, under its tag and its global step.

``add_scalar``, ``add_scalars`` (``main_tag/tag``) and ``add_hparams`` are mirrored, of PyTorch's writer and of
tensorboardX; images, histograms, texts and graphs are not: they stay in the event files. A series that the run has
already (the training loss of a captured loop, an engine's metrics that MONAI's ``TensorBoardStatsHandler`` writes, what
Lightning's logger writes while MLflow's autologging records the same) is not recorded twice.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
from typing import Any

from ..fluent.runs import CAPTURED
from ..run import Run, runs
from . import autolog
from .patches import Patches

MODULES = ("torch.utils.tensorboard.writer", "tensorboardX.writer", "monai.handlers.tensorboard_handlers")

MOST_HELD = 10_000
"""Points that are held back per series until it is clear whether the loop is captured."""
_LIGHTNING = ("lightning.", "lightning_fabric.", "pytorch_lightning.")
_muted = threading.local()


def install(module: Any, patches: Patches) -> None:
    """Hook the writer or the handler that `module` defines."""
    if module.__name__.startswith("monai."):
        _hook_handler(module.TensorBoardStatsHandler, patches)
        return
    writer = module.SummaryWriter
    add_scalar, add_scalars, add_hparams = writer.add_scalar, writer.add_scalars, writer.add_hparams

    @functools.wraps(add_scalar)
    def scalar(
        self: Any, tag: str, scalar_value: Any, global_step: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        result = add_scalar(self, tag, scalar_value, global_step, *args, **kwargs)
        run = runs.current
        if run is not None and not _recorded_otherwise(run, sys._getframe(1).f_globals.get("__name__", "")):
            _mirror(run, {tag: scalar_value}, global_step)
        return result

    @functools.wraps(add_scalars)
    def scalars(
        self: Any, main_tag: str, tag_scalar_dict: Any, global_step: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        result = add_scalars(self, main_tag, tag_scalar_dict, global_step, *args, **kwargs)
        run = runs.current
        if run is not None:
            _mirror(run, {f"{main_tag}/{tag}": value for tag, value in tag_scalar_dict.items()}, global_step)
        return result

    @functools.wraps(add_hparams)
    def hparams(self: Any, hparam_dict: Any, metric_dict: Any, *args: Any, **kwargs: Any) -> Any:
        run = runs.current
        if run is None or autolog.on("pytorch"):
            return _quietly(add_hparams, self, hparam_dict, metric_dict, *args, **kwargs)
        for name, value in hparam_dict.items():
            run.note_param(_name(name), value)
        return add_hparams(self, hparam_dict, metric_dict, *args, **kwargs)

    patches.set(writer, "add_scalar", scalar)
    patches.set(writer, "add_scalars", scalars)
    patches.set(writer, "add_hparams", hparams)


def _hook_handler(handler: Any, patches: Patches) -> None:
    write = handler._write_scalar

    @functools.wraps(write)
    def watched(self: Any, _engine: Any, writer: Any, tag: str, value: Any, step: int) -> Any:
        run = runs.current
        if run is None or tag not in _engine.state.metrics or not _captures(run, "ignite"):
            return write(self, _engine, writer, tag, value, step)
        return _quietly(write, self, _engine, writer, tag, value, step)

    patches.set(handler, "_write_scalar", watched)


class _Mirror:
    """The series of one run that come from a writer."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._own: dict[str, bool] = {}
        """By name: is the series ours, or was it there already?"""
        self._held: dict[str, list[tuple[Any, int | None]]] = {}
        run.at_end(self._finish)

    def note(self, name: str, value: Any, step: int | None) -> None:
        """Record a point of a series that nobody else records."""
        own = self._own.get(name)
        if own is None:
            if name in self._run.progress().metrics:
                own = self._own[name] = False
                self._held.pop(name, None)
            elif CAPTURED.match(name) and _captures(self._run, "torch"):
                # The loop may be about to record it itself: writers are often told before the optimizer steps.
                held = self._held.setdefault(name, [])
                if len(held) < MOST_HELD:
                    held.append((float(value), step))
                return
            else:
                own = self._own[name] = True
        if own:
            self._run.log_metric(name, value, step)

    def _finish(self) -> None:
        there = self._run.progress().metrics
        for name, points in self._held.items():
            for value, step in points if name not in there else ():
                self._run.log_metric(name, value, step)


def _mirror(run: Run, values: dict[str, Any], step: int | None) -> None:
    if getattr(_muted, "now", False):
        return
    try:
        mirror = run.book("tensorboard", lambda: _Mirror(run))
        for tag, value in values.items():
            if not isinstance(value, str):  # the name of a blob of a library that is gone
                mirror.note(_name(tag), value, step)
    except Exception as error:
        run.notice(f"Something that a SummaryWriter was told is not recorded ({type(error).__name__}).")


def _recorded_otherwise(run: Run, caller: str) -> bool:
    return caller.startswith(_LIGHTNING) and autolog.on("pytorch")


def _captures(run: Run, name: str) -> bool:
    return run.options.capture is None or name in run.options.capture


def _quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    before, _muted.now = getattr(_muted, "now", False), True
    try:
        return function(*args, **kwargs)
    finally:
        _muted.now = before


def _name(tag: Any) -> str:
    """Give a tag as MLflow takes it for the name of a metric."""
    return re.sub(r"/{2,}", "/", re.sub(r"[^/\w.\- :]", "_", str(tag))).strip("/") or "scalar"

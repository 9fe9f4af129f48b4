"""Lets the user's own ``mlflow.*`` calls inside a block land in the block's run, instead of making a second one.

Nothing is imported and nothing is sent until the cell really calls MLflow. Programs that the cell starts find the
run through MLflow's own variables; in this process ``mlflow.start_run`` is led to it while a block is open:

- a call that needs a run where none is active, and the first ``start_run``, get the block's run;
- a ``start_run`` after that, or in an experiment that the user chose, makes a run of its own below the block's run;
- where the user pointed MLflow at another server, MLflow is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .capture.arrival import Arrivals
from .model import EndStatus
from .run import Run, runs

_SHORT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""With MLflow's defaults a single call blocks for minutes on a dead server."""
_RUN_ID = "MLFLOW_RUN_ID"
_URI = "MLFLOW_TRACKING_URI"
_AUTH = "MLFLOW_TRACKING_AUTH"
_SESSION = "MLOPS_LAB_SESSION"
_FLUENT = "mlflow.tracking.fluent"
_PARENT = "mlflow.parentRunId"


class Binding:
    """Undoes :func:`bind`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.run_id = run.run_id
        self.uri, _, rest = run.link.partition("/#/experiments/")
        self.experiment_id = rest.partition("/")[0]
        self.adopted = False
        """Has MLflow had this run as its active one?"""
        self._earlier = {item.info.run_id for item in _stack()}

    def release(self, status: EndStatus = "FINISHED") -> None:
        """Take the run, and what the user left open in the block, out of MLflow's hands."""
        try:
            self._end_open_runs(status)
        finally:
            _hook.leave(self)

    def _end_open_runs(self, status: EndStatus) -> None:
        mlflow = sys.modules.get("mlflow")
        if mlflow is None:
            return
        while self.run_id and (stack := _stack()) and stack[-1].info.run_id not in self._earlier:
            left = len(stack)
            with contextlib.suppress(Exception):  # the server may be away; MLflow has dropped the run by then
                mlflow.end_run(status)
            if len(_stack()) >= left:
                return


class _Hook:
    """What is changed in the environment and in MLflow while blocks are open; all of it goes with the last block."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._bindings: list[Binding] = []
        self._lent: dict[str, str] = {}
        self._run_before: str | None = None
        self._arrivals: Arrivals | None = None
        self._originals: dict[str, Callable[..., Any]] = {}

    def enter(self, binding: Binding) -> None:
        with self._guard:
            if not self._bindings:
                self._lend(_SHORT)
                self._run_before = os.environ.get(_RUN_ID)
                self._arrivals = Arrivals(frozenset({_FLUENT}), self._patch)
                self._arrivals.install()
                if _FLUENT in sys.modules:
                    self._patch(sys.modules[_FLUENT])
            self._bindings.append(binding)
            if not binding.run_id:
                return
            self._lend({_URI: binding.uri})
            if os.environ.get(_SESSION):
                self._lend({_AUTH: "mlops_lab"})
            self._point()

    def leave(self, binding: Binding) -> None:
        with self._guard:
            if binding not in self._bindings:
                return
            self._bindings.remove(binding)
            if self._bindings:
                self._point()
                return
            if self._arrivals is not None:
                self._arrivals.remove()
            self._unpatch()
            lent, self._lent = self._lent, {}
            for name, value in lent.items():
                if os.environ.get(name) == value:  # a login or the user may have set it anew meanwhile
                    del os.environ[name]
            os.environ.pop(_RUN_ID, None)
            if self._run_before is not None:
                os.environ[_RUN_ID] = self._run_before

    def binding(self) -> Binding | None:
        """Give the binding of the block that this thread is in, where a server holds its run."""
        run = runs.current
        return next((item for item in self._bindings if item.run is run and item.run_id), None)

    def _lend(self, wanted: dict[str, str]) -> None:
        for name, value in wanted.items():
            if name not in os.environ:
                self._lent[name] = os.environ[name] = value

    def _point(self) -> None:
        known = [item.run_id for item in self._bindings if item.run_id]
        if known:
            os.environ[_RUN_ID] = known[-1]
        else:
            os.environ.pop(_RUN_ID, None)

    def _patch(self, module: Any) -> None:
        found = {name: getattr(module, name, None) for name in ("start_run", "_get_or_start_run", "active_run")}
        if not all(callable(item) for item in found.values()) or self._originals:
            return  # a version that looks different: the variables do what they can
        self._originals = {name: item for name, item in found.items() if item is not None}
        start, active = self._originals["start_run"], self._originals["active_run"]

        def start_run(run_id: str | None = None, experiment_id: Any = None, *args: Any, **options: Any) -> Any:
            binding = None if run_id else self.binding()
            if binding is None:
                return start(run_id, experiment_id, *args, **options)
            return _start(binding, start, active(), experiment_id, args, options)

        def get_or_start_run() -> Any:
            found = active()
            if found is not None:
                return found
            binding = self.binding()
            if binding is not None:
                binding.adopted = False  # what needs a run, whichever, belongs to the block's
            return start_run()

        start_run.__doc__ = start.__doc__
        self._replace(start, start_run)
        module._get_or_start_run = get_or_start_run

    def _unpatch(self) -> None:
        module: Any = sys.modules.get(_FLUENT)
        originals, self._originals = self._originals, {}
        if not originals or module is None:
            return
        self._replace(module.start_run, originals["start_run"])
        module._get_or_start_run = originals["_get_or_start_run"]

    def _replace(self, before: Any, after: Any) -> None:
        for name in (_FLUENT, "mlflow"):  # the package repeats the name of its module
            module: Any = sys.modules.get(name)
            if getattr(module, "start_run", None) is before:
                module.start_run = after


_hook = _Hook()


def bind(run: Run) -> Binding:
    """Point MLflow at `run`; one that no server holds yet only shortens MLflow's waits."""
    binding = Binding(run)
    _hook.enter(binding)
    return binding


def _start(
    binding: Binding,
    start: Callable[..., Any],
    inside: Any,
    experiment_id: Any,
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """Begin what ``mlflow.start_run`` asks for while the block of `binding` is open."""
    fluent: Any = sys.modules[_FLUENT]
    chosen = experiment_id if experiment_id is not None else getattr(fluent, "_active_experiment_id", None)
    elsewhere = not _same_server(fluent, binding.uri)
    own = chosen is not None and str(chosen) != binding.experiment_id
    if not (inside or elsewhere or own or binding.adopted):
        binding.adopted = True
        with _without_run_id():
            return start(binding.run_id, experiment_id, *args, **options)
    if elsewhere:
        binding.run.notice("MLflow is pointed at another server here: what it records is a run of its own there.")
    elif own:
        binding.run.notice(
            "MLflow was told of another experiment than this run's: what it records is a run of its own there."
        )
    if not elsewhere and chosen is None and (inside is None or inside.info.run_id == binding.run_id):
        experiment_id = binding.experiment_id  # MLflow's own choice would be the experiment Default
    if not (inside or elsewhere or len(args) > 2 or options.get("parent_run_id")):
        options = {**options, "tags": {_PARENT: binding.run_id, **(options.get("tags") or {})}}
    with _without_run_id():
        return start(None, experiment_id, *args, **options)


@contextlib.contextmanager
def _without_run_id() -> Iterator[None]:
    """MLflow prefers the variable to everything but an explicit id, and takes it away once it was read."""
    before = os.environ.pop(_RUN_ID, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_RUN_ID] = before


def _same_server(fluent: Any, uri: str) -> bool:
    from .projection import origin_of

    try:
        from mlflow import get_tracking_uri

        return origin_of(str(get_tracking_uri())) == uri
    except (ImportError, ValueError):
        return True


def _stack() -> list[Any]:
    """Give the runs that are active in MLflow in this thread, innermost last."""
    fluent: Any = sys.modules.get(_FLUENT)
    try:
        return list(fluent._active_run_stack.get()) if fluent is not None else []
    except AttributeError:
        return []

"""Binds an ``MLFlowHandler`` that the user attached to an engine to the run of the block.

By itself MONAI's handler begins a run of its own, or adopts whatever run of the experiment is unfinished, another
user's too; and each of its calls waits for the server. Inside a block it writes to our journal instead. What the block
records anyway (an engine's metrics, a series that is there already) is not recorded twice: the block's own values stay.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from ..model import Input
from ..run import Run

_MODULE = "monai.handlers.mlflow_handler"


def bind(run: Run, engine: Any) -> None:
    """Lead the handlers of `engine` to `run` until the block ends."""
    cls = getattr(sys.modules.get(_MODULE), "MLFlowHandler", None)
    if not isinstance(cls, type):
        return
    book = run.book("mlflow_handlers", _Book)
    for handlers in list(engine._event_handlers.values()):
        for function, _, _ in list(handlers):
            handler = getattr(function, "__self__", None)
            if isinstance(handler, cls):
                book.bind(run, handler, engine)


class _Book:
    """The handlers that are bound to one run."""

    def __init__(self) -> None:
        self._bound: dict[int, _Bound] = {}

    def bind(self, run: Run, handler: Any, engine: Any) -> None:
        bound = self._bound.get(id(handler))
        if bound is None:
            if not self._bound:
                run.at_end(self._release)
            bound = self._bound[id(handler)] = _Bound(run, handler)
        if all(engine is not other for other in bound.engines):
            bound.engines.append(engine)
        # It lets its run go when the engine is done.
        handler.cur_run, handler.experiment = bound.client.shown, bound.client.experiment

    def _release(self) -> None:
        while self._bound:
            self._bound.popitem()[1].release()


class _Bound:
    """One handler in our hands, and what it had before."""

    def __init__(self, run: Run, handler: Any) -> None:
        self.engines: list[Any] = []
        self._run = run
        self._handler = handler
        self._before = {name: getattr(handler, name) for name in ("client", "cur_run", "experiment")}
        self._own: set[str] = set()
        self.client = handler.client = _Client(run, handler.client, self.log)

    def release(self) -> None:
        for name, value in self._before.items():
            setattr(self._handler, name, value)

    def log(self, name: str, value: Any, step: int) -> None:
        """Record a point of a series that is the handler's own."""
        if any(name in getattr(engine.state, "metrics", ()) for engine in self.engines):
            return  # recorded with the engine's epoch
        if name not in self._own:
            if name in self._run.progress().metrics:
                return
            self._own.add(name)
        self._run.log_metric(name, value, step)


class _Client:
    """What the handler takes for MLflow's client: writes go to the run, everything else to the client that it had."""

    def __init__(self, run: Run, client: Any, log: Any) -> None:
        self._run = run
        self._client = client
        self._log = log
        self._params: dict[str, str] = {}
        run_id = run.run_id or run.key
        self.shown = SimpleNamespace(
            info=SimpleNamespace(run_id=run_id, run_name=run.name, status="RUNNING", lifecycle_stage="active"),
            data=SimpleNamespace(params=self._params, metrics={}, tags={}),
            inputs=SimpleNamespace(dataset_inputs=[]),
        )
        self.experiment = SimpleNamespace(experiment_id="", name=run.experiment, lifecycle_stage="active")
        self.tracking_uri = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_run(self, run_id: str) -> Any:
        """Give the run as far as the handler looks at it."""
        return self.shown

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = (), **options: Any) -> None:
        """Record points, params and tags."""
        for metric in metrics:
            self._log(metric.key, metric.value, metric.step)
        for param in params:
            self.log_param(run_id, param.key, param.value)
        for tag in tags:
            self._run.set_tag(tag.key, tag.value)

    def log_metric(self, run_id: str, key: str, value: Any, timestamp: Any = None, step: int = 0, **rest: Any) -> None:
        """Record a point."""
        self._log(key, value, step)

    def log_param(self, run_id: str, key: str, value: Any, synchronous: Any = None) -> Any:
        """Record a param; the first value of a name stands."""
        self._params.setdefault(key, str(value))
        self._run.note_param(key, value)
        return value

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: Any = None) -> None:
        """Set a tag."""
        self._run.set_tag(key, value)

    def log_artifact(self, run_id: str, local_path: Any, artifact_path: str | None = None) -> None:
        """Keep a copy of a file for the run."""
        self._run.log_artifact(local_path, artifact_path or "")

    def log_inputs(self, run_id: str, datasets: Any = None, **rest: Any) -> None:
        """Record datasets that the run was given."""
        for given in datasets or ():
            data = given.dataset
            tags = {tag.key: tag.value for tag in given.tags or ()}
            self._run.record(Input(data.name, data.digest, data.source_type, data.source, tags))
            self.shown.inputs.dataset_inputs.append(given)

    def set_terminated(self, run_id: str, *args: Any, **rest: Any) -> None:
        """Leave the end of the run to the block."""

"""MLflow's tracking store as code inside a block sees it: what is written to a run of ours goes to its journal.

So an explicit ``mlflow.log_metric``, a client's ``log_batch`` and MLflow's autologging cost a write, whatever the
server does. What is asked (runs, histories, searches) and what belongs to other runs passes on to the real store.
While the server that our runs are for does not answer, an experiment that somebody names is taken to exist, and a run
that somebody begins in it is kept here until there is a server. Logged models (``log_model``) go to the server at
once, where there is one (:mod:`.models`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import wire
from ...connection import tags as names
from ...errors import MlopsLabError
from ..model import EndStatus, Input
from .asking import no_answer
from .models import ModelStore
from .runs import PARENT, Child, Held

_STATES: dict[str, EndStatus] = {"FINISHED": "FINISHED", "FAILED": "FAILED", "KILLED": "KILLED"}


class BlockStore(ModelStore):
    """Stands before the real store of one tracking URI; see :class:`.asking.Asking` and :class:`.models.ModelStore`."""

    # What is written

    def log_metric(self, run_id: str, metric: Any) -> None:
        """Log one point."""
        self.log_batch(run_id, [metric], [], [])

    def log_param(self, run_id: str, param: Any) -> None:
        """Log one param."""
        self.log_batch(run_id, [], [param], [])

    def set_tag(self, run_id: str, tag: Any) -> None:
        """Set one tag."""
        self.log_batch(run_id, [], [], [tag])

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        """Log several at once."""
        held = self._block.held(run_id)
        if held is None:
            self.real.log_batch(run_id=run_id, metrics=metrics, params=params, tags=tags)
            return
        with_model = [metric for metric in metrics if getattr(metric, "model_id", None)]
        sent = bool(with_model) and self._log_with_model(held, with_model)
        for metric in metrics:
            # What carries its run was read back from there, to be copied to a model.
            if not (metric in with_model and (sent or metric.run_id)):
                held.log_metric(metric.key, metric.value, metric.step)
        for param in params:
            held.log_param(param.key, param.value)
        for tag in tags:
            if tag.key == names.RUN_NAME:
                held.rename(tag.value)
            else:
                held.run.set_tag(tag.key, tag.value)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Remove a tag, which the server may not have heard of yet."""
        held = self._block.known(run_id)
        if held is None:
            self.real.delete_tag(run_id, key)
        elif self._read(held, lambda: self.real.delete_tag(held.run.run_id, key) or key) is None:
            held.run.notice(f"The tag {key} is not removed: no server could be asked to.")

    def log_metric_async(self, run_id: str, metric: Any) -> Any:
        """Log one point; there is nothing to wait for."""
        return self.log_batch_async(run_id, [metric], [], [])

    def log_param_async(self, run_id: str, param: Any) -> Any:
        """Log one param."""
        return self.log_batch_async(run_id, [], [param], [])

    def set_tag_async(self, run_id: str, tag: Any) -> Any:
        """Set one tag."""
        return self.log_batch_async(run_id, [], [], [tag])

    def log_batch_async(self, run_id: str, metrics: Any, params: Any, tags: Any) -> Any:
        """Log several at once."""
        if self._block.held(run_id) is None:
            return self.real.log_batch_async(run_id, metrics, params, tags)
        from mlflow.utils.async_logging import run_operations

        self.log_batch(run_id, metrics, params, tags)
        operations: Any = run_operations.RunOperations
        return operations([])

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> None:
        """Log the datasets that a run was given. Models are known to the server only, so they go there."""
        held = self._block.held(run_id)
        if held is None:
            self.real.log_inputs(run_id=run_id, datasets=datasets, models=models)
            return
        for given in datasets or []:
            data = given.dataset
            tags = {tag.key: tag.value for tag in given.tags or []}
            held.log_input(Input(data.name, data.digest, data.source_type, data.source, tags))
        if models and held.run.run_id:
            self._done("", lambda: self.real.log_inputs(run_id=held.run.run_id, datasets=None, models=models))

    def update_run_info(self, run_id: str, run_status: Any, end_time: Any, run_name: Any) -> Any:
        """Rename or end a run. The block's own ends with the block."""
        held = self._block.held(run_id)
        if held is None:
            return self.real.update_run_info(run_id, run_status, end_time, run_name)
        if run_name:
            held.rename(run_name)
        status = _STATES.get(_status_name(run_status))
        if status is not None and isinstance(held, Child):
            held.end(status, end_time)
        return self._shown(held).info

    def create_run(self, experiment_id: str, user_id: str, start_time: Any, tags: Any, run_name: Any) -> Any:
        """Begin a run; in a block it is a journal of its own."""
        home = self._block.home(self._uri)
        if home is None:
            return self.real.create_run(experiment_id, user_id, start_time, tags, run_name)
        if not home.recorded:
            return self._shown(home)
        given = {tag.key: tag.value for tag in tags or []}
        parent = self._block.known(given.get(PARENT, ""))
        if parent is not None:
            del given[PARENT]  # it goes by its key, for a server may not know it yet
        named = given.pop(names.RUN_NAME, "")
        name = run_name or named or self._block.next_name(home)
        experiment = self._experiment_name(home, str(experiment_id))
        ask = not self._experiments.away(home)
        try:
            child = Child.begin(home, experiment, name, given, parent, ask, start_time)
        except MlopsLabError as problem:
            from mlflow.exceptions import MlflowException

            raise MlflowException(str(problem)) from problem
        if ask and not child.run.run_id:
            self._experiments.fell_silent(home)
        self._block.begun(child)
        return self._shown(child)

    # What is asked

    def get_run(self, run_id: str) -> Any:
        """Read a run: from the server where that has it, else as it was begun."""
        held = self._block.known(run_id)
        if held is None:
            return self.real.get_run(run_id)
        return self._read(held, lambda: self.real.get_run(held.run.run_id)) or self._shown(held)

    def get_metric_history(self, run_id: str, metric_key: str, max_results: Any = None, page_token: Any = None) -> Any:
        """Read the points of one series."""
        held = self._block.known(run_id)
        if held is None:
            return self.real.get_metric_history(run_id, metric_key, max_results, page_token)
        there = (metric_key, max_results, page_token)
        found = self._read(held, lambda: self.real.get_metric_history(held.run.run_id, *there))
        if found is not None:
            return found
        from mlflow.entities import Metric
        from mlflow.store.entities.paged_list import PagedList

        points = [Metric(p.key, wire.from_number(p.value), p.time, p.step) for p in held.points(metric_key)]
        return PagedList(points, None)

    def get_experiment(self, experiment_id: str) -> Any:
        """Read an experiment; one that we stand in for is as it was named."""
        if self._experiments.stands_in(experiment_id):
            return self._stand_in(self._experiments.name(experiment_id) or "")
        home, name = self._block.home(self._uri), self._experiments.name(experiment_id)
        if home is not None and experiment_id == home.experiment_id:
            name = home.run.experiment
        if home is None or name is None:
            return self._experiments.note(self.real.get_experiment(experiment_id))
        return self._experiments.note(
            self._asked(home, lambda: self.real.get_experiment(experiment_id), _experiment(experiment_id, name))
        )

    def get_experiment_by_name(self, experiment_name: str) -> Any:
        """Find an experiment; while the server of our runs is away, it is taken to exist."""
        home = self._block.home(self._uri)
        if home is None:
            return self.real.get_experiment_by_name(experiment_name)
        experiment_name = home.screened(experiment_name)
        if home.experiment_id and experiment_name == home.run.experiment:
            return _experiment(home.experiment_id, experiment_name)
        stand_in = self._stand_in(experiment_name)
        return self._experiments.note(
            self._asked(home, lambda: self.real.get_experiment_by_name(experiment_name), stand_in)
        )

    def create_experiment(self, name: str, artifact_location: Any = None, tags: Any = None) -> Any:
        """Create an experiment; while the server of our runs is away, it is made with the first run in it."""
        home = self._block.home(self._uri)
        if home is None:
            return self.real.create_experiment(name, artifact_location, tags)
        name = home.screened(name)
        stand_in = self._experiments.named(name)
        return self._asked(home, lambda: self.real.create_experiment(name, artifact_location, tags), stand_in)

    def search_runs(self, experiment_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Search the server's runs; in an experiment that no server has made yet there are none."""
        from mlflow.store.entities.paged_list import PagedList

        there = [one for one in experiment_ids or () if not self._experiments.stands_in(str(one))]
        if experiment_ids and not there:
            return PagedList([], None)
        return self.__getattr__("search_runs")(there, *args, **kwargs)

    # The rest

    def flush_async_logging(self) -> None:
        """Wait for what MLflow logs in threads of its own; a journal has no such thing."""
        if self._made is not None:
            self._made.flush_async_logging()

    def end_async_logging(self) -> None:
        """See :meth:`flush_async_logging`."""
        if self._made is not None:
            self._made.end_async_logging()

    def shut_down_async_logging(self) -> None:
        """See :meth:`flush_async_logging`."""
        if self._made is not None:
            self._made.shut_down_async_logging()

    def artifact_uri(self, held: Held) -> str:
        """Ask the server where the artifacts of a run are; empty while it does not answer."""
        found = self._asked(held, lambda: self.real.get_run(held.run.run_id), None) if held.run.run_id else None
        return str(found.info.artifact_uri) if found is not None else ""

    def _shown(self, held: Held) -> Any:
        return held.shown(self.artifact_uri, self._experiments.named(held.run.experiment))

    def _stand_in(self, name: str) -> Any:
        return _experiment(self._experiments.named(name), name)

    def _experiment_name(self, home: Held, experiment_id: str) -> str:
        known = home.run.experiment if experiment_id == home.experiment_id else self._experiments.name(experiment_id)
        if known is None:
            found = self._asked(home, lambda: self.real.get_experiment(experiment_id), None)
            known = self._experiments.note(found).name if found is not None else None
        if known is None:
            home.run.notice(
                f"The name of the experiment {experiment_id} cannot be asked now, so what MLflow was told to begin "
                f"there is kept for the experiment {home.run.experiment}."
            )
        return str(known or home.run.experiment)

    def _read(self, held: Held, ask: Callable[[], Any]) -> Any:
        """Ask the server about a run of ours, once it has heard of what was just logged; None while it cannot."""
        if not held.run.run_id or self._experiments.away(held):
            return None
        held.catch_up()
        return self._asked(held, ask, None)

    def _log_with_model(self, held: Held, metrics: list[Any]) -> bool:
        """Log points that belong to a logged model as well; False where the server does not take them now."""
        from mlflow.exceptions import MlflowException

        if not held.run.run_id or self._experiments.away(held) or self._models.get(metrics[0].model_id):
            return False
        try:
            self.real.log_batch(run_id=held.run.run_id, metrics=metrics, params=[], tags=[])
        except MlflowException as error:
            if no_answer(error):
                self._experiments.fell_silent(held)
            return False
        return True


def _experiment(experiment_id: str, name: str) -> Any:
    from mlflow.entities import Experiment

    return Experiment(experiment_id, name, "", "active")


def _status_name(run_status: Any) -> str:
    if run_status is None or isinstance(run_status, str):
        return run_status or ""
    from mlflow.entities import RunStatus

    return str(RunStatus.to_string(run_status))

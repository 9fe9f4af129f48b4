"""MLflow's tracking store as code inside a block sees it: what is written to a run of ours goes to its journal.

So an explicit ``mlflow.log_metric``, a client's ``log_batch`` and MLflow's autologging cost a write, whatever the
server does. What is asked (runs, histories, searches) and what belongs to other runs passes on to the real store.
While the server that our runs are for does not answer, an experiment that somebody names is taken to exist, and a run
that somebody begins in it is kept here until there is a server. Logged models (``log_model``) go to the server at
once, where there is one (:mod:`.fluent_models`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ... import wire
from ...connection import tags as names
from ...errors import MlopsLabError
from ..model import EndStatus, Input
from .experiments import Experiments
from .models import Models
from .runs import PARENT, Child, Held

_STATES: dict[str, EndStatus] = {"FINISHED": "FINISHED", "FAILED": "FAILED", "KILLED": "KILLED"}


class Block(Protocol):
    """What the store is told about the blocks that are open."""

    def known(self, run_id: str) -> Held | None:
        """Give the run that MLflow's client means by `run_id`, where it was begun in a block that is open."""

    def held(self, run_id: str) -> Held | None:
        """Give that run where its journal takes more."""

    def home(self, uri: str) -> Held | None:
        """Give the block whose runs are for the server at `uri`, in this thread."""

    def next_name(self, home: Held) -> str:
        """Name a run that is begun without a name. MLflow would draw one from the random stream of the training."""

    def begun(self, child: Child) -> None:
        """Take note of a run that was begun."""


class BlockStore:
    """Stands before the real store of one tracking URI, which is made when something is asked of it.

    Parameters
    ----------
    uri
        The tracking URI.
    make
        Makes the real store.
    block
        The open blocks.
    experiments, models
        Shared by the stores of all blocks.
    """

    def __init__(
        self, uri: str, make: Callable[[], Any], block: Block, experiments: Experiments, models: Models
    ) -> None:
        self._uri = uri
        self._make = make
        self._block = block
        self._experiments = experiments
        self._models = models
        self._made: Any = None

    @property
    def real(self) -> Any:
        """The real store."""
        if self._made is None:
            self._made = self._make()
        return self._made

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
            held.run.set_tag(tag.key, tag.value)

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
        if models:
            self.real.log_inputs(run_id=self._at_server(held), datasets=None, models=models)

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
        given = {tag.key: tag.value for tag in tags or []}
        parent = self._block.known(given.get(PARENT, ""))
        if parent is not None:
            del given[PARENT]  # it goes by its key, for a server may not know it yet
        name = run_name or given.pop(names.RUN_NAME, "") or self._block.next_name(home)
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

    # Logged models

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Any = None,
        params: Any = None,
        model_type: str | None = None,
    ) -> Any:
        """Register a model; while no server takes it, its files are the run's."""
        home = self._block.home(self._uri)
        held = home if home is None or not source_run_id else self._block.known(source_run_id)
        if held is not None and held.open and (self._experiments.away(held) or not held.run.run_id):
            return self._models.create(held, experiment_id, name, tags, params, model_type)
        run_id = self._translated(source_run_id)
        return self.real.create_logged_model(experiment_id, name, run_id, tags, params, model_type)

    def get_logged_model(self, model_id: str, *args: Any, **kwargs: Any) -> Any:
        """Read a model."""
        return self._models.get(model_id) or self.real.get_logged_model(model_id, *args, **kwargs)

    def finalize_logged_model(self, model_id: str, status: Any) -> Any:
        """End the making of a model."""
        return self._models.get(model_id) or self.real.finalize_logged_model(model_id, status)

    def set_logged_model_tags(self, model_id: str, tags: Any) -> None:
        """Tag a model."""
        if self._models.get(model_id) is None:
            self.real.set_logged_model_tags(model_id, tags)

    def log_logged_model_params(self, model_id: str, params: Any) -> None:
        """Set params of a model."""
        if self._models.get(model_id) is None:
            self.real.log_logged_model_params(model_id=model_id, params=params)

    def log_outputs(self, run_id: str, models: Any) -> None:
        """Tell which models a run has made."""
        registered = [model for model in models if self._models.get(model.model_id) is None]
        if registered:
            self.real.log_outputs(run_id=self._translated(run_id), models=registered)

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Note a model in the tags of its run, as older versions of MLflow do."""
        if self._models.get(mlflow_model.model_id) is None:
            self.real.record_logged_model(self._translated(run_id), mlflow_model)

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
        return self._experiments.note(self.real.get_experiment(experiment_id))

    def get_experiment_by_name(self, experiment_name: str) -> Any:
        """Find an experiment; while the server of our runs is away, it is taken to exist."""
        home = self._block.home(self._uri)
        if home is None:
            return self.real.get_experiment_by_name(experiment_name)
        stand_in = self._stand_in(experiment_name)
        return self._experiments.note(
            self._asked(home, lambda: self.real.get_experiment_by_name(experiment_name), stand_in)
        )

    def create_experiment(self, name: str, artifact_location: Any = None, tags: Any = None) -> Any:
        """Create an experiment; while the server of our runs is away, it is made with the first run in it."""
        home = self._block.home(self._uri)
        if home is None:
            return self.real.create_experiment(name, artifact_location, tags)
        stand_in = self._experiments.named(name)
        return self._asked(home, lambda: self.real.create_experiment(name, artifact_location, tags), stand_in)

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

    def __getattr__(self, name: str) -> Any:
        if name in ("_made", "_make"):  # a copy that is being made has neither yet
            raise AttributeError(name)
        attribute = getattr(self.real, name)
        if not callable(attribute):
            return attribute

        def passed_on(*args: Any, **kwargs: Any) -> Any:
            named = {key: self._translated(value) for key, value in kwargs.items()}
            return attribute(*[self._translated(value) for value in args], **named)

        return passed_on

    def artifact_uri(self, held: Held) -> str:
        """Ask the server where the artifacts of a run are; empty while it does not answer."""
        found = self._asked(held, lambda: self.real.get_run(held.run.run_id), None) if held.run.run_id else None
        return str(found.info.artifact_uri) if found is not None else ""

    def _translated(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        held = self._block.known(value)
        return value if held is None else self._at_server(held)

    def _at_server(self, held: Held) -> str:
        if held.run.run_id:
            return held.run.run_id
        from mlflow.exceptions import MlflowException

        raise MlflowException(
            f"The run {held.run.name} is kept on this computer and no server holds it yet, so this cannot be done now."
        )

    def _shown(self, held: Held) -> Any:
        return held.shown(self.artifact_uri, self._experiments.named(held.run.experiment))

    def _stand_in(self, name: str) -> Any:
        from mlflow.entities import Experiment

        return Experiment(self._experiments.named(name), name, "", "active")

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

    def _asked(self, held: Held, ask: Callable[[], Any], otherwise: Any) -> Any:
        """Ask the server; give `otherwise` where it does not answer. What it refuses is raised as MLflow does."""
        from mlflow.exceptions import MlflowException

        if self._experiments.away(held):
            return otherwise
        try:
            return ask()
        except MlflowException as error:
            if not _no_answer(error):
                raise
        self._experiments.fell_silent(held)
        return otherwise

    def _log_with_model(self, held: Held, metrics: list[Any]) -> bool:
        """Log points that belong to a logged model as well; False where the server does not take them now."""
        from mlflow.exceptions import MlflowException

        if not held.run.run_id or self._experiments.away(held) or self._models.get(metrics[0].model_id):
            return False
        try:
            self.real.log_batch(run_id=held.run.run_id, metrics=metrics, params=[], tags=[])
        except MlflowException as error:
            if _no_answer(error):
                self._experiments.fell_silent(held)
            return False
        return True


def _no_answer(error: Any) -> bool:
    """Tell whether nobody answered, rather than a server that refuses."""
    from mlflow.exceptions import RestException

    answered = isinstance(error, RestException)
    return not answered or error.get_http_status_code() >= 500


def _status_name(run_status: Any) -> str:
    if run_status is None or isinstance(run_status, str):
        return run_status or ""
    from mlflow.entities import RunStatus

    return str(RunStatus.to_string(run_status))

"""Leads the user's own ``mlflow.*`` calls inside a block to the block's run, through its journal.

Nothing is imported and nothing is sent until the cell really calls MLflow. While a block is open:

- ``mlflow.log_*`` without a run, ``mlflow.active_run`` and the first ``mlflow.start_run`` mean the block's run; its id
  is the server's, or our run key while no server holds it;
- a ``start_run`` after that, with ``nested=True``, or with the ``experiment_id`` of another experiment, begins a run of
  its own below the block's run; what is captured while it is open in this thread belongs to it;
- ``mlflow.set_experiment`` moves nothing: the block's run has its experiment, and the person is told how to choose it;
- writing costs a write to a journal (:mod:`.store`), whatever the server does; questions go to the server, with
  short patience;
- where the user pointed MLflow at another server, MLflow is left alone;
- programs that the cell starts find the run through MLflow's own variables, where a server holds it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ...connection import tags as names
from ..capture.arrival import Arrivals
from ..capture.patches import Patches
from ..run import Run
from . import calls as fluent_calls
from .asking import no_answer
from .bindings import (
    FLUENT,
    SERVICE,
    Binding,
    OpenBlocks,
    active_runs,
    chosen_experiment_id,
    chosen_server,
    remember_choice,
    same_server,
    tracking_uri,
)
from .environment import EXPERIMENT_ID, Environment, without_run_id
from .experiments import Experiments
from .files import lead_tables
from .models import Models
from .runs import NOTE, PARENT, Held, source_tags
from .screened import screen_client
from .store import BlockStore

_REGISTRY = "mlflow.tracking._model_registry.fluent"


class _Hook(OpenBlocks):
    """What is changed in the environment and in MLflow while blocks are open; all of it goes with the last block."""

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.RLock()
        self._environment = Environment()
        self._arrivals: Arrivals | None = None
        self._patches: list[Patches] = []
        self._experiments = Experiments()
        self.models = Models()
        self._stores: dict[str, BlockStore] = {}
        self._get_store: Callable[..., Any] = _no_store

    def enter(self, binding: Binding) -> None:
        with self._guard:
            if not self._open:
                self._environment.begin()
                wanted = (FLUENT, _REGISTRY)
                self._arrivals = Arrivals(frozenset(wanted), self._patch)
                self._arrivals.install()
                for module in [sys.modules[name] for name in wanted if name in sys.modules]:
                    self._patch(module)
            self._open.append(binding)
            if binding.run.run_id is None and not binding.run.offline:
                self._experiments.fell_silent(binding)
            if binding.run.run_id:
                self._environment.lead(binding.uri)
            self._point()

    def leave(self, binding: Binding) -> None:
        with self._guard:
            if binding not in self._open:
                return
            with contextlib.suppress(Exception):  # the sentence is worth no block that stays open
                self._note_choice(binding)
            self._open.remove(binding)
            if self._open:
                self._point()
                return
            if self._arrivals is not None:
                self._arrivals.remove()
            while self._patches:
                self._patches.pop().restore()
            self._forget_stand_ins()
            self._stores, self._experiments, self.models = {}, Experiments(), Models()
            self._environment.end()

    def _note_choice(self, binding: Binding) -> None:
        """Say of a choice that was made in the block what becomes of it; the next block may follow it."""
        chosen = chosen_experiment_id()
        if chosen is None:
            return
        if chosen != binding.chosen_before and not _elsewhere(binding):
            self._tell_choice(binding)
        name = self._experiments.name(chosen)
        if name is not None and not self._experiments.stands_in(chosen):
            remember_choice(chosen, name)

    def _tell_choice(self, binding: Binding) -> None:
        """Say, once, that the experiment which MLflow was told of is not the one that the run is in."""
        chosen = chosen_experiment_id()
        if chosen is None or chosen == binding.told:
            return
        binding.told = chosen
        if chosen == binding.experiment_id:
            return
        name = self._experiments.name(chosen)
        if name is None and chosen == binding.chosen_before:
            name = binding.name_before
        if name == binding.run.experiment or (name is None and not binding.experiment_id):
            return  # the same, or nobody can be asked what it is called
        what = f"mlflow.set_experiment({name!r})" if name else "The experiment that mlflow.set_experiment chose"
        advice = f"; use --experiment {shlex.quote(name)}" if name and not binding.resumed else ""
        binding.run.notice(
            f"{what} is not followed inside a tracked block, whose run is in the experiment "
            f"{binding.run.experiment!r}{advice}."
        )

    def _forget_stand_ins(self) -> None:
        """No server knows the ids that stood for experiments; MLflow keeps the one that was set."""
        fluent: Any = sys.modules.get(FLUENT)
        if self._experiments.stands_in(chosen_experiment_id() or ""):
            fluent._active_experiment_id = None
        if self._experiments.stands_in(os.environ.get(EXPERIMENT_ID, "")):
            del os.environ[EXPERIMENT_ID]

    # What the changed calls ask: calls.Blocks

    def any_open(self) -> bool:
        return bool(self._open)

    # What MLflow is led to

    def start(self, original: Callable[..., Any], given: dict[str, Any]) -> Any:
        """Begin what ``mlflow.start_run`` asks for while a block is open."""
        binding = self.binding()
        run_id = given.get("run_id")
        if binding is None:
            return original(**given)
        if run_id:
            held = self.held(run_id)
            with without_run_id():
                return original(**given) if held is None else self._resume(held, given)
        elsewhere, own = _elsewhere(binding), self._own(binding, given.get("experiment_id"))
        if not (elsewhere or own):
            self._tell_choice(binding)
        inside = active_runs()
        below = given.get("nested") or given.get("parent_run_id")
        if not (inside or elsewhere or own or below or binding.adopted):
            binding.adopted = True
            return self._resume(binding, given)
        if elsewhere:
            binding.run.notice("MLflow is pointed at another server here: what it records is a run of its own there.")
        elif own:
            binding.run.notice(
                "mlflow.start_run was given another experiment than this run's: what it records is a run of its own "
                "there."
            )
        return self._begin(binding, original, given, elsewhere, own, inside)

    def _begin(
        self,
        binding: Binding,
        original: Callable[..., Any],
        given: dict[str, Any],
        elsewhere: bool,
        own: bool,
        inside: Any,
    ) -> Any:
        if not (elsewhere or own):
            # MLflow's own choice would be the experiment Default.
            given["experiment_id"] = binding.experiment_id or self._experiments.named(binding.run.experiment)
        tags = {} if elsewhere else source_tags(binding)
        if not (inside or elsewhere or given.get("parent_run_id")):
            tags[PARENT] = binding.id
        given["tags"] = {**tags, **(given.get("tags") or {})}
        self.starting.now = not elsewhere
        try:
            with without_run_id():
                return original(**given)
        finally:
            self.starting.now = False

    def register(self, ask: Callable[[], Any], model_uri: str, name: str) -> Any:
        """Register a model version; while nobody can be asked to, say so and let training go on."""
        binding = self.binding()
        if binding is None:
            return ask()
        if not (self._experiments.away(binding) or self.models.kept_in(model_uri)):
            try:
                return ask()
            except Exception as error:
                if not no_answer(error):
                    raise
                self._experiments.fell_silent(binding)
        binding.run.notice(f"The model is not registered as {name}: no server could be asked to. Do it later.")
        from mlflow.entities.model_registry import ModelVersion

        return ModelVersion(name, "", int(time.time() * 1000))

    def _resume(self, held: Held, given: dict[str, Any]) -> Any:
        """Make a run of ours the active one of this thread, as ``start_run`` does with a run that exists."""
        fluent: Any = sys.modules[FLUENT]
        stack = fluent._active_run_stack.get()
        if stack and not given.get("nested"):
            raise Exception(
                f"Run with UUID {stack[0].info.run_id} is already active. To start a nested run, call start_run with "
                "nested=True"
            )
        if given.get("run_name"):
            held.rename(given["run_name"])
        tags = {str(key): value for key, value in (given.get("tags") or {}).items()}
        if names.RUN_NAME in tags:
            held.rename(tags.pop(names.RUN_NAME))
        if given.get("description"):
            tags[NOTE] = given["description"]
        held.run.set_tags(tags)
        stack.append(self.shown(held))
        return stack[-1]

    def meant(self) -> Held | None:
        """Give the block's run where a call that names none means it; None where MLflow has another one in mind."""
        binding = self.binding()
        if binding is None or _elsewhere(binding):
            return None
        self._tell_choice(binding)
        return binding

    def implied(self) -> Any:
        """Give :meth:`meant` as MLflow's active run."""
        held = self.meant()
        return None if held is None else self.shown(held)

    def shown(self, held: Held) -> Any:
        """Give a run of ours as MLflow's active run."""
        fluent: Any = sys.modules[FLUENT]
        stand_in = self._experiments.named(held.run.experiment)
        return fluent.ActiveRun(held.shown(self.artifact_uri, stand_in))

    def _own(self, binding: Binding, experiment_id: Any) -> bool:
        """Tell whether ``start_run`` was given another experiment than the block's."""
        if experiment_id is None or str(experiment_id) == binding.experiment_id:
            return False
        name = self._experiments.name(str(experiment_id))
        if name is None and not binding.experiment_id:
            return False  # nobody can be asked what it is called
        return name != binding.run.experiment

    # How MLflow is changed

    def _point(self) -> None:
        known = [item.run.run_id for item in self._open if item.run.run_id]
        self._environment.point(known[-1] if known else None)

    def _patch(self, module: Any) -> None:
        patches = Patches()
        try:
            if module.__name__ == _REGISTRY:
                fluent_calls.lead_registration(module, patches, self)
            else:
                self._get_store = sys.modules[SERVICE]._tracking_store_registry.get_store
                fluent_calls.lead_runs(module, patches, self)
                fluent_calls.lead_values(module, patches, self)
                fluent_calls.lead_stores(sys.modules[SERVICE], patches, self)
                lead_tables(module.MlflowClient, patches, self.known, self._experiments.away)
                screen_client(module.MlflowClient, patches)
        except (AttributeError, KeyError, TypeError):
            patches.restore()  # a version that looks different: the variables do what they can
            return
        self._patches.append(patches)

    def artifact_uri(self, held: Held) -> str:
        return self.store(tracking_uri()).artifact_uri(held)

    def store(self, uri: str) -> BlockStore:
        with self._guard:
            if uri not in self._stores:
                make = functools.partial(self._get_store, uri)
                self._stores[uri] = BlockStore(uri, make, self, self._experiments, self.models)
            return self._stores[uri]


def _elsewhere(binding: Binding) -> bool:
    """Tell whether the user pointed MLflow at another server than the block's."""
    return chosen_server() and not same_server(binding, tracking_uri())


def _no_store(uri: str) -> Any:
    raise LookupError(f"MLflow is not there to make a store for {uri}")


_hook = _Hook()


def bind(run: Run) -> Binding:
    """Lead MLflow to `run` until the binding is released."""
    binding = Binding(run, _hook.leave)
    _hook.enter(binding)
    return binding


def run_id_at(uri: str) -> str | None:
    """Give what MLflow calls the run of this thread's block where that is for the server at `uri`."""
    held = _hook.home(uri) if SERVICE in sys.modules else None
    return held.id if held is not None else None

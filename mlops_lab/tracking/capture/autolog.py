"""Lightning, scikit-learn and xgboost: MLflow's own autologging, switched on at the first ``fit`` inside a block.

It records into the block's run, silently and without uploading models or data: what a ``fit`` is given as params, what
it reaches as metrics, a summary. Switching it on imports what it needs (scikit-learn: all estimators, 1-3 s once), so
it waits until something is fitted. What the user has told ``mlflow.autolog`` stands. All is taken back with the block.

Nothing of Lightning is double: the training loss of each step comes from the loop itself (:mod:`.torch`), so what a
module logs under the same name is left out; an ``MLFlowLogger`` of the trainer for the same server writes to the
block's run, and MLflow's callback leaves the metrics to it then; a ``TensorBoardLogger`` is not mirrored.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ..fluent import bridge as fluent
from ..fluent.runs import CAPTURED
from ..run import Run, runs
from .patches import Patches

MODULES = (
    "lightning.pytorch.trainer.trainer",
    "pytorch_lightning.trainer.trainer",
    "sklearn.base",
    "xgboost",
)

_OPTIONS: dict[str, dict[str, Any]] = {
    "pytorch": {"log_models": False, "log_datasets": False, "checkpoint": False, "silent": True},
    "sklearn": {"log_models": False, "log_datasets": False, "silent": True},
    "xgboost": {"log_models": False, "log_datasets": False, "silent": True},
}
_PREPARING = (
    "sklearn.preprocessing.",
    "sklearn.impute.",
    "sklearn.feature_extraction.",
    "sklearn.feature_selection.",
)
"""What MLflow does not record by itself."""
_CALLBACKS = "mlflow.pytorch._lightning_autolog"
_inside = threading.local()


def install(module: Any, patches: Patches) -> None:
    """Watch for the first ``fit`` of the library that `module` belongs to."""
    name = module.__name__
    if name == "sklearn.base":
        _watch_estimators(module.BaseEstimator, patches)
        patches.undo_with(_switch("sklearn").off)
    elif name == "xgboost":
        switch = _switch("xgboost")
        patches.undo_with(switch.off)
        for owner in (module, module.sklearn):
            switch.watch(owner, "train")
        for model in [value for value in vars(module.sklearn).values() if isinstance(value, type)]:
            if "fit" in vars(model) and model.__module__.startswith("xgboost."):
                switch.watch(model, "fit")
    else:
        _watch_trainer(module.Trainer, patches)
        # Last, so that it is taken back first: MLflow's patches stand on ours.
        patches.undo_with(_switch("pytorch").off)


def on(flavor: str) -> bool:
    """Tell whether MLflow's autologging of a library records now, by our doing or the user's."""
    settings = _integrations().get(flavor) or {}
    return bool(settings) and not settings.get("disable", False)


class _Switch:
    """Switches the autologging of one library on when one of the watched functions is called, and back off."""

    def __init__(self, flavor: str) -> None:
        self._flavor = flavor
        self._guard = threading.RLock()
        self._watched: list[tuple[Any, str, Any, Any]] = []
        self._ours: dict[str, Any] | None = None

    def watch(self, owner: Any, name: str) -> None:
        """Watch a function of a module or class until autologging is on."""
        original = vars(owner)[name]

        @functools.wraps(original)
        def first(*args: Any, **kwargs: Any) -> Any:
            # MLflow patches the class of the estimator, which may have its fit from the owner; but a fit of a
            # subclass that calls this one is running already.
            cls = type(args[0]) if args and isinstance(owner, type) else owner
            again = cls if getattr(cls, name, None) is first else owner
            if runs.current is None or not self.turn_on():
                return original(*args, **kwargs)
            return getattr(again, name)(*args, **kwargs)

        setattr(owner, name, first)
        self._watched.append((owner, name, first, original))

    def turn_on(self) -> bool:
        """Switch it on where the user has not said otherwise; False where it was left alone."""
        with self._guard:
            if self._ours is not None:
                return False
            self._let_go()
            run = runs.current
            try:
                from mlflow.utils import autologging_utils

                autolog = autologging_utils.get_autolog_function(self._flavor)
                if autolog is None or autologging_utils.AUTOLOGGING_INTEGRATIONS.get(self._flavor):
                    self._ours = {}
                    return False
                autolog(**_OPTIONS[self._flavor])
                self._ours = autologging_utils.AUTOLOGGING_INTEGRATIONS[self._flavor]
                # So that a later mlflow.autolog() of the user's takes over.
                self._ours[autologging_utils.AUTOLOGGING_CONF_KEY_IS_GLOBALLY_CONFIGURED] = True
            except Exception as error:
                self._ours = {}
                if run is not None:
                    run.notice(
                        f"MLflow's autologging of {self._flavor} could not be switched on "
                        f"({type(error).__name__}: {error})."
                    )
                return False
            return True

    def off(self) -> None:
        """Leave the library and MLflow's settings as they were, but for what the user has set since."""
        with self._guard:
            self._let_go()
            ours, self._ours = self._ours, None
            integrations = _integrations()
            if not ours or integrations.get(self._flavor) is not ours:
                return
            from mlflow.utils import autologging_utils

            autolog: Any = autologging_utils.get_autolog_function(self._flavor)
            autolog(disable=True, silent=True)
            integrations[self._flavor] = {}

    def _let_go(self) -> None:
        while self._watched:
            owner, name, first, original = self._watched.pop()
            if vars(owner).get(name) is first:  # the user's own autologging may stand before it
                setattr(owner, name, original)


_switches: dict[str, _Switch] = {}


def _switch(flavor: str) -> _Switch:
    """Give the switch of a library; Lightning comes as two packages with one autologging."""
    return _switches.setdefault(flavor, _Switch(flavor))


def _integrations() -> dict[str, Any]:
    module: Any = sys.modules.get("mlflow.utils.autologging_utils")
    return module.AUTOLOGGING_INTEGRATIONS if module is not None else {}


def _watch_estimators(base: Any, patches: Patches) -> None:
    switch = _switch("sklearn")

    def watch(cls: type) -> None:
        if "fit" in vars(cls) and cls.__module__.startswith("sklearn.") and not cls.__module__.startswith(_PREPARING):
            switch.watch(cls, "fit")

    def appeared(cls: Any, /, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        watch(cls)

    family: list[Any] = [base]
    for cls in family:
        family += [derived for derived in cls.__subclasses__() if derived not in family]
        watch(cls)
    patches.set(base, "__init_subclass__", classmethod(appeared))


def _watch_trainer(trainer: Any, patches: Patches) -> None:
    switch = _switch("pytorch")
    guests = _Guests()
    patches.undo_with(guests.leave)

    def watch(name: str, before: Callable[[Any, Run], None], after: Callable[[Any, Run], None]) -> None:
        original = vars(trainer)[name]

        @functools.wraps(original)
        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            run = runs.current
            if run is None or getattr(_inside, "trainer", False):
                return original(self, *args, **kwargs)
            _inside.trainer = True
            try:
                before(self, run)
                # What is called now may be MLflow's, with `original` inside.
                result = getattr(trainer, name)(self, *args, **kwargs)
                after(self, run)
                return result
            finally:
                _inside.trainer = False

        setattr(trainer, name, watched)
        patches.undo_with(lambda: _put_back(trainer, name, watched, original))

    def begin(self: Any, run: Run) -> None:
        switch.turn_on()
        guests.welcome(self, run)

    watch("fit", begin, lambda self, run: None)
    watch("validate", lambda self, run: None, guests.record)
    watch("test", lambda self, run: None, guests.record_test)


class _Guests:
    """What a trainer has of MLflow while a block is open: its callback, and a logger that we have led to the run."""

    def __init__(self) -> None:
        self._trainers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._loggers: list[tuple[Any, dict[str, Any]]] = []
        self._patches = Patches()
        self._sifting = False

    def welcome(self, trainer: Any, run: Run) -> None:
        """Prepare a trainer that is about to fit."""
        try:
            self._trainers.add(trainer)
            for logger in trainer.loggers:
                if type(logger).__name__ == "MLFlowLogger":
                    self._lead(logger, run)
            self._sift()
        except Exception as error:
            run.notice(f"What Lightning logs may be recorded twice in this version ({type(error).__name__}: {error}).")

    def record(self, trainer: Any, run: Run) -> None:
        """Record what a validation outside of a training has measured."""
        try:
            for name, value in trainer.callback_metrics.items():
                run.log_metric(name, float(value))
        except Exception as error:
            run.notice(f"What Lightning measured is not recorded ({type(error).__name__}: {error}).")

    def record_test(self, trainer: Any, run: Run) -> None:
        """Record a test, where MLflow's callback does not: it comes with the first ``fit``."""
        if not any(_is_mlflows(callback) for callback in trainer.callbacks):
            self.record(trainer, run)

    def leave(self) -> None:
        """Take all of it away."""
        self._patches.restore()
        self._sifting = False
        for trainer in list(self._trainers):
            trainer.callbacks[:] = [callback for callback in trainer.callbacks if not _is_mlflows(callback)]
        self._trainers = weakref.WeakSet()
        while self._loggers:
            logger, before = self._loggers.pop()
            vars(logger).update(before)

    def _lead(self, logger: Any, run: Run) -> None:
        if logger._run_id is not None or logger._initialized:
            return
        run_id = fluent.run_id_at(str(logger._tracking_uri))
        if run_id is not None:
            kept = ("_run_id", "_initialized", "_experiment_id")
            self._loggers.append((logger, {name: getattr(logger, name) for name in kept}))
            logger._run_id = run_id

    def _sift(self) -> None:
        """Keep MLflow's callback from logging what is recorded otherwise."""
        module: Any = sys.modules.get(_CALLBACKS)
        callback = vars(module).get("__MlflowPLCallback") if module is not None else None
        if callback is None or self._sifting:
            return
        self._sifting = True
        log = callback._log_metrics

        @functools.wraps(log)
        def sifted(this: Any, trainer: Any, step: Any, metric_items: Any) -> Any:
            run = runs.current
            if run is not None:
                if any(logger in trainer.loggers for logger, _ in self._loggers):
                    return None
                there = run.progress().metrics
                metric_items = [item for item in metric_items if not _captured(item[0], there)]
            return log(this, trainer, step, metric_items)

        self._patches.set(callback, "_log_metrics", sifted)


def _captured(name: str, there: dict[str, float]) -> bool:
    return CAPTURED.match(name) is not None and (name in there or name.removesuffix("_step") in there)


def _is_mlflows(callback: Any) -> bool:
    return type(callback).__module__ == _CALLBACKS


def _put_back(owner: Any, name: str, ours: Any, original: Any) -> None:
    if vars(owner).get(name) is ours:  # the user's own autologging may stand before it
        setattr(owner, name, original)

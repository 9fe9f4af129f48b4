"""What is changed in MLflow while blocks are open, so that its calls mean the block's run; all of it is taken back."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Protocol

from ..capture.patches import Patches
from .files import Repositories
from .models import Models
from .runs import Held
from .store import BlockStore


class Blocks(Protocol):
    """What the changed calls ask of the blocks that are open."""

    models: Models

    def any_open(self) -> bool:
        """Tell whether a block is open."""

    def held(self, run_id: str) -> Held | None:
        """Give the run that MLflow's client means by `run_id`, where a journal of ours takes more of it."""

    def meant(self) -> Held | None:
        """Give the block's run where a call that names none means it."""

    def implied(self) -> Any:
        """Give that run as MLflow's active run."""

    def start(self, original: Callable[..., Any], given: dict[str, Any]) -> Any:
        """Begin what ``mlflow.start_run`` asks for."""

    def register(self, ask: Callable[[], Any], model_uri: str, name: str) -> Any:
        """Register a model version by `ask`, where somebody can be asked."""

    def store(self, uri: str) -> BlockStore:
        """Give the store for a tracking URI."""

    def artifact_uri(self, held: Held) -> str:
        """Ask the server where the artifacts of a run are."""


def lead_runs(module: Any, patches: Patches, blocks: Blocks) -> None:
    """Let calls that name no run mean the block's; `module` is ``mlflow.tracking.fluent``."""
    start, active, get_or_start = module.start_run, module.active_run, module._get_or_start_run
    signature = inspect.signature(start)

    @functools.wraps(start)
    def start_run(*args: Any, **kwargs: Any) -> Any:
        return blocks.start(start, signature.bind(*args, **kwargs).arguments)

    @functools.wraps(active)
    def active_run() -> Any:
        return active() or blocks.implied()

    @functools.wraps(get_or_start)
    def get_or_start_run() -> Any:
        return active() or blocks.implied() or start_run()

    _exchange(patches, (start, start_run), (active, active_run), (get_or_start, get_or_start_run))


def lead_values(module: Any, patches: Patches, blocks: Blocks) -> None:
    """Spare a plain ``mlflow.log_metric(s)`` the client that MLflow makes for every call: 6 us instead of 150."""
    log_metric, log_metrics = module.log_metric, module.log_metrics

    def target(options: dict[str, Any]) -> Held | None:
        if options or module.get_active_model_id() is not None or module.MLFLOW_ENABLE_ASYNC_LOGGING.get():
            return None
        stack = module._active_run_stack.get()
        return blocks.held(stack[-1].info.run_id) if stack else blocks.meant()

    @functools.wraps(log_metric)
    def metric(key: str, value: Any, step: int | None = None, *args: Any, **options: Any) -> Any:
        held = None if args else target(options)
        if held is None:
            return log_metric(key, value, step, *args, **options)
        return held.log_metric(key, value, step or 0)

    @functools.wraps(log_metrics)
    def metrics(metrics: dict[str, Any], step: int | None = None, *args: Any, **options: Any) -> Any:
        held = None if args else target(options)
        if held is None:
            return log_metrics(metrics, step, *args, **options)
        for key, value in metrics.items():
            held.log_metric(key, value, step or 0)

    _exchange(patches, (log_metric, metric), (log_metrics, metrics))


def lead_stores(service: Any, patches: Patches, blocks: Blocks) -> None:
    """Put our stores before MLflow's; `service` is the module that gives them."""
    registry = service._tracking_store_registry
    get_store = registry.get_store

    def block_store(store_uri: Any = None, artifact_uri: Any = None) -> Any:
        if artifact_uri is not None or not blocks.any_open():
            return get_store(store_uri, artifact_uri)
        return blocks.store(str(service._resolve_tracking_uri(store_uri)))

    patches.set(registry, "get_store", block_store)
    remembered = Repositories(service._artifact_repos_cache, blocks.held, blocks.artifact_uri, blocks.models)
    patches.set(service, "_artifact_repos_cache", remembered)


def lead_registration(module: Any, patches: Patches, blocks: Blocks) -> None:
    """Keep ``log_model(registered_model_name=...)`` from ending a training; `module` is the registry's fluent part."""
    register = module._register_model

    @functools.wraps(register)
    def registered(model_uri: str, name: str, *args: Any, **options: Any) -> Any:
        return blocks.register(lambda: register(model_uri, name, *args, **options), str(model_uri), name)

    patches.set(module, "_register_model", registered)


def _exchange(patches: Patches, *pairs: tuple[Any, Any]) -> None:
    for before, after in pairs:
        patches.undo_with(functools.partial(_replace, after, before))
        _replace(before, after)


def _replace(before: Callable[..., Any], after: Callable[..., Any]) -> None:
    """Put `after` wherever MLflow's modules hold `before` under its name: some import it from one another."""
    name = before.__name__
    for module in [module for key, module in list(sys.modules.items()) if key.partition(".")[0] == "mlflow"]:
        if getattr(module, "__dict__", {}).get(name) is before:
            setattr(module, name, after)

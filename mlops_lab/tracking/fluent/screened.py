"""What MLflow's client writes besides runs (experiments, registered models, prompts): the guard reads it as well.

Traces are MLflow's own business: they hold what a function was given, and are not looked through.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..active import runs
from ..capture.patches import Patches
from ..gate import Gate

_METHODS = (
    *("create_experiment", "rename_experiment", "set_experiment_tag"),
    *("create_registered_model", "rename_registered_model", "update_registered_model", "set_registered_model_tag"),
    *("create_model_version", "_create_model_version", "update_model_version", "set_model_version_tag"),
    *("set_registered_model_alias", "create_logged_model", "set_logged_model_tags", "log_model_params"),
    *("register_prompt", "create_prompt", "create_prompt_version", "set_prompt_tag", "set_prompt_version_tag"),
)
_NAMES = frozenset({"name", "new_name", "key", "alias"})
_TEXTS = frozenset({"description", "value", "template", "commit_message", "tags", "params"})


def screen_client(client: Any, patches: Patches) -> None:
    """Have the arguments of calls of the class ``MlflowClient`` screened inside of blocks."""
    for method in _METHODS:
        original = vars(client).get(method)
        if callable(original):
            patches.set(client, method, _screened(original))


def _screened(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        run = runs.current
        if run is None or run.gate is None:
            return original(*args, **kwargs)
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:
            return original(*args, **kwargs)  # which says what is wrong with them
        for name, value in given.arguments.items():
            if name in _NAMES and isinstance(value, str):
                given.arguments[name] = run.gate.name(value) or "blocked"
            elif name in _TEXTS:
                given.arguments[name] = _clean(run.gate, value)
        return original(*given.args, **given.kwargs)

    return watched


def _clean(gate: Gate, value: Any) -> Any:
    if isinstance(value, str):
        return gate.text(value, "tag", "MLflow's registry")
    if isinstance(value, dict):
        return {key: _clean(gate, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(gate, item) for item in value]
    return value

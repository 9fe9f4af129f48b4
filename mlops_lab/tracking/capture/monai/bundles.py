"""MONAI bundle workflows: the configuration that ran, as ``bundle/config.yaml``, and the bundle's name and version.

References to plain values are resolved; what would have to be evaluated stays as it is written, and is never evaluated
on our account. What the workflow itself has evaluated by its end is told beside it, in ``bundle/evaluated.yaml``.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from ...run import Run, runs
from ..patches import Patches
from ..printable import printable, yaml_of

MODULES = ("monai.bundle.workflows",)

MOST_PARAMS = 100
_LONGEST = 500
_DEEPEST = 16
_REFERENCE, _EXPRESSION, _TARGET = "@", "$", "_target_"


def install(module: Any, patches: Patches) -> None:
    """Hook the workflows of ``monai.bundle``."""
    workflow = module.ConfigWorkflow
    patches.set(workflow, "initialize", _watched(workflow.initialize, last=False))
    patches.set(workflow, "run", _watched(workflow.run, last=True))


def _watched(original: Callable[..., Any], last: bool) -> Callable[..., Any]:
    @functools.wraps(original)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = runs.current
        if run is None:
            return original(self, *args, **kwargs)
        try:
            return original(self, *args, **kwargs)
        finally:
            try:
                run.book("bundles", _Book).note(run, self, last)
            except Exception as error:
                run.notice(f"The bundle's configuration could not be recorded ({type(error).__name__}).")

    return watched


class _Book:
    """The workflows of one run, and whether they have been recorded."""

    def __init__(self) -> None:
        self._workflows: list[_Workflow] = []

    def note(self, run: Run, workflow: Any, last: bool) -> None:
        """Take in a workflow that is new here; it is recorded once it has run, else at the end of the run."""
        known = next((item for item in self._workflows if item.workflow() is workflow), None)
        if known is None:
            known = _Workflow(workflow, len(self._workflows) + 1)
            self._workflows.append(known)
            run.at_end(lambda: known.record(run))
        if last:
            known.record(run)


class _Workflow:
    """One workflow of a run."""

    def __init__(self, workflow: Any, number: int) -> None:
        self.workflow = weakref.ref(workflow)
        self._folder = "bundle" if number == 1 else f"bundle_{number}"
        self._recorded = False

    def record(self, run: Run) -> None:
        """Record it once; by then what it refers to has been parsed, and its expressions have been evaluated."""
        workflow = self.workflow()
        if workflow is None or self._recorded:
            return
        self._recorded = True
        parser = workflow.parser
        meta = parser.get(parser.meta_key)
        for key, param in (("name", self._folder), ("version", f"{self._folder}.version")):
            if isinstance(meta, dict) and isinstance(meta.get(key), (str, int, float)):
                run.note_param(param, meta[key])
        _record(run, parser, self._folder)


def _record(run: Run, parser: Any, folder: str) -> None:
    config = {key: value for key, value in (parser.get() or {}).items() if key != parser.meta_key}
    resolved = _resolved(config, config, 0)
    run.log_text(yaml_of(resolved), f"{folder}/config.yaml")
    evaluated = _evaluated(parser)
    if evaluated:
        run.log_text(yaml_of(evaluated), f"{folder}/evaluated.yaml")
    values = {key: value for key, value in {**resolved, **evaluated}.items() if _is_setting(value)}
    for key, value in list(values.items())[:MOST_PARAMS]:
        run.note_param(f"{folder}.{key}", str(value)[:_LONGEST])


def _resolved(value: Any, config: dict[str, Any], depth: int) -> Any:
    """Put plain values in the place of references to them, whatever stands in nested lists and dictionaries."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        return {key: _resolved(item, config, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, config, depth + 1) for item in value]
    if isinstance(value, str) and value.startswith(_REFERENCE):
        found = _at(config, value[len(_REFERENCE) :])
        if found is not None and _is_plain(found):
            return _resolved(found, config, depth + 1)
    return value


def _at(config: Any, place: str) -> Any:
    for part in place.replace("#", "::").split("::"):
        try:
            config = config[int(part)] if isinstance(config, list) else config[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return config


def _is_plain(value: Any) -> bool:
    """Tell whether a value is what it says: neither code, nor an object to be built, nor made of these."""
    if isinstance(value, dict):
        return _TARGET not in value and all(_is_plain(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return not (isinstance(value, str) and (value.startswith(_EXPRESSION) or "$" in value[:2]))


def _evaluated(parser: Any) -> dict[str, Any]:
    """Give what the workflow made of its expressions, as far as these are settings."""
    found: dict[str, Any] = {}
    resolver = parser.ref_resolver
    for place, value in sorted(resolver.resolved_content.items()):
        item = resolver.items.get(place)
        written = parser.get(place) if item is not None else None
        if isinstance(written, str) and written.startswith(_EXPRESSION) and _is_setting(value):
            found[place] = printable(value)
    return found


def _is_setting(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= 16 and all(isinstance(item, (bool, int, float, str)) for item in value)
    if isinstance(value, str):
        return not value.startswith((_EXPRESSION, _REFERENCE, "%")) and "\n" not in value
    return isinstance(value, (bool, int, float))

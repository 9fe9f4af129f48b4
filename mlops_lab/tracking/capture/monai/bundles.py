"""MONAI bundles: the configuration that ran, as ``bundle/config.yaml``, and the bundle's name and version.

What a workflow or a ``ConfigParser`` of the user's own builds objects from counts. References to plain values are
resolved; what would have to be evaluated stays as it is written, and is never evaluated on our account. What MONAI
itself has evaluated by its end is told beside it, in ``bundle/evaluated.yaml``.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

from ...run import Run, runs
from ..patches import Patches
from ..printable import printable, yaml_of

MODULES = ("monai.bundle.config_parser", "monai.bundle.workflows")

MOST_BUNDLES = 8
"""Configurations of one run that are recorded."""
MOST_PARAMS = 100
_LONGEST = 500
_DEEPEST = 16
_REFERENCE, _EXPRESSION, _TARGET = "@", "$", "_target_"


def install(module: Any, patches: Patches) -> None:
    """Hook the parser or the workflows of ``monai.bundle``."""
    if module.__name__.endswith(".config_parser"):
        _hook(module.ConfigParser, "get_parsed_content", patches)
    else:
        _hook(module.ConfigWorkflow, "run", patches)


def _hook(cls: type, name: str, patches: Patches) -> None:
    original = vars(cls)[name]

    @functools.wraps(original)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = runs.current
        if run is None:
            return original(self, *args, **kwargs)
        # A workflow that has run may be gone by the end of the block, with all that it has evaluated.
        parser = self if name == "get_parsed_content" else self.parser
        try:
            return original(self, *args, **kwargs)
        finally:
            try:
                run.book("bundles", _Book).note(run, parser, over=parser is not self)
            except Exception as error:
                run.notice(f"The bundle's configuration could not be recorded ({type(error).__name__}).")

    patches.set(cls, name, watched)


class _Book:
    """The configurations of one run."""

    def __init__(self) -> None:
        self._bundles: list[_Bundle] = []

    def note(self, run: Run, parser: Any, over: bool) -> None:
        """Take in a parser that is new here; it is recorded when it is `over`, else at the end of the run."""
        known = next((item for item in self._bundles if item.parser() is parser), None)
        if known is None:
            config = _config(parser)
            if not config or len(self._bundles) >= MOST_BUNDLES:
                return
            known = _Bundle(parser, config, len(self._bundles) + 1)
            self._bundles.append(known)
            run.at_end(functools.partial(known.record, run))
        if over:
            known.record(run)


class _Bundle:
    """One configuration of a run, as it was when the first object was asked for."""

    def __init__(self, parser: Any, config: dict[str, Any], number: int) -> None:
        self.parser = weakref.ref(parser)
        self._meta = parser.get(parser.meta_key)
        self._config = config
        self._folder = "bundle" if number == 1 else f"bundle_{number}"
        self._recorded = False

    def record(self, run: Run) -> None:
        """Record it once; by then what it refers to has been parsed, and its expressions have been evaluated."""
        if self._recorded:
            return
        self._recorded = True
        parser, folder = self.parser(), self._folder
        for key, param in (("name", folder), ("version", f"{folder}.version")):
            if isinstance(self._meta, dict) and isinstance(self._meta.get(key), (str, int, float)):
                run.note_param(param, self._meta[key])
        config = self._config if parser is None else _config(parser)
        evaluated = _evaluated(parser) if parser is not None else {}
        run.log_text(yaml_of(config), f"{folder}/config.yaml")
        if evaluated:
            run.log_text(yaml_of(evaluated), f"{folder}/evaluated.yaml")
        values = {key: printable(value) for key, value in {**config, **evaluated}.items() if _is_setting(value)}
        for key, value in list(values.items())[:MOST_PARAMS]:
            run.note_param(f"{folder}.{key}", str(value)[:_LONGEST])


def _config(parser: Any) -> dict[str, Any]:
    """Give the configuration of `parser` without its metadata, resolved as far as that takes no evaluation."""
    written = parser.get()
    if not isinstance(written, dict):
        return {}
    config = {key: value for key, value in written.items() if key != parser.meta_key}
    resolved: dict[str, Any] = _resolved(config, config, 0)
    return resolved


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
            told = printable(value)
            if type(told) is type(value):  # of data only the size is told
                found[place] = told
    return found


def _is_setting(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return 0 < len(value) <= 16 and all(_is_setting(item) and not isinstance(item, (list, tuple)) for item in value)
    if isinstance(value, str):
        return not value.startswith((_EXPRESSION, _REFERENCE, "%")) and "\n" not in value
    return isinstance(value, (bool, int, float))

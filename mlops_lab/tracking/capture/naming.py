"""Finds what the user calls an object: the name of the variable, attribute or dictionary entry that holds it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_LIBRARIES = ("monai.", "ignite.", "torch.", "mlops_lab.", "IPython.", "ipykernel.")
_SKIPPED = re.compile(r"_|(In|Out|self|cls|metric|metrics|obj|x|m)$")


def callers_name(thing: Any) -> str | None:
    """Look for the name of `thing` in the frames that called us, the user's frames only; None where it has none."""
    return _in_frames(_name_in, thing)


def callers_group(thing: Any) -> str | None:
    """Look for the key of the dictionary entry whose list or dictionary holds `thing`; None where there is none."""
    return _in_frames(_group_in, thing)


def _in_frames(look: Callable[[FrameType, Any], str | None], thing: Any) -> str | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(_LIBRARIES):
            found = look(frame, thing)
            if found is not None:
                return found
        frame = frame.f_back
    return None


def calling_module(skip: tuple[str, ...]) -> str:
    """Give the name of the module that called us, leaving out modules whose name begins with one of `skip`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if not module.startswith(skip):
            return module
        frame = frame.f_back
    return ""


def snake_case(name: str) -> str:
    """``HausdorffDistance`` -> ``hausdorff_distance``; ``ROCAUC`` -> ``rocauc``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _name_in(frame: FrameType, thing: Any) -> str | None:
    scopes = (frame.f_locals,) if frame.f_locals is frame.f_globals else (frame.f_locals, frame.f_globals)
    for scope in scopes:
        found = _key(scope, thing)
        if found is not None:
            return found
        for value in list(scope.values()):
            if type(value) is dict and value is not scope:
                found = _key(value, thing)
                if found is not None:
                    return found
    # A trainer of the user's own: self.dice_metric.
    own = frame.f_locals.get("self")
    return _key(vars(own), thing) if hasattr(own, "__dict__") else None


def _group_in(frame: FrameType, thing: Any) -> str | None:
    for scope in (frame.f_locals, frame.f_globals):
        for value in list(scope.values()):
            for key, group in list(value.items()) if type(value) is dict and value is not scope else ():
                inside = group if type(group) in (list, tuple) else group.values() if type(group) is dict else ()
                if isinstance(key, str) and any(item is thing for item in list(inside)[:64]):
                    return key
    return None


def _key(scope: dict[str, Any], thing: Any) -> str | None:
    for key, value in list(scope.items()):
        if value is thing and isinstance(key, str) and not _SKIPPED.match(key):
            return key
    return None

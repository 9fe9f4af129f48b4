"""Finds what the user calls an object, and the classes that its values stand for: the names in the code around it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .printable import is_place
from .torch.frames import variables

_LIBRARIES = ("monai.", "ignite.", "torch.", "mlops_lab.", "IPython.", "ipykernel.")
_SKIPPED = re.compile(r"_|(In|Out|self|cls|metric|metrics|obj|x|m)$")
_LABELS = (
    re.compile(r"(?i)(^|_)(class|label|organ|region|structure|category)_?names?($|_)"),
    re.compile(r"(?i)(^|_)(classes|organs|regions|structures|categories|label_?(map|dict)|class_?(map|dict))($|_)"),
    re.compile(r"(?i)(^|_)labels?($|_)"),
)
"""What people call the list of their classes, the clearest names first."""
_LONGEST_LABEL = 64
_FILE = re.compile(r"\.[A-Za-z]\w{1,5}$")


def callers_name(thing: Any) -> str | None:
    """Look for the name of `thing` in the frames that called us, the user's frames only; None where it has none."""
    return _in_frames(_name_in, thing)


def callers_group(thing: Any) -> str | None:
    """Look for the key of the dictionary entry whose list or dictionary holds `thing`; None where there is none."""
    return _in_frames(_group_in, thing)


def callers_labels(count: int, background: bool) -> list[str] | None:
    """Look for the names of the classes in the frames that called us: a list or dictionary of as many texts.

    Parameters
    ----------
    count
        Values that are to be named.
    background
        False: the first of the user's classes, the background, has no value.

    Returns
    -------
    list of str
        One name per value, or None where the code has no such list. ``["background", "liver", "tumour"]``,
        ``{0: "background", 1: "liver"}``, ``{"1": "liver"}`` and ``{"liver": 1}`` are understood.
    """
    scopes = [scope for frame in users_frames(sys._getframe(1)) for scope in _scopes(frame)]
    for wanted in _LABELS:
        for scope in scopes:
            for name, value in list(scope.items()):
                if isinstance(name, str) and type(value) in (list, tuple, dict) and wanted.search(name):
                    found = labels_in(value, count, background)
                    if found is not None:
                        return found
    return None


def labels_in(value: Any, count: int, background: bool) -> list[str] | None:
    """Read `count` class names from a list or dictionary; see :func:`callers_labels`."""
    if type(value) is dict:
        value = _by_number(value, count, background)
    if type(value) not in (list, tuple):
        return None
    if len(value) == count + 1 and not background:
        value = value[1:]
    if len(value) != count or not all(isinstance(item, str) and 0 < len(item) <= _LONGEST_LABEL for item in value):
        return None
    if len(set(value)) != count or any(is_place(item) or _FILE.search(item) for item in value):
        return None
    return [label_name(item) for item in value]


def label_name(label: str) -> str:
    """Give a class's name as a part of a metric's name that MLflow takes."""
    return re.sub(r"[^\w.-]+", "_", label.strip()).strip("_") or "class"


def calling_module(skip: tuple[str, ...]) -> str:
    """Give the name of the module that called us, leaving out modules whose name begins with one of `skip`."""
    frame = calling_frame(skip)
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def calling_frame(skip: tuple[str, ...]) -> FrameType | None:
    """Give the frame that called us, leaving out those of modules whose name begins with one of `skip`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(skip):
        frame = frame.f_back
    return frame


def snake_case(name: str) -> str:
    """``HausdorffDistance`` -> ``hausdorff_distance``; ``ROCAUC`` -> ``rocauc``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _in_frames(look: Callable[[FrameType, Any], str | None], thing: Any) -> str | None:
    for frame in users_frames(sys._getframe(2)):
        found = look(frame, thing)
        if found is not None:
            return found
    return None


def users_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Give `frame` and those that called it, without those of the libraries."""
    while frame is not None:
        if not str(frame.f_globals.get("__name__", "")).startswith(_LIBRARIES):
            yield frame
        frame = frame.f_back


def _scopes(frame: FrameType) -> list[dict[str, Any]]:
    """Give the variables of a frame, the attributes of its ``self``, and the global variables."""
    held = variables(frame)
    own = held.get("self") if held is not frame.f_globals else None
    inside = [vars(own)] if hasattr(own, "__dict__") else []
    return [held, *inside] if held is frame.f_globals else [held, *inside, frame.f_globals]


def _name_in(frame: FrameType, thing: Any) -> str | None:
    held = variables(frame)
    scopes = (held,) if held is frame.f_globals else (held, frame.f_globals)
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
    own = held.get("self")
    return _key(vars(own), thing) if hasattr(own, "__dict__") else None


def _group_in(frame: FrameType, thing: Any) -> str | None:
    for scope in (variables(frame), frame.f_globals):
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


def _by_number(names: dict[Any, Any], count: int, background: bool) -> list[Any] | None:
    """Turn ``{1: "liver"}``, ``{"1": "liver"}`` or ``{"liver": 1}`` into the list of names by number."""
    if len(names) not in (count, count + 1):
        return None
    if all(isinstance(value, int) and not isinstance(value, bool) for value in names.values()):
        names = {number: name for name, number in names.items()}
    try:
        numbered = {int(number): name for number, name in names.items()}
    except (TypeError, ValueError):
        return None
    first = 0 if background else 1
    wanted = range(first, first + count)
    return [numbered[number] for number in wanted] if all(number in numbered for number in wanted) else None

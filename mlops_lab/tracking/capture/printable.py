"""Turns what a constructor was given into something small that can be kept and printed: never data, never the object.

Numbers, short texts and short sequences of these stay what they are; everything else is told by its kind. No code of
the object runs, nothing is read from a device, and nothing that was passed is kept alive.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

LONGEST_TEXT = 200
MOST_ITEMS = 32
"""Entries of a sequence or dictionary; a longer one is data rather than a setting."""
_DEEPEST = 4

_PLAIN = frozenset({int, float, bool, type(None), complex})
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_PLACE = re.compile(r"[/~]|\\\\|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://")
_SUFFIX = re.compile(r"\.[A-Za-z]\w{0,5}(\.gz)?$")
_FILE = re.compile(r"[^\s]*[/\\][^\s]*\.\w{1,6}(\.gz)?$")


class _Data(Exception):
    """A part of it is data or a place of data, so the whole is told by its size."""


def printable(value: Any) -> Any:
    """Give `value` as numbers, texts, and short tuples, lists and dictionaries of these.

    Returns
    -------
    object
        ``(16, 32, 64)``, ``"mean"`` for an enumeration's member, ``"list_data_collate"`` for a function,
        ``"DiceLoss"`` for an object, ``"Tensor(3, 64, 64)"``, ``"list(240)"`` for a sequence that is long or
        names files, ``"<path>.pt"`` for a path.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is str:
        return _text(value)
    if (kind is tuple or kind is list) and len(value) <= MOST_ITEMS and _PLAIN.issuperset(map(type, value)):
        return kind(value)
    try:
        return _described(value, kind, 0)
    except _Data:
        return f"{kind.__name__}({len(value)})"
    except Exception:
        return kind.__name__


def yaml_of(described: Any) -> str:
    """Give dictionaries, lists and values as YAML that is read rather than parsed: short lists stand on one line."""
    import yaml

    plain = _yaml(described)
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None))


def _yaml(value: Any) -> Any:
    """Give `value` in YAML's own types."""
    if isinstance(value, dict):
        return {str(key): _yaml(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_yaml(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(printable(value))


def is_place(text: str) -> bool:
    """Tell whether `text` is a path or an address rather than a name or a word."""
    if "/" not in text and "\\" not in text and not text.startswith("~"):
        return False
    return bool(_PLACE.match(text) or _FILE.match(text))


def _text(value: str) -> str:
    if _PLACE.match(value):
        return _shortened(value)
    return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"


def _shortened(place: str) -> str:
    """Tell that it is a path or an address, and of what kind: names of files and folders are people's often enough."""
    scheme, separator, _ = place.partition("://")
    if separator:
        return f"{scheme}://..."
    suffix = _SUFFIX.search(place)
    return f"<path>{suffix[0] if suffix else ''}"


def _described(value: Any, kind: type, depth: int) -> Any:
    if kind in _PLAIN:
        return value
    if kind in (list, tuple, set, frozenset):
        if len(value) > MOST_ITEMS or depth > _DEEPEST:
            raise _Data
        items = _items(value, depth)
        return tuple(items) if kind is tuple else items
    if isinstance(value, Enum):
        return value.value if type(value.value) in _PLAIN or isinstance(value.value, str) else value.name
    if isinstance(value, str):
        if depth and is_place(value):
            raise _Data
        return _text(str(value))
    if isinstance(value, dict):
        if len(value) > MOST_ITEMS or depth > _DEEPEST:
            raise _Data
        keys = [key if type(key) in _PLAIN else str(_described(key, type(key), depth + 1)) for key in value]
        return dict(zip(keys, _items(value.values(), depth), strict=True))
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, _FUNCTIONS):
        return function_name(value)
    if isinstance(value, functools.partial):
        return f"partial({_described(value.func, type(value.func), depth)})"
    if isinstance(value, os.PathLike):
        if depth:
            raise _Data
        return _shortened(os.fspath(value)) if isinstance(os.fspath(value), str) else kind.__name__
    if isinstance(value, (bytes, bytearray)):
        return f"{kind.__name__}({len(value)})"
    if isinstance(value, range):
        return str(value)
    return _of_library(value, kind)


def _items(values: Iterable[Any], depth: int) -> list[Any]:
    return [
        item
        if type(item) in _PLAIN or (type(item) is str and item.isidentifier() and len(item) <= LONGEST_TEXT)
        else _described(item, type(item), depth + 1)
        for item in values
    ]


def function_name(function: Any) -> str:
    """Name a function as its author wrote it; one without a name is ``<lambda>``."""
    name = str(getattr(function, "__qualname__", None) or getattr(function, "__name__", type(function).__name__))
    return name.rpartition("<locals>.")[2]


def _of_library(value: Any, kind: type) -> Any:
    """Describe what NumPy and torch hand around: scalars, short vectors of settings, shapes of everything larger."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor"):
        if isinstance(value, torch.Tensor):
            shape = tuple(value.shape)
            # Class weights are a setting. Reading from a device would make training wait.
            if kind.__module__.startswith("torch") and value.device.type == "cpu" and _is_short(shape):
                return value.tolist()
            return f"{kind.__name__}({', '.join(map(str, shape))})"
        if isinstance(value, (torch.dtype, torch.device)):
            return str(value).removeprefix("torch.")
        if isinstance(value, torch.Size):
            return tuple(value)
    if kind.__module__ == "numpy" and isinstance(getattr(value, "shape", None), tuple):
        if value.dtype.kind in "bifc" and _is_short(value.shape):
            return value.tolist()
        return f"{kind.__name__}({', '.join(map(str, value.shape))})"
    return kind.__name__


def _is_short(shape: tuple[int, ...]) -> bool:
    return len(shape) < 2 and (not shape or shape[0] <= MOST_ITEMS)

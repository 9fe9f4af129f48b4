"""Finds what classes are called where only the code says so: ``metric_tc = metric_batch[0].item()``.

What a metric aggregated is often taken apart class by class, into variables that bear the classes' names. The source of
the code that runs is read for it, never run.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
import textwrap
from collections.abc import Iterator
from tokenize import TokenError
from types import CodeType

from .naming import label_name, users_frames

_COUNTS = ("not_nans", "not_nan", "nans", "_")
"""Names of what an aggregation gives beside its result: how many cases it is made of."""


def callers_unpacking(count: int) -> list[str] | None:
    """Look for the names of `count` classes in the code that called us; None where it does not name each of them."""
    if count < 2:
        return None
    for frame in users_frames(sys._getframe(1)):
        for names in _unpacked(frame.f_code):
            if len(names) == count:
                return list(names)
    return None


@functools.lru_cache(maxsize=64)
def _unpacked(code: CodeType) -> tuple[tuple[str, ...], ...]:
    lines = linecache.getlines(code.co_filename)
    try:
        if code.co_name != "<module>":  # of a notebook's cell each statement is a module of its own
            lines = inspect.getblock(lines[code.co_firstlineno - 1 :])
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError, TokenError):
        return ()
    assignments = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and len(node.targets) == 1]
    results = {name for node in assignments if _aggregates(node.value) for name in _first(node.targets[0])}
    parts: dict[str, dict[int, str]] = {}
    found: list[tuple[str, ...]] = []
    for node in assignments:
        target = node.targets[0]
        names = _names(target)
        if names and (_aggregates(node.value) or (isinstance(node.value, ast.Name) and node.value.id in results)):
            found.append(tuple(names))
        if isinstance(target, ast.Name):
            for result, position in _entries(node.value):
                if result in results:
                    parts.setdefault(result, {})[position] = target.id
    found += [
        tuple(taken[at] for at in range(len(taken))) for taken in parts.values() if set(taken) == {*range(len(taken))}
    ]
    return tuple(labels for names in found if (labels := _without_shared(names)))


def _aggregates(value: ast.expr) -> bool:
    """Tell whether an expression is what a metric aggregated, moved or converted perhaps."""
    while isinstance(value, (ast.Call, ast.Attribute)):
        if isinstance(value, ast.Attribute) and value.attr == "aggregate":
            return True
        value = value.func if isinstance(value, ast.Call) else value.value
    return False


def _first(target: ast.expr) -> list[str]:
    if isinstance(target, ast.Tuple) and target.elts:
        target = target.elts[0]
    return [target.id] if isinstance(target, ast.Name) else []


def _names(target: ast.expr) -> list[str]:
    """Give the names of ``a, b, c = ...``; none where one of them is a count of cases."""
    elements = target.elts if isinstance(target, ast.Tuple) else []
    names = [element.id for element in elements if isinstance(element, ast.Name) and element.id not in _COUNTS]
    return names if len(names) == len(elements) else []


def _entries(value: ast.expr) -> Iterator[tuple[str, int]]:
    """Give the ``result[0]`` in an expression."""
    for node in ast.walk(value):
        if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
            continue
        if isinstance(node.slice, ast.Constant) and type(node.slice.value) is int:
            yield node.value.id, node.slice.value


def _without_shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """``metric_tc, metric_wt, metric_et`` -> ``tc, wt, et``; nothing where they are no names of different things."""
    words = [name.lower().split("_") for name in names]
    shared = set(words[0]).intersection(*words[1:])
    short = ["_".join(word for word in own if word not in shared) for own in words]
    if len(set(names)) != len(names) or (not all(short) and any(short)):
        return ()
    return tuple(label_name(name) for name in (short if all(short) else names))

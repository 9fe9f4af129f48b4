"""Turns what a metric gives (floats, tensors, arrays, per-class vectors, tuples) into named numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .naming import label_name

MOST_CLASSES = 64
"""A vector longer than this is no list of classes, and only its mean is kept."""

Labels = Callable[[int], list[str] | None]
"""Gives the names of so many classes; None where they have none."""


def numbers(
    name: str, value: Any, parts: list[str] | None = None, labels: Labels = lambda count: None
) -> dict[str, float]:
    """Name the numbers in `value`.

    Parameters
    ----------
    name
        The metric's name.
    value
        A number, a 0-d or 1-d tensor or array, or higher: shape [B, C] is averaged over its cases. Tuples and
        lists of these give one group per entry, a dictionary of numbers is one value per class.
    parts
        Names for the entries of a tuple or list; without them the first entry keeps `name`.
    labels
        Gives the names of the classes.

    Returns
    -------
    dict
        ``{name: mean over the classes that are not NaN}`` and, for C > 1 classes, ``{name_<label>: value}``, or
        ``{name_class_<i>: value}`` where the classes have no names. A value of which nothing can be made is left out.
    """
    if isinstance(value, dict):
        return _of_dictionary(name, value)
    if isinstance(value, (tuple, list)) and not all(isinstance(item, (int, float)) for item in value):
        found: dict[str, float] = {}
        for position, item in enumerate(value):
            if parts is not None and position < len(parts):
                entry = name if len(value) == 1 else f"{name}_{parts[position]}"
            else:
                entry = name if position == 0 else f"{name}_{position}"
            found.update(numbers(entry, item, labels=labels))
        return found
    classes = _classes(value)
    if classes is None or not classes:
        return {}
    found = {name: mean(classes)}
    if 1 < len(classes) <= MOST_CLASSES:
        found.update(zip(class_names(name, len(classes), labels), classes, strict=True))
    return found


def class_names(name: str, count: int, labels: Labels) -> list[str]:
    """Give one name per class: ``dice_liver``, or ``dice_class_0`` where the classes have no names."""
    known = labels(count) if count <= MOST_CLASSES else None
    if known is None:
        return [f"{name}_class_{position}" for position in range(count)]
    return [f"{name}_{label}" for label in known]


def mean(items: list[float]) -> float:
    """Average what is not NaN; NaN where nothing is."""
    known = [item for item in items if not math.isnan(item)]
    return sum(known) / len(known) if known else math.nan


def scalar(value: Any) -> float | None:
    """Read a number that is on this side already: a float, a 0-d array, a tensor on the processor; else None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if getattr(value, "shape", None) is None or getattr(getattr(value, "device", "cpu"), "type", "cpu") != "cpu":
        return None
    return float(value.item()) if math.prod(value.shape) == 1 else None


def _of_dictionary(name: str, value: dict[Any, Any]) -> dict[str, float]:
    read = {label_name(str(key)): scalar(item) for key, item in value.items()}
    found = {key: number for key, number in read.items() if number is not None}
    if not found or len(found) != len(value) or len(found) > MOST_CLASSES:
        return {}
    return {name: mean(list(found.values())), **{f"{name}_{key}": number for key, number in found.items()}}


def _classes(value: Any) -> list[float] | None:
    """Give one number per class (the last axis), averaged over the other axes without their NaN."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool) or not isinstance(value, (int, float, list, tuple)):
        return None
    if isinstance(value, (int, float)):
        return [float(value)]
    rows = _rows(value)
    if rows is None or not rows or any(len(row) != len(rows[0]) for row in rows):
        return None
    return [mean([row[column] for row in rows]) for column in range(len(rows[0]))]


def _rows(value: Any) -> list[list[float]] | None:
    """Flatten nested lists to a list of rows (the last axis); None for what holds something else than numbers."""
    if all(isinstance(item, (int, float)) for item in value):
        return [[float(item) for item in value]]
    rows: list[list[float]] = []
    for item in value:
        below = _rows(item) if isinstance(item, (list, tuple)) else None
        if below is None:
            return None
        rows.extend(below)
    return rows

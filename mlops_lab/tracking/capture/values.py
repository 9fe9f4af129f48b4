"""Turns what a metric gives (floats, tensors, arrays, per-class vectors, tuples) into named numbers."""

from __future__ import annotations

import math
from typing import Any

MOST_CLASSES = 64
"""A vector longer than this is no list of classes, and only its mean is kept."""


def numbers(name: str, value: Any, labels: list[str] | None = None) -> dict[str, float]:
    """Name the numbers in `value`.

    Parameters
    ----------
    name
        The metric's name.
    value
        A number, a 0-d or 1-d tensor or array, or higher: shape [B, C] is averaged over its cases. Tuples and
        lists of these give one group per entry.
    labels
        Names for the entries of a tuple or list; without them the first entry keeps `name`.

    Returns
    -------
    dict
        ``{name: mean over the classes that are not NaN}`` and, for C > 1 classes, ``{name_class_<i>: value}``.
        A value of which nothing can be made is left out.
    """
    if isinstance(value, (tuple, list)) and not all(isinstance(item, (int, float)) for item in value):
        found: dict[str, float] = {}
        for position, item in enumerate(value):
            if labels is not None and position < len(labels):
                entry = name if len(value) == 1 else f"{name}_{labels[position]}"
            else:
                entry = name if position == 0 else f"{name}_{position}"
            found.update(numbers(entry, item))
        return found
    classes = _classes(value)
    if classes is None or not classes:
        return {}
    found = {name: _mean(classes)}
    if 1 < len(classes) <= MOST_CLASSES:
        found.update({f"{name}_class_{position}": item for position, item in enumerate(classes)})
    return found


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
    return [_mean([row[column] for row in rows]) for column in range(len(rows[0]))]


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


def _mean(items: list[float]) -> float:
    known = [item for item in items if not math.isnan(item)]
    return sum(known) / len(known) if known else math.nan

"""Form values on their way into a cell: checked against the recipe's schema, then written as Python literals."""

from __future__ import annotations

import math
from typing import Any

from .errors import RecipeError


def check_value(field: dict[str, Any], value: Any) -> Any:
    """Check one form value and give it in the field's type.

    Parameters
    ----------
    field
        The field's JSON schema: ``title``, ``type`` (string, integer, number, boolean) and its limits.
    value
        What the form sent.

    Raises
    ------
    RecipeError
        When the value has another type or breaks a limit; the message names the field.
    """
    title, kind = field["title"], field["type"]
    value = _as_type(title, kind, value)
    if "enum" in field and value not in field["enum"]:
        raise RecipeError(f"{title} must be one of {', '.join(map(str, field['enum']))}, not {_shown(value)}.")
    if kind in ("integer", "number"):
        if "minimum" in field and value < field["minimum"]:
            raise RecipeError(f"{title} must be at least {field['minimum']}, not {value}.")
        if "exclusiveMinimum" in field and value <= field["exclusiveMinimum"]:
            raise RecipeError(f"{title} must be more than {field['exclusiveMinimum']}, not {value}.")
        if "maximum" in field and value > field["maximum"]:
            raise RecipeError(f"{title} must be at most {field['maximum']}, not {value}.")
        if "multipleOf" in field and value % field["multipleOf"]:
            raise RecipeError(f"{title} must be a multiple of {field['multipleOf']}, not {value}.")
    return value


def check_text(title: str, text: str) -> str:
    """Check a name that stands on one line: not empty, no control characters or line breaks.

    Raises
    ------
    RecipeError
        Otherwise.
    """
    text = text.strip()
    if not text:
        raise RecipeError(f"The {title} is empty.", f"Choose a {title}.")
    # str.isprintable is false for every character at which Python or IPython would break a line.
    if not text.isprintable():
        raise RecipeError(f"The {title} may not contain line breaks or control characters: {_shown(text)}.")
    return text


def literal(value: str | int | float | bool) -> str:
    """Write `value` as a Python literal, texts in double quotes where that needs no escapes."""
    written = repr(value)
    if isinstance(value, str) and written[0] == "'" and '"' not in written:
        return f'"{written[1:-1]}"'
    return written


def _as_type(title: str, kind: str, value: Any) -> Any:
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "integer" and _is_number(value) and value == int(value):
        return int(value)
    if kind == "number" and _is_number(value):
        return float(value)
    expected = {"string": "a text", "boolean": "true or false", "integer": "a whole number", "number": "a number"}[kind]
    raise RecipeError(f"{title} must be {expected}, not {_shown(value)}.")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

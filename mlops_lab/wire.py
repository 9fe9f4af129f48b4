"""The one JSON encoding of every document that leaves a process: files, HTTP bodies and notebook outputs.

JSON has no NaN and no infinities; here they are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``
wherever a :data:`Number` is expected, and a bare ``NaN`` token is never written.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeVar

import msgspec
import orjson

Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""A metric value on the wire: a finite JSON number, or the name of a value that JSON lacks."""

T = TypeVar("T")


def to_number(value: float) -> Number:
    """Give `value` its wire form: itself when finite, else its name."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def from_number(value: Number) -> float:
    """Read a wire number back into a float, with NaN and the infinities restored.

    Raises
    ------
    ValueError
        When `value` is a string that names no number.
    """
    return float(value)


def plain(document: Any) -> Any:
    """Turn a struct (or any nesting of dicts, lists and structs) into JSON types, every float in wire form."""
    return _finite(msgspec.to_builtins(document))


def encode(document: Any) -> bytes:
    """Write `document` as UTF-8 JSON that any parser accepts."""
    return orjson.dumps(plain(document))


def decode(data: bytes | str, type: type[T]) -> T:
    """Read `data` as `type`.

    Raises
    ------
    msgspec.ValidationError
        When the document does not have the type's shape; the message names the field.
    msgspec.DecodeError
        When `data` is not JSON.
    """
    return msgspec.json.decode(data, type=type)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return to_number(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value

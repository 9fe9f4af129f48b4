"""NaN and the infinities cross JSON by name, and nothing else changes on the way."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from mlops_lab import wire
from mlops_lab.runs.model import Series

SERIES = Series(run_id="r", steps=[1, 2, 3, 4], values=[0.5, "NaN", "Infinity", "-Infinity"])


@pytest.mark.parametrize("value", [0.0, -1.5, 1e308, math.nan, math.inf, -math.inf])
def test_a_float_survives_the_round_trip(value: float) -> None:
    text = wire.encode({"value": value})
    strict = json.loads(text, parse_constant=lambda name: pytest.fail(f"bare {name} on the wire"))
    assert repr(wire.from_number(strict["value"])) == repr(value)


def test_floats_are_named_at_any_depth() -> None:
    document = {"rows": [(1.0, math.nan), [{"deep": [-math.inf]}]]}
    assert wire.plain(document) == {"rows": [[1.0, "NaN"], [{"deep": ["-Infinity"]}]]}


def test_a_struct_reads_back_equal() -> None:
    assert wire.decode(wire.encode(SERIES), Series) == SERIES


def test_a_number_field_refuses_other_strings() -> None:
    with pytest.raises(msgspec.ValidationError, match="values"):
        wire.decode(b'{"run_id": "r", "steps": [1], "values": ["many"]}', Series)


def test_strings_that_look_like_numbers_stay_strings() -> None:
    assert json.loads(wire.encode({"name": "NaN", "count": 3, "flag": True})) == {
        "name": "NaN",
        "count": 3,
        "flag": True,
    }

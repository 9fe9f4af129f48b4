"""Plain settings of a cell become params; secrets and everything that is computed do not."""

from __future__ import annotations

import pytest

from mlops_lab.tracking.literals import literals


def test_numbers_words_switches_and_short_lists_are_found() -> None:
    source = """
lr = 1e-3
epochs: int = 4
name, flip = "unet", True
shape = (96, 96)
offset = -2
"""
    assert literals(source) == {
        "lr": "0.001",
        "epochs": "4",
        "name": "unet",
        "flip": "True",
        "shape": "(96, 96)",
        "offset": "-2",
    }


@pytest.mark.parametrize(
    "line",
    [
        "password = 'hunter2'",
        "api_key = 'abc'",
        "key = 'abc'",
        "hf_token = 'abc'",
        "CLIENT_SECRET = 'abc'",
        "_private = 1",
        "__version__ = '1'",
        "computed = 2 * lr",
        "called = dict()",
        "long = 'x' * 1000",
        "nested = [[1], [2]]",
        "mapping = {'a': 1}",
        "nothing = None",
        "x.attribute = 3",
        "text = '''two\nlines'''",
    ],
)
def test_this_becomes_no_param(line: str) -> None:
    assert literals(line) == {}


@pytest.mark.parametrize("name", ["monkey", "keyframes", "n_keys_per_head", "tokens_per_batch", "turkey"])
def test_a_name_that_only_resembles_a_secret_is_judged_on_the_safe_side_or_kept(name: str) -> None:
    found = literals(f"{name} = 3")
    assert found == ({name: "3"} if name in ("monkey", "keyframes", "turkey") else {})


def test_assignments_inside_functions_and_branches_are_no_settings() -> None:
    assert literals("def f():\n    a = 1\nif True:\n    b = 2\n") == {}


def test_magics_and_broken_cells_do_no_harm() -> None:
    assert literals("%matplotlib inline\n!ls\nlr = 0.1") == {"lr": "0.1"}
    assert literals("this is no python") == {}

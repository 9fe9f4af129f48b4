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


def test_what_the_cell_computes_is_no_setting_although_it_begins_with_a_literal() -> None:
    source = """
max_epochs = 4
lr = 0.1
def schedule(epoch):
    lr = 0.1 / epoch
    return lr
best_metric = -1
epoch_loss_values = []
curve = [0.0]
global_step, best = 0, 0.0
epoch = 0
for epoch in range(max_epochs):
    step = 0
    if epoch > best_metric:
        best_metric = epoch
    curve.append(epoch)
    global_step += 1
while global_step < 4:
    global_step, best = train(global_step, best)
"""
    assert literals(source) == {"max_epochs": "4", "lr": "0.1"}


def test_magics_and_broken_cells_do_no_harm() -> None:
    assert literals("%matplotlib inline\n!ls\nlr = 0.1") == {"lr": "0.1"}
    assert literals("this is no python") == {}

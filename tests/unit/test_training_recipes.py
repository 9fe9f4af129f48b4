"""The form of a recipe, and the cell made from it: readable, checked, and never code from a value."""

from __future__ import annotations

import ast
import math
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell

from mlops_lab import wire
from mlops_lab.training import RecipeError, list_recipes, make_cell, recipe
from mlops_lab.training.errors import UnknownRecipe
from mlops_lab.training.model import CellRequest, Recipe
from mlops_lab.training.values import literal

NAME = "segmentation_2d"
EVIL = [
    'brain@v1"); import os; os.system("true") #',
    "brain@v1'); raise SystemExit #",
    "$(touch /tmp/x) `id` ${HOME}",
    "$exec('1')",
    "{os.getpid()}",
    "a\\",
    "\\\"'",
    "#",
    "%%bash",
    "!ls",
    "über@größe?",
]


def the_recipe() -> Recipe:
    (found,) = list_recipes()
    return found


def cell(**changes: Any) -> str:
    return make_cell(CellRequest(**({"recipe": NAME, "data": "brain@v2.0.0"} | changes))).source


def body(source: str) -> ast.Module:
    first, _, rest = source.partition("\n")
    assert first.startswith("%%mlops_track ")
    return ast.parse(rest)


def assigned(source: str) -> dict[str, Any]:
    """Give the literals that the cell assigns."""
    found = {}
    for statement in body(source).body:
        if isinstance(statement, ast.Assign):
            (target,) = statement.targets
            assert isinstance(target, ast.Name)
            found[target.id] = ast.literal_eval(statement.value)
    return found


def test_the_form_is_a_valid_schema_whose_defaults_fit_it() -> None:
    schema = the_recipe().schema
    jsonschema.Draft7Validator.check_schema(schema)
    defaults = {name: field["default"] for name, field in schema["properties"].items()}
    jsonschema.validate(defaults, schema)
    assert {"network", "max_epochs", "learning_rate", "batch_size", "roi_size", "seed"} <= set(defaults)
    assert all(field["title"] and field["description"] for field in schema["properties"].values())
    assert the_recipe().ui_schema["ui:order"] == list(defaults)


def test_the_form_crosses_the_wire() -> None:
    assert wire.decode(wire.encode(list_recipes()), list[Recipe]) == list_recipes()


def test_the_defaults_are_those_of_the_bundle() -> None:
    config = yaml.safe_load((recipe(NAME) / "configs" / "train.yaml").read_text())
    for name, field in the_recipe().schema["properties"].items():
        assert field["default"] == config[name]


def test_every_network_of_the_form_is_one_of_the_bundle() -> None:
    config = yaml.safe_load((recipe(NAME) / "configs" / "train.yaml").read_text())
    assert the_recipe().schema["properties"]["network"]["enum"] == list(config["networks"])


def test_the_cell_is_short_and_holds_every_setting_as_a_literal() -> None:
    source = cell(values={"network": "SegResNet", "max_epochs": 3, "learning_rate": 0.01})
    assert len(source.splitlines()) <= 22
    assert max(map(len, source.splitlines())) <= 100
    settings = assigned(source)
    assert settings["network"] == "SegResNet"
    assert settings["max_epochs"] == 3
    assert settings["learning_rate"] == 0.01
    assert list(settings) == list(the_recipe().schema["properties"])
    assert 'mlops_lab.use_dataset("brain@v2.0.0")' in source
    assert make_cell(CellRequest(NAME, "brain@v2.0.0")).setup == "%load_ext mlops_lab"


def test_every_setting_of_the_cell_reaches_the_bundle() -> None:
    (call,) = [
        node for node in ast.walk(body(cell())) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    passed = {keyword.arg for keyword in call.keywords}
    config = yaml.safe_load((recipe(NAME) / "configs" / "train.yaml").read_text())
    assert passed == set(the_recipe().schema["properties"]) | {"dataset_dir"}
    assert passed <= set(config)


def test_the_experiment_is_the_dataset_unless_another_is_asked_for() -> None:
    assert "--experiment brain " in cell()
    assert "--experiment 'tumour study' " in cell(experiment="tumour study")


@pytest.mark.parametrize("text", EVIL)
def test_a_name_stays_a_name_whatever_it_holds(text: str) -> None:
    source = cell(data=text, experiment=text)
    words = shlex.split(source.partition("\n")[0])
    assert words == ["%%mlops_track", "--experiment", text, "--run-name", f"UNet {text}"]
    (used,) = [node for node in ast.walk(body(source)) if isinstance(node, ast.Call) and _name(node) == "use_dataset"]
    assert ast.literal_eval(used.args[0]) == text
    assert [_name(node) for node in ast.walk(body(source)) if isinstance(node, ast.Call)] == [
        "run_bundle",
        "recipe",
        "use_dataset",
    ]


@pytest.mark.parametrize("text", EVIL)
def test_ipython_leaves_the_body_as_it_is(text: str) -> None:
    """Outside of its first line a cell holds no magic, so IPython must not rewrite any of it."""
    rest = cell(data=text, experiment=text).partition("\n")[2] + "\n"
    assert InteractiveShell.instance().transform_cell(rest) == rest


@pytest.mark.parametrize("text", ["", "  ", "a\nimport os", "a\rb", "a\u2028b", "a\x0cb", "a\x00b", "a\x85b", "\ud800"])
def test_empty_names_and_line_breaks_are_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        cell(data=text)
    if text.strip():
        with pytest.raises(RecipeError):
            cell(experiment=text)


def test_an_experiment_may_not_look_like_an_option() -> None:
    with pytest.raises(RecipeError, match="hyphen"):
        cell(experiment="--offline")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"max_epochs": 0}, "Epochs must be at least 1, not 0."),
        ({"max_epochs": 2.5}, "Epochs must be a whole number, not 2.5."),
        ({"max_epochs": True}, "Epochs must be a whole number, not True."),
        ({"max_epochs": "3); import os"}, "Epochs must be a whole number, not '3); import os'."),
        ({"max_epochs": None}, "Epochs must be a whole number, not None."),
        ({"learning_rate": 0}, "Learning rate must be more than 0, not 0.0."),
        ({"learning_rate": math.nan}, "Learning rate must be a number, not nan."),
        ({"learning_rate": math.inf}, "Learning rate must be a number, not inf."),
        ({"roi_size": 100}, "ROI size must be a multiple of 16, not 100."),
        ({"roi_size": 1024}, "ROI size must be at most 512, not 1024."),
        ({"network": "$exit()"}, "Network must be one of UNet, AttentionUnet, SegResNet, not '$exit()'."),
        ({"network": ["UNet"]}, "Network must be a text, not ['UNet']."),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        cell(values=values)
    assert str(refusal.value) == sentence


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(RecipeError, match="no setting 'device'"):
        cell(values={"device": "$__import__('os')"})


def test_whole_numbers_are_numbers_and_the_other_way_round() -> None:
    settings = assigned(cell(values={"max_epochs": 4.0, "learning_rate": 1}))
    assert settings["max_epochs"] == 4
    assert isinstance(settings["max_epochs"], int)
    assert isinstance(settings["learning_rate"], float)


def test_the_largest_whole_number_keeps_its_digits() -> None:
    assert assigned(cell(values={"seed": 2147483647}))["seed"] == 2147483647
    with pytest.raises(RecipeError, match="at most"):
        cell(values={"seed": 2147483648})
    with pytest.raises(RecipeError, match="whole number"):
        cell(values={"seed": 10**400})


@pytest.mark.parametrize("name", ["nothing", "", "../segmentation_2d", "segmentation_2d/configs", "/etc"])
def test_an_unknown_recipe_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(UnknownRecipe) as refusal:
        recipe(name)
    assert NAME in refusal.value.hint


def test_a_request_with_a_field_too_many_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"recipe": NAME, "data": "brain@v1.0.0", "code": "1"}, CellRequest)


@pytest.mark.parametrize(
    "value", ["plain", 'say "x"', "it's", "both \" and '", "back\\slash", "line\nbreak", 3, 0.1, True]
)
def test_a_literal_reads_back_as_the_value(value: Any) -> None:
    assert ast.literal_eval(literal(value)) == value


def test_a_recipe_is_a_complete_bundle() -> None:
    root = recipe(NAME)
    for part in ("configs/train.yaml", "configs/metadata.json", "docs/README.md"):
        assert (root / part).is_file()
    assert root == Path(root).resolve()


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id  # type: ignore[attr-defined]

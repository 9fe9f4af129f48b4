"""The recipes that a form can launch: MONAI bundles read as data, never executed, and the cells made from them.

A recipe is a folder under ``recipes/`` laid out as a MONAI bundle. Its ``configs/train.yaml`` gives the defaults,
and the entry ``mlops_lab.form`` of its ``configs/metadata.json`` says which of them a form offers.
"""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import yaml

from .bundle import CONFIG
from .errors import BrokenRecipe, RecipeError, UnknownRecipe
from .model import CellRequest, CellSource, Recipe
from .values import check_text, check_value, literal

_FOLDER = Path(__file__).parent / "recipes"
_METADATA = Path("configs") / "metadata.json"
_SETUP = "%load_ext mlops_lab"


class _Form(msgspec.Struct):
    form: dict[str, dict[str, Any]]


class _Metadata(msgspec.Struct):
    name: str
    description: str
    mlops_lab: _Form


def list_recipes() -> list[Recipe]:
    """Read every recipe that comes with mlops_lab, in the order of their names.

    Raises
    ------
    BrokenRecipe
        When a bundle on disk cannot be read.
    """
    return [_read(root) for root in sorted(_FOLDER.iterdir()) if (root / CONFIG).is_file()]


def recipe(name: str) -> Path:
    """Give the folder of the MONAI bundle called `name`, e.g. ``"segmentation_2d"``.

    Raises
    ------
    UnknownRecipe
        When there is none.
    """
    names = [root.name for root in sorted(_FOLDER.iterdir()) if (root / CONFIG).is_file()]
    if name not in names:
        raise UnknownRecipe(f"There is no recipe called {name!r}.", f"The recipes are: {', '.join(names)}.")
    return _FOLDER / name


def make_cell(request: CellRequest) -> CellSource:
    """Write the cell that trains a recipe on a dataset version.

    Raises
    ------
    UnknownRecipe
        When there is no such recipe.
    RecipeError
        When a value is not one that the recipe takes; the message names the field.
    """
    found = _read(recipe(request.recipe))
    fields: dict[str, dict[str, Any]] = found.schema["properties"]
    for name in request.values:
        if name not in fields:
            raise RecipeError(f"The recipe {found.name} has no setting {name!r}.", f"It has: {', '.join(fields)}.")
    data = check_text("dataset version", request.data)
    experiment = check_text("experiment", request.experiment or data.partition("@")[0])
    if experiment.startswith("-"):
        raise RecipeError("The experiment's name may not start with a hyphen.", "Choose another name.")
    values = {name: check_value(field, request.values.get(name, field["default"])) for name, field in fields.items()}
    return CellSource(setup=_SETUP, source=_source(found, data, experiment, values))


def _source(found: Recipe, data: str, experiment: str, values: dict[str, Any]) -> str:
    run_name = f"{values.get('network', found.name)} {data}"
    assignments = "\n".join(f"{name} = {literal(value)}" for name, value in values.items())
    passed = textwrap.wrap(", ".join(f"{name}={name}" for name in values) + ",", width=88)
    return "\n".join(
        [
            f"%%mlops_track --experiment {shlex.quote(experiment)} --run-name {shlex.quote(run_name)}",
            f"# {found.title} with MONAI. Change any value; all of them are recorded with the run.",
            "import mlops_lab",
            "from mlops_lab.training import run_bundle",
            "",
            assignments,
            "",
            "run_bundle(",
            f"    mlops_lab.recipe({literal(found.name)}),",
            f"    dataset_dir=mlops_lab.use_dataset({literal(data)}),",
            *(f"    {line}" for line in passed),
            ")",
        ]
    )


def _read(root: Path) -> Recipe:
    """Read one bundle; ``$`` and ``_target_`` stay plain text."""
    try:
        config = yaml.load((root / CONFIG).read_bytes(), Loader=_LOADER)
        metadata = msgspec.json.decode((root / _METADATA).read_bytes(), type=_Metadata)
    except (OSError, yaml.YAMLError, msgspec.DecodeError) as error:
        raise BrokenRecipe(
            f"The recipe {root.name} cannot be read: {error}.",
            "Install mlops_lab again with pip install --force-reinstall.",
        ) from error
    properties = {name: field | {"default": config.get(name)} for name, field in metadata.mlops_lab.form.items()}
    return Recipe(
        name=root.name,
        title=metadata.name,
        description=metadata.description,
        schema={
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "title": metadata.name,
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        },
        ui_schema={"ui:order": list(properties)},
    )


# The pure Python loader reads the same; it is there for platforms without libyaml.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

"""What the training room tells others: recipes, and the cells made from them."""

from __future__ import annotations

from typing import Any

import msgspec


class Recipe(msgspec.Struct):
    """A MONAI bundle that can be launched from a small form."""

    name: str
    title: str
    description: str
    schema: dict[str, Any]
    """JSON schema (draft 7) of the form, defaults included."""
    ui_schema: dict[str, Any] = {}
    """react-jsonschema-form's uiSchema: order and widgets."""


class CellRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for the cell that trains `recipe` with `values` on one dataset version."""

    recipe: str
    data: str
    """Dataset version as typed, e.g. ``"brain@v2.0.0"``."""
    values: dict[str, Any] = {}
    """Form values; what is absent takes the recipe's default."""
    experiment: str = ""
    """MLflow experiment; empty for the dataset's name."""


class CellSource(msgspec.Struct):
    """Source to insert in a notebook."""

    setup: str
    """A cell that must stand once above, e.g. ``%load_ext mlops_lab``."""
    source: str
    """The training cell itself."""

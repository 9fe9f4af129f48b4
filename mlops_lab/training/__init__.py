"""MONAI bundles as recipes: their forms, the cells made from them, and the call that runs them."""

from __future__ import annotations

from .bundle import run_bundle
from .errors import RecipeError, TrainingError
from .recipes import list_recipes, make_cell, recipe

__all__ = ["RecipeError", "TrainingError", "list_recipes", "make_cell", "recipe", "run_bundle"]

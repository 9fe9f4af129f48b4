"""What can go wrong between a recipe and a trained network, in words for the person at the screen."""

from __future__ import annotations

from ..errors import MlopsLabError


class TrainingError(MlopsLabError):
    """A recipe cannot be used as asked."""

    code = "training"


class UnknownRecipe(TrainingError):
    """No recipe has the name asked for."""

    code = "unknown_recipe"
    http_status = 404


class RecipeError(TrainingError):
    """A form value that the recipe cannot take."""

    code = "recipe_value"
    http_status = 422


class BrokenRecipe(TrainingError):
    """A bundle on disk that cannot be read as a recipe."""

    code = "broken_recipe"
    http_status = 500


class DatalistError(TrainingError):
    """A dataset whose files cannot be arranged for training."""

    code = "datalist"


class MissingPackage(TrainingError):
    """A Python package that training needs is not installed."""

    code = "missing_package"
    http_status = 500

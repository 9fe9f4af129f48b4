"""Handlers of the training room: the recipes, and the cell that one of them makes."""

from __future__ import annotations

from tornado.web import authenticated

from .base import LabHandler


class RecipesHandler(LabHandler):
    """``mlops-lab/recipes``: every recipe with the schema of its form."""

    @authenticated
    async def get(self) -> None:
        from ...training import list_recipes

        self.answer({"recipes": await self.off_loop(list_recipes)})


class CellHandler(LabHandler):
    """``mlops-lab/cell``: the source of a training cell. Nothing is run or inserted here."""

    @authenticated
    async def post(self) -> None:
        from ...training import make_cell
        from ...training.model import CellRequest

        self.answer(await self.off_loop(make_cell, self.body(CellRequest)))

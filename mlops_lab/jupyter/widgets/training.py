"""A recipe's form as a widget: it writes the training cell, which then belongs to the notebook and its owner."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets as w

from ...training.model import CellRequest, CellSource, Recipe
from .section import Section, offer, wide


class Training(Section):
    """Choose a recipe, a dataset version and a few values; get a short cell that trains.

    Run ``insert()`` in a cell to put the training cell right below that one.

    Parameters
    ----------
    path
        Any folder of the DVC project with the data.
    """

    def __init__(self, path: str | Path = ".") -> None:
        self.recipe = w.Dropdown(description="Recipe", options=[], **wide(150))
        self.about = w.HTML()
        self.repository = w.Text(description="Project folder", value=str(path), continuous_update=False, **wide(150))
        self.data = w.Dropdown(description="Dataset version", options=[], **wide(150))
        self.experiment = w.Text(description="Experiment", placeholder="the dataset's name", **wide(150))
        self.form = w.VBox()
        self.insert_cell = w.Button(description="Insert cell", icon="plus", button_style="primary", disabled=True)
        self.source = w.HTML()
        self.fields: dict[str, Any] = {}
        """The form's controls by the name of the setting."""
        self.cell: CellSource | None = None
        """The cell as the form stands; None while it has a mistake."""
        self._recipes: list[Recipe] = []
        super().__init__(
            "Training",
            [self.recipe, self.about, self.repository, self.data, self.form, self.experiment, self.insert_cell],
            [self.recipe, self.repository, self.data, self.experiment, self.insert_cell],
            [self.source],
        )
        self.recipe.observe(lambda change: self._show_form(), "value")
        self.repository.observe(lambda change: self._read_data(), "value")
        self.data.observe(lambda change: self._write(), "value")
        self.experiment.observe(lambda change: self._write(), "value")
        self.insert_cell.on_click(lambda button: self._insert_later())
        with self.working("Reading the recipes"):
            from ...training import list_recipes

            self._recipes = list_recipes()
            offer(self.recipe, [(one.title, one.name) for one in self._recipes])
        self._read_data()

    def settle(self) -> None:
        self.insert_cell.disabled = self.cell is None

    def insert(self) -> None:
        """Put the training cell below the cell that calls this."""
        if self.cell is not None and self._hand_over(self.cell):
            self.tell("The training cell stands below. Run it to train.", "done")

    def _insert_later(self) -> None:
        # Jupyter takes a new cell only with the answer to a cell that runs; a click is no such cell.
        if self.cell is not None and self._hand_over(self.cell):
            self.tell("Run any cell now: the training cell appears below it. Or copy it from here.", "done")

    def _hand_over(self, cell: CellSource) -> bool:
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
        if shell is None:
            self.tell("There is no notebook here to insert a cell into. Copy it instead.", "error")
            return False
        extensions = shell.extension_manager
        if extensions is not None and "mlops_lab" not in extensions.loaded:
            extensions.load_extension("mlops_lab")
        shell.set_next_input(cell.source)
        return True

    def _read_data(self) -> None:
        from ... import datasets

        with self.working("Reading the dataset versions"):
            chosen = self.data.value
            self.data.options = []
            catalogue = datasets.read_catalogue(self.repository.value.strip() or ".")
            specs = [version.spec for one in catalogue.datasets for version in one.versions]
            offer(self.data, specs, chosen)
            self._write()

    def _show_form(self) -> None:
        chosen = next((one for one in self._recipes if one.name == self.recipe.value), None)
        properties: dict[str, dict[str, Any]] = chosen.schema.get("properties", {}) if chosen else {}
        order = [name for name in (chosen.ui_schema.get("ui:order") if chosen else None) or () if name in properties]
        names = order + [name for name in properties if name not in order]
        self.fields = {name: field(name, properties[name]) for name in names}
        for control in self.fields.values():
            control.observe(lambda change: self._write(), "value")
        self.form.children = list(self.fields.values())
        self.about.value = html.escape(chosen.description) if chosen else ""
        self._write()

    def _write(self) -> None:
        """Write the cell anew from what the form says."""
        from ...errors import MlopsLabError
        from ...training import make_cell

        self.cell = None
        if self.recipe.value and self.data.value:
            values = {name: control.value for name, control in self.fields.items()}
            request = CellRequest(self.recipe.value, self.data.value, values, self.experiment.value.strip())
            try:
                self.cell = make_cell(request)
            except MlopsLabError as error:
                self.tell_error(error)
            else:
                self.tell("")
        shown = f"{self.cell.setup}\n\n{self.cell.source}" if self.cell else ""
        self.source.value = (
            f'<pre style="padding:8px;overflow-x:auto;line-height:1.4">{html.escape(shown)}</pre>' if shown else ""
        )
        self.settle()


def field(name: str, schema: dict[str, Any]) -> Any:
    """Give the control for one property of a recipe's JSON schema."""
    title = schema.get("title") or name
    default = schema.get("default")
    look = wide(150) | {"description": title, "tooltip": schema.get("description") or title}
    if "enum" in schema:
        choices = schema["enum"]
        return w.Dropdown(options=choices, value=default if default in choices else choices[0], **look)
    kind = schema.get("type")
    if kind == "boolean":
        return w.Checkbox(value=bool(default), indent=True, **look)
    # Limits are checked by the recipe, with a sentence; a control that bends a typed number to its limit would lie.
    if kind == "integer":
        return w.IntText(value=int(default or 0), continuous_update=False, **look)
    if kind == "number":
        return w.FloatText(value=float(default or 0), continuous_update=False, **look)
    return w.Text(value="" if default is None else str(default), continuous_update=False, **look)

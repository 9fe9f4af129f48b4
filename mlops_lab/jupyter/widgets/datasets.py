"""The datasets of a project as a widget: every version, and a button that makes one available to the notebook."""

from __future__ import annotations

import html
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import ipywidgets as w

from ...datasets.model import Catalogue, Dataset, DatasetVersion
from .section import LINE, Section, offer, wide


class Datasets(Section):
    """Versions of the datasets of one DVC project, newest first.

    Parameters
    ----------
    path
        Any folder of the project.
    """

    def __init__(self, path: str | Path = ".") -> None:
        self.repository = w.Text(description="Project folder", value=str(path), continuous_update=False, **wide())
        self.read = w.Button(description="Read", icon="refresh", tooltip="Read the versions from git again")
        self.dataset = w.Dropdown(description="Dataset", options=[], **wide())
        self.version = w.Dropdown(description="Version", options=[], **wide())
        self.variable = w.Text(description="Variable", **wide())
        self.use = w.Button(description="Use", icon="check", button_style="primary", disabled=True)
        self.table = w.HTML()
        self.line = w.HTML()
        self._catalogue: Catalogue | None = None
        controls = [self.repository, self.read, self.dataset, self.version, self.variable, self.use]
        super().__init__(
            "Datasets",
            [w.HBox([self.repository, self.read]), self.dataset, self.table, self.version, self.variable, self.use],
            controls,
            [self.line],
        )
        self.read.on_click(lambda button: self._read())
        self.repository.observe(lambda change: self._read(), "value")
        self.dataset.observe(lambda change: self._show_dataset(), "value")
        self.version.observe(lambda change: self._show_table(), "value")
        self.use.on_click(lambda button: self._use())
        self._read()

    def settle(self) -> None:
        self.use.disabled = self._version() is None

    def _read(self) -> None:
        from ... import datasets

        with self.working("Reading the versions"):
            chosen = self.dataset.value
            self._catalogue = None
            self.dataset.options = []
            self._catalogue = datasets.read_catalogue(self.repository.value.strip() or ".")
            names = [one.name for one in self._catalogue.datasets]
            offer(self.dataset, names, chosen)
            if self._catalogue.notice:
                self.tell(self._catalogue.notice)
            elif not names:
                self.tell("This project has no dataset yet. Add one with dvc add, then git commit.")

    def _use(self) -> None:
        version = self._version()
        if version is None:
            return
        from IPython.core.getipython import get_ipython

        from ... import datasets, tracking

        name = self.variable.value.strip()
        where = self.repository.value.strip() or "."
        with self.working(f"Checking every file of {version.spec}"):
            if not name.isidentifier():
                self.tell(f"'{name}' is no variable name. Use letters, digits and underscores.", "error")
                return
            used = datasets.use(version.spec, where, report=self.tell)
            if tracking.active_run() is not None:
                tracking.note_dataset(used)
            shell = get_ipython()
            if shell is not None:
                shell.push({name: used.path})
            place = "" if where == "." else f", path={where!r}"
            typed = f'{name} = mlops_lab.use_dataset("{version.spec}"{place})'
            self.line.value = f"To keep this in the notebook, type:<br><code>{html.escape(typed)}</code>"
            notice = f" {used.notice}" if used.notice else ""
            self.tell(f"{name} is the folder of {version.spec}, every byte verified.{notice}", "done")

    def _show_dataset(self) -> None:
        found = self._dataset()
        versions = found.versions if found else []
        offer(self.version, [(one.version, one.spec) for one in versions])
        self.variable.value = re.sub(r"\W|^(?=\d)", "_", found.name) if found else ""
        self.line.value = ""
        self._show_table()
        self.settle()

    def _show_table(self) -> None:
        found = self._dataset()
        self.table.value = _table(found.versions, self.version.value) if found else ""

    def _dataset(self) -> Dataset | None:
        known = self._catalogue.datasets if self._catalogue else []
        return next((one for one in known if one.name == self.dataset.value), None)

    def _version(self) -> DatasetVersion | None:
        found = self._dataset()
        return next((one for one in found.versions if one.spec == self.version.value), None) if found else None


def _table(versions: list[DatasetVersion], chosen: Any) -> str:
    head = "".join(f'<th scope="col" style="{_CELL}">{name}</th>' for name in _COLUMNS)
    return (
        f'<table style="border-collapse:collapse"><tr>{head}</tr>{"".join(_row(v, chosen) for v in versions)}</table>'
    )


def _row(version: DatasetVersion, chosen: Any) -> str:
    labels = [label for label in version.labels if label != version.version]
    cells = [
        f"{version.version}{' (' + ', '.join(labels) + ')' if labels else ''}",
        _day(version.date),
        version.author,
        size(version.size),
        "?" if version.nfiles is None else f"{version.nfiles:,}",
        version.message,
        " and ".join(version.where) or "to be fetched",
    ]
    sign = "▸ " if version.spec == chosen else ""
    weight = "font-weight:600;" if version.spec == chosen else ""
    shown = "".join(f'<td style="{_CELL}{weight}">{html.escape(one)}</td>' for one in [sign + cells[0], *cells[1:]])
    return f"<tr>{shown}</tr>"


_COLUMNS = ("version", "date", "author", "size", "files", "what changed", "where")
_CELL = f"padding:2px 14px 2px 0;text-align:left;border-bottom:{LINE};line-height:1.5;"


def size(count: int | None) -> str:
    """Write a number of bytes for people, in units of 1,000."""
    if count is None:
        return "?"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _day(date: str) -> str:
    try:
        return f"{datetime.fromisoformat(date):%-d %b %Y}"
    except ValueError:
        return date

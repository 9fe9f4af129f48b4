"""Runs as a widget: experiments, the newest runs with live states, and the comparison of those that are ticked."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as w

from ...runs import figure, render, words
from ...runs.model import RunRow
from ...runs.shared import versions
from .section import LINE, Pulse, Section, offer, wide

_ALL = ""
_PAGE = 25
_LOOK_EVERY = 3.0
_GRID = "display:grid;grid-template-columns:2fr 86px 110px 120px 3fr;gap:12px;align-items:start;line-height:1.5;"
_SIGNS = {"RUNNING": "◐", "SCHEDULED": "○", "FINISHED": "✓", "FAILED": "✕", "KILLED": "■"}


class Runs(Section):
    """The newest runs of the tracking server. Tick two or more and compare them.

    States of running runs are followed while the widget is shown.
    """

    def __init__(self) -> None:
        self.experiment = w.Dropdown(description="Experiment", options=[("all", _ALL)], **wide(90))
        self.filter = w.Text(
            description="Filter", placeholder="metrics.val_mean_dice > 0.8", continuous_update=False, **wide(90)
        )
        self.refresh = w.Button(description="Refresh", icon="refresh")
        self.rows = w.VBox()
        self.older = w.Button(description="Older runs", icon="chevron-down", disabled=True)
        self.compare = w.Button(description="Compare", icon="columns", button_style="primary", disabled=True)
        self.comparison = w.Output()
        self.page: list[RunRow] = []
        """The runs on the screen."""
        self._next: str | None = None
        self._ticks: dict[str, Any] = {}
        self._lines: dict[str, Any] = {}
        self._pulse = Pulse(self._look, _LOOK_EVERY)
        self._gone: set[str] = set()
        """Runs that were deleted while we followed them."""
        self._shown = False
        self._settling = False
        """The choice of experiments is being rebuilt: its changes are not the person's."""
        names = "".join(f"<span>{name}</span>" for name in _COLUMNS)
        super().__init__(
            "Runs",
            [
                w.HBox([self.experiment, self.refresh]),
                self.filter,
                w.HTML(f'<div style="{_GRID}font-weight:600;padding-left:28px">{names}</div>'),
                self.rows,
                w.HBox([self.compare, self.older]),
            ],
            [self.experiment, self.filter, self.refresh, self.older, self.compare],
            [self.comparison],
        )
        self.experiment.observe(lambda change: self._search(), "value")
        self.filter.observe(lambda change: self._search(), "value")
        self.refresh.on_click(lambda button: self._reload())
        self.older.on_click(lambda button: self._search(more=True))
        self.compare.on_click(lambda button: self._compare_ticked())
        self._reload()

    @property
    def ticked(self) -> list[str]:
        """Ids of the ticked runs, from top to bottom."""
        return [run.run_id for run in self.page if self._ticks[run.run_id].value]

    def tick(self, *run_ids: str) -> None:
        """Tick runs by id, as a click on their boxes does."""
        for run_id in run_ids:
            self._ticks[run_id].value = True

    def settle(self) -> None:
        self.compare.disabled = len(self.ticked) < 2
        self.older.disabled = self._next is None

    def close(self) -> None:
        """Remove the widget and stop looking."""
        self._pulse.stop()
        super().close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        self._shown = True
        self._follow()
        return super()._repr_mimebundle_(**options)

    def _reload(self) -> None:
        from ...connection import open_server
        from ...runs import list_experiments

        with self.working("Looking for experiments"):
            chosen = self.experiment.value
            options = [("all", _ALL), *((one.name, one.experiment_id) for one in list_experiments(open_server()))]
            if list(self.experiment.options) != options:
                self._settling = True
                try:
                    offer(self.experiment, options, chosen)
                finally:
                    self._settling = False
            self._load(more=False)

    def _search(self, more: bool = False) -> None:
        if self._settling:
            return
        with self.working("Looking for runs"):
            self._load(more)

    def _load(self, more: bool) -> None:
        from ...connection import open_server
        from ...runs import search

        where = [self.experiment.value] if self.experiment.value else []
        token = self._next if more else None
        found = search(open_server(), where, self.filter.value, page_token=token, max_results=_PAGE)
        ticked = set(self.ticked)
        known = {run.run_id for run in self.page} if more else set()
        self.page = [*(self.page if more else []), *(run for run in found.runs if run.run_id not in known)]
        self._next = found.next_page_token
        self._ticks = {run.run_id: self._ticks.get(run.run_id) or self._tick() for run in self.page}
        self._lines = {run.run_id: w.HTML(_line(run), layout=w.Layout(flex="1 1 auto")) for run in self.page}
        for run_id, box in self._ticks.items():
            box.value = run_id in ticked
        self.rows.children = [
            w.HBox([self._ticks[run.run_id], self._lines[run.run_id]], layout=w.Layout(border_top=LINE))
            for run in self.page
        ]
        self.tell("" if self.page else "No runs here yet.")
        self._follow()

    def _tick(self) -> Any:
        box = w.Checkbox(value=False, indent=False, layout=w.Layout(width="24px", flex="0 0 auto"))
        box.observe(lambda change: self.settle(), "value")
        return box

    def _compare_ticked(self) -> None:
        from ...runs import compare_runs

        with self.working("Comparing"):
            self.comparison.outputs = ()
            # The list is newest first; a comparison reads from the earlier run to the later.
            bundle = render.mimebundle(compare_runs(self.ticked[::-1]))
            self.comparison.outputs = ({"output_type": "display_data", "data": bundle, "metadata": {}},)

    def _running(self) -> list[str]:
        active = ("RUNNING", "SCHEDULED")
        return [run.run_id for run in self.page if run.status in active and run.run_id not in self._gone]

    def _follow(self) -> None:
        if self._shown and self._running():
            self._pulse.start()

    def _look(self) -> bool:
        """Bring the running runs up to date; say whether there is reason to look again."""
        from ...connection import open_server
        from ...errors import MlopsLabError
        from ...runs import refresh

        try:
            followed = self._running()
            fresh = {run.run_id: run for run in refresh(open_server(), followed)}
        except MlopsLabError as error:
            self.tell_error(error)
            return True
        self._gone.update(set(followed) - set(fresh))
        self.page = [fresh.get(run.run_id, run) for run in self.page]
        for run_id, run in fresh.items():
            if run_id in self._lines:
                self._lines[run_id].value = _line(run)
        return bool(self._running())


_COLUMNS = ("run", "status", "data", "started", "metrics")


def _line(run: RunRow) -> str:
    metrics = ", ".join(f"{name} {figure.show(value)}" for name, value in words.headline(run))
    link = html.escape(run.link, quote=True)
    name = f'<a href="{link}" target="_blank" rel="noopener noreferrer">{html.escape(run.name)}</a>'
    status = f'<span aria-hidden="true">{_SIGNS[run.status]}</span> {words.STATES[run.status]}'
    cells = [name, status, *map(html.escape, (versions(run) or "not recorded", words.started(run), metrics))]
    return f'<div style="{_GRID}">{"".join(f"<span>{cell}</span>" for cell in cells)}</div>'

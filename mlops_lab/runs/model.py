"""What the runs room tells others: experiments, runs, and the comparison document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ..datasets.model import DataUsed
from ..wire import Number

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]


class Experiment(msgspec.Struct):
    """An MLflow experiment."""

    experiment_id: str
    name: str


class RunRow(msgspec.Struct):
    """One run as lists show it."""

    run_id: str
    name: str
    experiment_id: str
    experiment: str
    status: RunStatus
    start_time: int
    """Milliseconds since 1970, UTC."""
    end_time: int | None
    user: str
    data: list[DataUsed]
    commit: str
    """Git commit of the code, empty when unknown."""
    dirty: bool | None
    """True when the working tree differed from the commit; None when unknown."""
    metrics: dict[str, Number]
    """Last value of every metric."""
    params: dict[str, str]
    link: str
    """The run's page in MLflow's own UI."""


class RunPage(msgspec.Struct):
    """One page of a search, newest first."""

    runs: list[RunRow]
    next_page_token: str | None = None

    def __iter__(self) -> Iterator[RunRow]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from .render import page_html, page_text

        return {"text/html": page_html(self), "text/plain": page_text(self)}


class SharedData(msgspec.Struct):
    """Whether the compared runs saw the same bytes in one role (``"test"``, ``"train"``, ...)."""

    role: str
    same: bool | None
    """None when it cannot be known; `statement` says why."""
    statement: str
    """One sentence for the screen."""


class ParamRow(msgspec.Struct):
    """One param across the compared runs."""

    name: str
    values: list[str | None]
    """In the order of the runs; None where a run lacks it."""
    differs: bool


class MetricRow(msgspec.Struct):
    """The last value of one metric across the compared runs."""

    name: str
    values: list[Number | None]
    differs: bool


class Series(msgspec.Struct):
    """One metric of one run over its steps, thinned by the server when long."""

    run_id: str
    steps: list[int]
    values: list[Number]


class Curve(msgspec.Struct):
    """One metric's series of all compared runs."""

    metric: str
    series: list[Series]


class Comparison(msgspec.Struct):
    """The comparison document (MIME ``application/vnd.mlops-lab.comparison+json``): all that a renderer needs."""

    schema_version: int
    created: str
    """ISO 8601, UTC."""
    server: str
    """Origin of the tracking server, without credentials."""
    runs: list[RunRow]
    shared: list[SharedData]
    """The verdict on the data, the test role first."""
    params: list[ParamRow]
    """Differing ones first."""
    metrics: list[MetricRow]
    curves: list[Curve]
    notes: list[str] = []
    """What the reader must know to read the figures rightly."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from .render import mimebundle

        return mimebundle(self)

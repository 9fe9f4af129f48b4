"""Builds the comparison document of two or more runs: same data? which params differ? how did the metrics go?

The document holds all that a renderer needs, so a saved notebook shows it with no kernel and no server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ..connection.errors import Refused
from ..errors import MlopsLabError
from ..wire import Number, to_number
from .errors import NotComparable, UnknownRun
from .model import Comparison, Curve, MetricRow, ParamRow, RunRow, Series
from .notes import notes
from .rows import run_row
from .shared import shared_data
from .words import SYSTEM, reading_order

if TYPE_CHECKING:
    from ..connection.rest import TrackingServer

SCHEMA_VERSION = 1
MAX_RUNS = 20
MAX_CURVES = 24
POINTS_PER_SERIES = 320
"""As MLflow's own charts ask for; the server thins a longer series and keeps its first and last point."""

T = TypeVar("T")


def compare(server: TrackingServer, run_ids: Sequence[str], *, project: str | Path | None = None) -> Comparison:
    """Compare two or more runs of one server.

    Parameters
    ----------
    server
        Where the runs are.
    run_ids
        Two to twenty run ids, in the order of the columns.
    project
        A folder of the repository that the data come from; where its cache holds the versions that differ,
        the files that differ are counted.

    Raises
    ------
    NotComparable
        Fewer than two runs, more than twenty, or the same one twice.
    UnknownRun
        When the server has no such run.
    """
    wanted = [one.strip() for one in run_ids]
    _check(wanted)
    raw = [_get(server, run_id) for run_id in wanted]
    names = _experiment_names(server, {str(run["info"].get("experiment_id", "")) for run in raw})
    runs = [run_row(run, names, server.uri) for run in raw]
    curves, left_out = _curves(server, raw)
    called = labels(runs)
    deleted = [label for run, label in zip(raw, called, strict=True) if run["info"].get("lifecycle_stage") == "deleted"]
    changed = _changed_files(runs, project)
    return Comparison(
        schema_version=SCHEMA_VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        server=_origin(server.uri),
        runs=runs,
        shared=shared_data(runs, called),
        params=param_rows(runs),
        metrics=metric_rows(runs),
        curves=curves,
        notes=notes(runs, called, curves, deleted=deleted, left_out=left_out, changed=changed),
    )


def labels(runs: Sequence[RunRow]) -> list[str]:
    """Give each run a name that no other one has: its own, or with the start of its id where two are called alike."""
    seen = [run.name for run in runs]
    return [f"'{run.name}'" if seen.count(run.name) == 1 else f"'{run.name}' ({run.run_id[:6]})" for run in runs]


def param_rows(runs: Sequence[RunRow]) -> list[ParamRow]:
    """Give the union of params, with dataset versions and git commit as rows: what differs first, data before all."""
    rows = [*_data_rows(runs), *_code_rows(runs)]
    for name in _union(run.params for run in runs):
        rows.append(_param(name, [run.params.get(name) for run in runs]))
    return sorted(rows, key=lambda row: (not row.differs, not row.name.startswith("data: "), row.name.lower()))


def metric_rows(runs: Sequence[RunRow]) -> list[MetricRow]:
    """Give the union of metrics by their last values: test first, then validation, the machine's own last."""
    rows = []
    for name in sorted(_union(run.metrics for run in runs), key=reading_order):
        values: list[Number | None] = [run.metrics.get(name) for run in runs]
        rows.append(MetricRow(name=name, values=values, differs=any(value != values[0] for value in values)))
    return rows


def _check(run_ids: Sequence[str]) -> None:
    if len(run_ids) < 2:
        raise NotComparable("A comparison needs at least two runs.", "Choose another run as well.")
    twice = next((one for one in run_ids if run_ids.count(one) > 1), None)
    if twice is not None:
        raise NotComparable(f"The run {twice} is named twice.", "Name each run once.")
    if len(run_ids) > MAX_RUNS:
        raise NotComparable(f"{len(run_ids)} runs are too many to read side by side.", f"Choose at most {MAX_RUNS}.")


def _get(server: TrackingServer, run_id: str) -> dict[str, Any]:
    try:
        if not re.fullmatch(r"[\w.\-]{1,64}", run_id):
            raise UnknownRun(f"'{run_id[:80]}' is not a run id.", "Copy the id from the list of runs.")
        return server.get_run(run_id)
    except Refused as refused:
        if refused.error_code != "RESOURCE_DOES_NOT_EXIST" and refused.status != 404:
            raise
        raise UnknownRun(
            f"The tracking server at {_origin(server.uri)} has no run {run_id}.",
            "Check the id, and that you are logged in to the server that holds the run.",
        ) from refused


def _experiment_names(server: TrackingServer, ids: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for one in ids:
        try:
            experiment = server.get("experiments/get", {"experiment_id": one}).get("experiment") or {}
        except Refused:
            continue
        names[one] = experiment.get("name") or one
    return names


def _data_rows(runs: Sequence[RunRow]) -> list[ParamRow]:
    rows = []
    for name in _union((used.name for used in run.data) for run in runs):
        values = []
        for run in runs:
            # The short md5 stands beside the version because a name can be moved, and a content cannot.
            given = sorted(f"{used.version} ({used.md5[:8]})" for used in run.data if used.name == name)
            values.append(", ".join(given) or None)
        rows.append(_param(f"data: {name}", values))
    return rows


def _code_rows(runs: Sequence[RunRow]) -> list[ParamRow]:
    if not any(run.commit for run in runs):
        return []
    values = [f"{run.commit[:10]}{' + uncommitted changes' if run.dirty else ''}" or None for run in runs]
    return [_param("git commit", values)]


def _param(name: str, values: Sequence[str | None]) -> ParamRow:
    return ParamRow(name=name, values=list(values), differs=any(value != values[0] for value in values))


def _union(parts: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))


def _curves(server: TrackingServer, raw: Sequence[dict[str, Any]]) -> tuple[list[Curve], int]:
    """Read the series of every metric that goes over steps, and how many were left out because they are too many."""
    # The last point of a metric carries its step: zero everywhere means that there is nothing to draw.
    stepped = {
        item["key"]
        for run in raw
        for item in run.get("data", {}).get("metrics") or ()
        if int(item.get("step") or 0) > 0 and not item["key"].startswith(SYSTEM)
    }
    chosen = sorted(stepped, key=reading_order)
    run_ids = [run["info"]["run_id"] for run in raw]
    curves = []
    for metric in chosen[:MAX_CURVES]:
        points = server.metric_history_bulk(run_ids, metric, max_results=POINTS_PER_SERIES)
        series = [_series(run_id, [point for point in points if point.get("run_id") == run_id]) for run_id in run_ids]
        if any(len(one.steps) > 1 for one in series):
            curves.append(Curve(metric=metric, series=[one for one in series if one.steps]))
    return curves, max(0, len(chosen) - MAX_CURVES)


def _series(run_id: str, points: Sequence[dict[str, Any]]) -> Series:
    by_step: dict[int, Number] = {}
    # A resumed run logs a step again: the later point counts.
    for point in sorted(points, key=lambda one: (int(one.get("step") or 0), int(one.get("timestamp") or 0))):
        by_step[int(point.get("step") or 0)] = to_number(float(point["value"]))
    return Series(run_id=run_id, steps=list(by_step), values=list(by_step.values()))


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _changed_files(runs: Sequence[RunRow], project: str | Path | None) -> str:
    """Count the files in which two versions of one dataset differ; empty where that cannot be told from here."""
    if project is None:
        return ""
    for name in _union((used.name for used in run.data) for run in runs):
        contents = {used.md5: used.version for run in runs for used in run.data if used.name == name}
        if len(contents) == 2:
            return _count(name, contents, project)
    return ""


def _count(name: str, contents: Mapping[str, str], project: str | Path) -> str:
    from .. import datasets

    old, new = contents
    try:
        # Only what DVC's cache holds already: a comparison fetches nothing.
        if any("cache" not in datasets.resolve(f"{name}@{md5}", project).where for md5 in contents):
            return ""
        diff = datasets.diff(name, old, new, path=project)
    except MlopsLabError:
        return ""
    counts = {"changed": diff.modified, "added": diff.added, "removed": diff.removed}
    told = ", ".join(f"{len(files)} {word}" for word, files in counts.items() if files)
    return f"Files of {name} from {contents[old]} to {contents[new]}: {told or 'none differ'}."

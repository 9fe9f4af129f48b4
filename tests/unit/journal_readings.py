"""Reads what a tracked block has recorded, from its journal."""

from __future__ import annotations

from typing import Any

from mlops_lab import wire
from mlops_lab.tracking import Run, track
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Metric, Param


def block(**options: Any) -> Any:
    """Open a block that stays on this computer."""
    return track(experiment="capture", offline=True, **options)


def points(run: Run, *names: str) -> list[tuple[str, int, float]]:
    """Give name, step and value of the points of `run` as they were written; of `names` only, if given.

    What the machine does is left out.
    """
    records = [record for record, _ in segments.read(run.folder)]
    found = [(r.key, r.step, wire.from_number(r.value)) for r in records if isinstance(r, Metric)]
    found = [point for point in found if not point[0].startswith("system/")]
    return [point for point in found if not names or point[0] in names]


def values(run: Run, name: str) -> list[float]:
    """Give the values of one series; its steps must count from 1."""
    found = points(run, name)
    assert [step for _, step, _ in found] == list(range(1, len(found) + 1)), found
    return [value for _, _, value in found]


def series(run: Run) -> set[str]:
    """Give the names of the metrics of `run`, without those that measure time."""
    return {name for name, _, _ in points(run) if not name.endswith("_seconds")}


def params(run: Run) -> dict[str, str]:
    """Give the params of `run`."""
    return {r.key: r.value for r, _ in segments.read(run.folder) if isinstance(r, Param)}


def troubles(run: Run) -> list[str]:
    """Give the notices of `run` but the first, which says that it is offline."""
    return run.notices[1:]

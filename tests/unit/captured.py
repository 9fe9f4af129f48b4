"""What a tracked block has left in its journal, as the tests of MONAI's capture read it."""

from __future__ import annotations

from mlops_lab import wire
from mlops_lab.tracking import Run
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Artifact, Metric, Param


def points(run: Run) -> list[tuple[str, int, float]]:
    """Every point: series, step, value; without what is measured of the machine and of time."""
    records = [record for record, _ in segments.read(run.folder) if isinstance(record, Metric)]
    told = [r for r in records if not r.key.startswith("system/") and not r.key.endswith("_seconds")]
    return [(r.key, r.step, wire.from_number(r.value)) for r in told]


def params(run: Run) -> dict[str, str]:
    """Every param."""
    return {r.key: r.value for r, _ in segments.read(run.folder) if isinstance(r, Param)}


def artifacts(run: Run) -> dict[str, str]:
    """Every text artifact under its path on the server."""
    records = [record for record, _ in segments.read(run.folder) if isinstance(record, Artifact)]
    return {f"{r.folder}/{r.name}".lstrip("/"): (run.folder / r.file).read_text() for r in records}

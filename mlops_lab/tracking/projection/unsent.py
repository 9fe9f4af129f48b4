"""What would be sent: a run as it lies on this computer, before any of it leaves."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...connection import tags as names
from ...wire import Number, from_number
from ..errors import NoSuchRun
from ..journal import writer as journal
from ..model import Artifact, Input, Metric, Param, Start, Tag
from .synchronise import begun, pending


class PreviewedMetric(msgspec.Struct):
    """One series: how many points it has, and the last of them."""

    name: str
    points: int
    last: Number


class PreviewedFile(msgspec.Struct):
    """One file that would be uploaded, with its size in bytes and where its copy can be looked at."""

    name: str
    size: int
    path: str


class Preview(msgspec.Struct):
    """Everything of one run that no server has seen yet.

    Attributes
    ----------
    run_key, name, experiment
        As it will be called.
    params, tags
        Every one, as it would be stored.
    metrics
        One entry per series.
    files
        One entry per artifact.
    data
        Dataset inputs, ``NAME md5``.
    """

    run_key: str
    name: str
    experiment: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[PreviewedMetric]
    files: list[PreviewedFile]
    data: list[str]

    def __str__(self) -> str:
        lines = [f"Run {self.name}, for the experiment {self.experiment}. It would send:"]
        sections: list[tuple[str, list[str]]] = [
            ("params", [f"{key} = {_short(value)}" for key, value in self.params.items()]),
            ("tags", [f"{key} = {_short(value)}" for key, value in self.tags.items()]),
            ("metrics", [_series(metric) for metric in self.metrics]),
            ("files", [f"{file.name}  {file.size:,} bytes  ({file.path})" for file in self.files]),
            ("data", self.data),
        ]
        for title, entries in sections:
            lines += [f"  {title}", *(f"    {entry}" for entry in entries or ["none"])]
        return "\n".join(lines)


def preview(run: str = "") -> list[Preview]:
    """Show what would be sent of the runs that are on this computer only, oldest first; nothing is sent.

    Parameters
    ----------
    run
        Name of a run, or the beginning of its key; without it, every run that waits.

    Raises
    ------
    NoSuchRun
        When no waiting run is called so.
    """
    found = sorted(begun(pending()), key=lambda item: item[1].time)
    chosen = [item for item in found if not run or item[1].run_name == run or item[1].run_key.startswith(run)]
    if run and not chosen:
        names = ", ".join(dict.fromkeys(start.run_name for _, start in found)) or "none"
        raise NoSuchRun(f"No run called {run} waits on this computer.", f"Those that wait: {names}.")
    return [_look(folder, start) for folder, start in chosen]


def _look(folder: Path, start: Start) -> Preview:
    shown = Preview(start.run_key, start.run_name, start.experiment, {}, _tags(start), [], [], [])
    series: dict[str, PreviewedMetric] = {}
    for record, _ in journal.read(folder):
        if isinstance(record, Metric):
            one = series.setdefault(record.key, PreviewedMetric(record.key, 0, record.value))
            one.points += 1
            one.last = record.value
        elif isinstance(record, Param):
            shown.params[record.key] = record.value
        elif isinstance(record, Tag):
            shown.tags[record.key] = record.value
        elif isinstance(record, Artifact):
            path = folder / record.file
            name = f"{record.folder}/{record.name}" if record.folder else record.name
            shown.files.append(PreviewedFile(name, path.stat().st_size if path.exists() else 0, str(path)))
        elif isinstance(record, Input):
            shown.data.append(f"{record.name} {record.digest}")
    shown.metrics = list(series.values())
    return shown


def _tags(start: Start) -> dict[str, str]:
    return {**start.tags, names.RUN_KEY: start.run_key, names.USER: start.user}


def _series(metric: PreviewedMetric) -> str:
    points = "1 point" if metric.points == 1 else f"{metric.points:,} points"
    return f"{metric.name}: {points}, last {from_number(metric.last):.6g}"


def _short(value: str) -> str:
    line = value.replace("\n", " ")
    return line if len(line) <= 120 else f"{line[:120]}… ({len(value):,} characters)"

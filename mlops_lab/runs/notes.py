"""What a careful colleague would say before anyone reads the figures of a comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .model import Curve, RunRow

_SEED = re.compile(r"(^|[^a-z])seed([^a-z]|$)", re.IGNORECASE)


def notes(
    runs: Sequence[RunRow],
    labels: Sequence[str],
    curves: Sequence[Curve],
    *,
    deleted: Sequence[str] = (),
    left_out: int = 0,
    changed: str = "",
) -> list[str]:
    """Give the hints for a comparison, the gravest first.

    Parameters
    ----------
    labels
        How each run is called, in the order of `runs`.
    deleted
        Those that are in MLflow's bin.
    left_out
        Curves that were too many to read.
    changed
        A sentence on the files that differ between dataset versions, or empty.
    """
    said = [*_unfinished(runs, labels), *_not_a_number(runs, labels), *_lengths(runs, labels, curves)]
    said += [f"{label} was deleted in MLflow: it can be restored until somebody empties the bin." for label in deleted]
    said += _repeats(runs)
    said += _code(runs, labels)
    if changed:
        said.append(changed)
    if left_out:
        said.append(f"{left_out} more metrics have curves; they are on the runs' MLflow pages.")
    return said


def _unfinished(runs: Sequence[RunRow], labels: Sequence[str]) -> list[str]:
    said = []
    for run, label in zip(runs, labels, strict=True):
        if run.status in ("RUNNING", "SCHEDULED"):
            said.append(f"{label} has not finished: its figures will still change.")
        elif run.status == "FAILED":
            said.append(f"{label} failed: its figures are those of the moment it stopped.")
        elif run.status == "KILLED":
            said.append(f"{label} was stopped before its end: its figures are those of that moment.")
    return said


def _not_a_number(runs: Sequence[RunRow], labels: Sequence[str]) -> list[str]:
    said = []
    for run, label in zip(runs, labels, strict=True):
        broken = sorted(name for name, value in run.metrics.items() if isinstance(value, str))
        if broken:
            more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
            said.append(f"{label} ends with a value that is not a finite number in {', '.join(broken[:3])}{more}.")
    return said


def _lengths(runs: Sequence[RunRow], labels: Sequence[str], curves: Sequence[Curve]) -> list[str]:
    """Say it when the last values come from different points of training."""
    for curve in curves:
        last = {one.run_id: one.steps[-1] for one in curve.series}
        if len(last) == len(runs) and len(set(last.values())) > 1:
            ends = ", ".join(f"{label} at step {last[run.run_id]}" for run, label in zip(runs, labels, strict=True))
            return [f"The runs are not equally long: {curve.metric} ends for {ends}."]
    return []


def _repeats(runs: Sequence[RunRow]) -> list[str]:
    """Say how little a single run tells: without repeats, chance and method cannot be told apart."""
    settings = [_setting(run) for run in runs]
    distinct = len(set(settings))
    if distinct == 1:
        return ["All runs have the same settings: what differs between them is chance (seed, hardware, order of data)."]
    if distinct == len(runs):
        count = {2: "two", 3: "three", 4: "four"}.get(distinct, str(distinct))
        return [
            f"One run each: these are {count} checkpoints, not {count} methods. "
            "Repeat each with other seeds before you conclude."
        ]
    return []


def _setting(run: RunRow) -> tuple[object, ...]:
    params = tuple(sorted((name, value) for name, value in run.params.items() if not _SEED.search(name)))
    return params, tuple(sorted(used.md5 for used in run.data)), run.commit


def _code(runs: Sequence[RunRow], labels: Sequence[str]) -> list[str]:
    said = []
    if len({run.commit for run in runs if run.commit}) > 1:
        said.append("The runs come from different git commits: the code may differ as well.")
    dirty = [label for run, label in zip(runs, labels, strict=True) if run.dirty]
    if dirty:
        said.append(f"The working tree was dirty: the commit alone does not give back the code of {_and(dirty)}.")
    unknown = [label for run, label in zip(runs, labels, strict=True) if not run.commit]
    if unknown:
        said.append(f"No git commit is known for {_and(unknown)}.")
    return said


def _and(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"

"""Puts runs, times and verdicts of a comparison into the words that every renderer shows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from ..wire import Number, from_number
from .figure import MISSING, show
from .model import Comparison, RunRow, SharedData
from .shared import DATASET, versions

Tone = Literal["good", "care", "plain"]

SYSTEM = "system/"
"""MLflow's prefix of what it measures about the machine."""
_RANKS = (r"(^|[^a-z])test", r"(^|[^a-z])(val|valid|validation|tune)([^a-z]|$)")

_COMMANDING = {"Cc", "Cs", "Zl", "Zp"}
_BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

STATES = {
    "RUNNING": "running",
    "SCHEDULED": "scheduled",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "stopped",
}


def heading(verdict: SharedData) -> str:
    """Give a verdict in three words, e.g. ``"Same test data"``."""
    what = "dataset" if verdict.role == DATASET else f"{verdict.role} data"
    if verdict.same is None:
        return f"Not known: {what}"
    return f"Same {what}" if verdict.same else f"Different {what}"


def mark(verdict: SharedData) -> str:
    """Give the sign that stands before a verdict."""
    return {True: "✓", False: "≠", None: "?"}[verdict.same]


def tone(verdict: SharedData) -> Tone:
    """Tell good from worth a thought: other training data may be the point of a comparison, other test data never."""
    if verdict.same:
        return "good"
    return "care" if verdict.role in ("test", DATASET) or verdict.same is None else "plain"


def started(run: RunRow) -> str:
    """Give a run's start, e.g. ``"23 Nov 2026, 06:10 UTC"``."""
    if not run.start_time:
        return MISSING
    return f"{datetime.fromtimestamp(run.start_time / 1000, UTC):%-d %b %Y, %H:%M} UTC"


def duration(run: RunRow) -> str:
    """Give how long a run took, e.g. ``"1 min 12 s"``; a dash while it is not over."""
    if run.end_time is None or not run.start_time or run.end_time < run.start_time:
        return MISSING
    seconds = (run.end_time - run.start_time) / 1000
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def facts(runs: Sequence[RunRow]) -> list[tuple[str, list[str]]]:
    """Give the rows that introduce the runs; a row that is empty for all of them is left out."""
    rows = [
        ("data", [versions(run) or "not recorded" for run in runs]),
        ("status", [STATES[run.status] for run in runs]),
        ("started", [started(run) for run in runs]),
        ("duration", [duration(run) for run in runs]),
        ("experiment", [run.experiment for run in runs]),
        ("user", [run.user for run in runs]),
    ]
    return [
        (name, [value or MISSING for value in values])
        for name, values in rows
        if any(v not in ("", MISSING) for v in values)
    ]


def difference(values: Sequence[Number | None]) -> str:
    """Give B minus A with its sign, where there are two finite values."""
    if len(values) != 2 or values[0] is None or values[1] is None:
        return ""
    if isinstance(values[0], str) or isinstance(values[1], str):
        return ""
    gap = from_number(values[1]) - from_number(values[0])
    return "0" if gap == 0 else ("+" if gap > 0 else "-") + show(abs(gap))


def created(comparison: Comparison) -> str:
    """Give the moment of the comparison for people."""
    try:
        return f"{datetime.fromisoformat(comparison.created).astimezone(UTC):%-d %b %Y, %H:%M} UTC"
    except ValueError:
        return comparison.created


def reading_order(metric: str) -> tuple[int, str]:
    """Sort key of metrics: test first, then validation, then the others, what is about the machine last."""
    name = metric.lower()
    if name.startswith(SYSTEM):
        return len(_RANKS) + 1, name
    return next((rank for rank, pattern in enumerate(_RANKS) if re.search(pattern, name)), len(_RANKS)), name


def headline(run: RunRow, most: int = 3) -> list[tuple[str, Number]]:
    """Give the few metrics by which a run is known in a list."""
    names = [name for name in sorted(run.metrics, key=reading_order) if not name.startswith(SYSTEM)]
    return [(name, run.metrics[name]) for name in names[:most]]


def terminal_safe(text: str) -> str:
    """Make a name that comes from a server safe to print: what would steer a terminal is written out, as ``\\x1b``.

    White space becomes a blank, so that one name stays on one line; letters of every script stay as they are.
    """
    return "".join(" " if char.isspace() else _written_out(char) if _commands(char) else char for char in text)


def _commands(char: str) -> bool:
    return unicodedata.category(char) in _COMMANDING or unicodedata.bidirectional(char) in _BIDIRECTIONAL


def _written_out(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")

"""The runs room: search, the comparison document, and its pictures.

Imports nothing heavy: the Jupyter server process uses this room.
"""

from __future__ import annotations

from .document import compare
from .errors import BadFilter, BadPage, NotComparable, RunsError, UnknownRun
from .model import Comparison, Experiment, RunPage, RunRow
from .naming import find_run_ids
from .notebook import compare_runs, search_runs
from .pages import list_experiments, refresh, search

__all__ = [
    "BadFilter",
    "BadPage",
    "Comparison",
    "Experiment",
    "NotComparable",
    "RunPage",
    "RunRow",
    "RunsError",
    "UnknownRun",
    "compare",
    "compare_runs",
    "find_run_ids",
    "list_experiments",
    "refresh",
    "search",
    "search_runs",
]

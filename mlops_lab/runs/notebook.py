"""The two calls that a person types: ``mlops_lab.search_runs(...)`` and ``mlops_lab.compare_runs([...])``.

They use the connection of this kernel; what they return shows itself in an output cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..connection import open_server
from .document import compare
from .errors import RunsError
from .model import Comparison, RunPage, RunRow
from .naming import find_run_ids
from .pages import list_experiments, search


def search_runs(filter: str = "", *, experiment: str = "", max_results: int = 50) -> RunPage:
    """Find runs, newest first.

    Parameters
    ----------
    filter
        MLflow's filter language, e.g. ``"metrics.val_mean_dice > 0.8 and params.lr = '0.001'"``.
    experiment
        Name of the experiment; empty for all.
    max_results
        At most 100.

    Returns
    -------
    RunPage
        Shows itself as a table; iterate over it, or read ``.runs``.

    Raises
    ------
    RunsError
        When there is no such experiment, or the filter is not understood.
    """
    server = open_server()
    chosen: list[str] = []
    if experiment:
        known = list_experiments(server)
        chosen = [one.experiment_id for one in known if one.name == experiment]
        if not chosen:
            names = ", ".join(f"'{one.name}'" for one in known[:8])
            raise RunsError(f"There is no experiment '{experiment}'.", f"There are: {names}." if names else "")
    return search(server, chosen, filter=filter, max_results=max_results)


def compare_runs(runs: Sequence[str | RunRow]) -> Comparison:
    """Compare two or more runs; the result shows itself in an output cell.

    Parameters
    ----------
    runs
        Run ids, their beginnings, run names, or rows of :func:`search_runs`, in the order of the columns.

    Raises
    ------
    NotComparable, UnknownRun
        See :func:`mlops_lab.runs.compare`.
    """
    named = [runs] if isinstance(runs, str) else runs
    server = open_server()
    words = [one.run_id if isinstance(one, RunRow) else str(one) for one in named]
    return compare(server, find_run_ids(server, words), project=Path.cwd())

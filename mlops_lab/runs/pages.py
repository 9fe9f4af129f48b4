"""Finds experiments and runs on the tracking server, one small page at a time, and refreshes those on the screen.

A page never exceeds 100 runs: the server's cost grows with the rows it returns, and nobody reads more at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..connection.errors import Refused
from .errors import BadFilter, BadPage
from .model import Experiment, RunPage, RunRow
from .rows import run_row

if TYPE_CHECKING:
    from ..connection.rest import TrackingServer

MAX_PAGE = 100
FILTER_HINT = "Write it like: metrics.val_mean_dice > 0.8 and params.lr = '0.001' (MLflow knows no OR)."

_NEWEST_FIRST = ("attributes.start_time DESC",)
# Ids go into a filter string: what could end the quotation is never asked for.
_RUN_ID = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


def list_experiments(server: TrackingServer) -> list[Experiment]:
    """Give every active experiment, the last changed first, as MLflow orders them."""
    return [
        Experiment(experiment_id=str(found["experiment_id"]), name=found.get("name") or str(found["experiment_id"]))
        for found in server.search_experiments()
    ]


def search(
    server: TrackingServer,
    experiment_ids: Sequence[str] = (),
    filter: str = "",
    page_token: str | None = None,
    max_results: int = 50,
) -> RunPage:
    """Give one page of runs, newest first.

    Parameters
    ----------
    experiment_ids
        Where to look; empty for all active experiments.
    filter
        MLflow's own filter language, passed through.
    page_token
        ``next_page_token`` of the page before.
    max_results
        Rows of this page, held between 1 and 100.

    Raises
    ------
    BadFilter, BadPage
        When the server understands the filter or the page token not.
    """
    names = _names(server)
    where = [str(one) for one in experiment_ids] or list(names)
    if not where:
        return RunPage(runs=[])
    try:
        answer = server.search_runs(
            where,
            filter=filter.strip(),
            max_results=max(1, min(MAX_PAGE, max_results)),
            order_by=_NEWEST_FIRST,
            page_token=page_token or None,
        )
    except Refused as refused:
        if page_token and "page token" in refused.message.lower():
            raise BadPage("This page of runs no longer exists.", "Start again from the newest runs.") from refused
        if filter.strip() and refused.error_code == "INVALID_PARAMETER_VALUE":
            said = refused.message.strip().rstrip(".")
            raise BadFilter(f"The tracking server does not understand this filter: {said}.", FILTER_HINT) from refused
        raise
    return RunPage(
        runs=[run_row(run, names, server.uri) for run in answer.get("runs") or ()],
        next_page_token=answer.get("next_page_token") or None,
    )


def refresh(server: TrackingServer, run_ids: Sequence[str]) -> list[RunRow]:
    """Give the present state of known runs, in the order asked for; a run that is gone is left out.

    Ask for the running ones only: a finished run does not change.
    """
    wanted = list(dict.fromkeys(one for one in run_ids if _RUN_ID.fullmatch(one)))
    if not wanted:
        return []
    names = _names(server)
    found: dict[str, RunRow] = {}
    for start in range(0, len(wanted) if names else 0, MAX_PAGE):
        chunk = wanted[start : start + MAX_PAGE]
        quoted = ", ".join(f"'{one}'" for one in chunk)
        answer = server.search_runs(
            list(names), filter=f"attributes.run_id IN ({quoted})", max_results=MAX_PAGE, order_by=_NEWEST_FIRST
        )
        for run in answer.get("runs") or ():
            row = run_row(run, names, server.uri)
            found[row.run_id] = row
    return [found[one] for one in wanted if one in found]


def _names(server: TrackingServer) -> dict[str, str]:
    return {one.experiment_id: one.name for one in list_experiments(server)}

"""`%mlops_runs` and `%mlops_compare`: what the runs room gives, shown in the cell and saved with the notebook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from IPython.display import display

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer
    from ...runs import RunRow

_ID = re.compile(r"[0-9a-f]{32}")
_PAGES = 10
"""Pages of runs that are looked through for a name."""


def show_runs(filter: str) -> None:
    """Show the newest runs that `filter` lets through."""
    from ...runs import render, search_runs

    page = search_runs(filter)
    display({"text/html": render.page_html(page), "text/plain": render.page_text(page)}, raw=True)  # type: ignore[no-untyped-call]


def show_comparison(runs: list[str]) -> None:
    """Compare `runs`, given by id, beginning of an id, or name, and show the comparison."""
    from ... import connection
    from ...runs import compare_runs, render

    server = connection.open_server()
    try:
        ids = run_ids(server, runs)
    finally:
        server.close()
    display(render.mimebundle(compare_runs(ids)), raw=True)  # type: ignore[no-untyped-call]


def run_ids(server: TrackingServer, typed: list[str]) -> list[str]:
    """Find the runs that people mean: by id, by the beginning of an id (4 signs or more), or by name.

    Of several runs of one name the newest is meant, so that a notebook can be run again.

    Raises
    ------
    UnknownRun
        When a word names no run, or is the beginning of several ids.
    """
    from ...runs import UnknownRun

    rows = [] if all(_ID.fullmatch(word) for word in typed) else _newest(server)
    found = []
    for word in typed:
        named = [row.run_id for row in rows if row.name == word]
        begun = [row.run_id for row in rows if len(word) >= 4 and row.run_id.startswith(word)]
        if _ID.fullmatch(word):
            found.append(word)
        elif named:
            found.append(named[0])
        elif len(begun) == 1:
            found.append(begun[0])
        elif begun:
            choices = ", ".join(one[: len(word) + 4] for one in begun)
            raise UnknownRun(f"'{word}' is the beginning of {len(begun)} runs.", f"Write more of it: {choices}.")
        else:
            raise UnknownRun(f"There is no run '{word}'.", "See %mlops_runs for names and ids.")
    return found


def _newest(server: TrackingServer) -> list[RunRow]:
    from ...runs import search

    rows: list[RunRow] = []
    token: str | None = None
    for _ in range(_PAGES):
        page = search(server, [], max_results=100, page_token=token)
        rows += page.runs
        token = page.next_page_token
        if token is None:
            break
    return rows

"""Which run does a person mean? By id, by the beginning of an id, or by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..connection.rest import TrackingServer
from .errors import UnknownRun
from .model import RunRow
from .pages import search

_ID = re.compile(r"[0-9a-f]{32}")
_PAGES = 10
"""Pages of 100 runs that are looked through for a name."""
_SHORTEST = 4
"""Signs of an id that are enough to mean it."""


def find_run_ids(server: TrackingServer, typed: Sequence[str]) -> list[str]:
    """Find the runs that people mean.

    Parameters
    ----------
    server
        Where to look.
    typed
        Run ids, beginnings of ids (4 signs or more), or names. Of several runs of one name the newest is meant, so
        that a notebook can be run again.

    Returns
    -------
    list of str
        One run id for each word, in the same order.

    Raises
    ------
    UnknownRun
        When a word names no run, or is the beginning of several ids.
    """
    rows = [] if all(_ID.fullmatch(word) for word in typed) else _newest(server)
    return [_find(word.strip(), rows) for word in typed]


def _find(word: str, rows: Sequence[RunRow]) -> str:
    if _ID.fullmatch(word):
        return word
    named = [row.run_id for row in rows if row.name == word]
    if named:
        return named[0]
    begun = [row.run_id for row in rows if len(word) >= _SHORTEST and row.run_id.startswith(word)]
    if not begun:
        raise UnknownRun(f"There is no run '{word}' on this server.", "%mlops_runs lists names and ids.")
    if len(begun) > 1:
        choices = ", ".join(one[: len(word) + 4] for one in begun)
        raise UnknownRun(f"'{word}' is the beginning of {len(begun)} runs.", f"Write more of it: {choices}.")
    return begun[0]


def _newest(server: TrackingServer) -> list[RunRow]:
    rows: list[RunRow] = []
    token: str | None = None
    for _ in range(_PAGES):
        page = search(server, [], max_results=100, page_token=token)
        rows += page.runs
        token = page.next_page_token
        if token is None:
            break
    return rows

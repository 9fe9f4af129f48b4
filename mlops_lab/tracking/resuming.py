"""Goes on with a run that has ended, or whose process died: one run with one history, wherever it was begun."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .. import connection
from ..connection.errors import ConnectionProblem, NotConnected, Refused
from .errors import NoSuchRun, RunIsOpen
from .journal import folders
from .journal.remains import LeftOff, left_off
from .journal.writer import Journal
from .model import Start
from .projection.synchronise import begun

if TYPE_CHECKING:
    from ..connection.rest import TrackingServer

PATIENCE = 5.0
"""Seconds that the server has to answer."""
SHORTEST_KEY = 4
"""Characters of a run's id or key that are enough to name it."""
_ID = re.compile(r"[0-9a-f]{32}")
_MOST_NAMED = 10


def resume(run: str, wanted: Start) -> tuple[Journal, Start, LeftOff]:
    """Go on with a run: its journal to write to, its first record, and where it stood.

    Parameters
    ----------
    run
        Its name, MLflow's id of it or our key, or the beginning of either.
    wanted
        How a new run would begin now; a journal for a run that only the server has begins so.

    Raises
    ------
    NoSuchRun
        When there is none, or several, of this name, or the server cannot be asked.
    RunIsOpen
        When its block is open still.
    """
    run = str(run).strip()
    if not run:
        raise NoSuchRun("The run to resume has no name.", "Give its name or its id.")
    found = [item for item in begun(list(folders.journals().iterdir())) if _is_called(run, *item)]
    if len(found) > 1:
        raise _several(
            run, [(start.run_name, folders.position(place).run_id or start.run_key) for place, start in found]
        )
    if not found:
        return _from_server(run, wanted)
    folder, start = found[0]
    left = left_off(folder)
    journal = Journal.reopen(folder)
    if journal is None:
        raise RunIsOpen(
            f"The run {start.run_name} is still open in another notebook or program.", "End it there, then resume it."
        )
    return journal, start, left


def _from_server(run: str, wanted: Start) -> tuple[Journal, Start, LeftOff]:
    server = _open_server(run)
    known = _at_server(run, server)
    data, info = known["data"], known["info"]
    experiment = server.get("experiments/get", {"experiment_id": info["experiment_id"]})["experiment"]["name"]
    left = LeftOff(
        steps={item["key"]: int(item.get("step", 0)) for item in data.get("metrics", [])},
        params={item["key"]: item["value"] for item in data.get("params", [])},
        tags={item["key"]: item["value"] for item in data.get("tags", [])},
    )
    start = msgspec.structs.replace(
        wanted,
        experiment=experiment,
        run_name=info.get("run_name") or info["run_id"],
        tags={},
        parent="",
        continues=info["run_id"],
    )
    return Journal.create(start), start, left


def _open_server(run: str) -> TrackingServer:
    try:
        return connection.open_server(timeout=PATIENCE)
    except NotConnected as error:
        raise NoSuchRun(f"No run called {run} is on this computer.", "Log in to the server that has it.") from error
    except ConnectionProblem as error:
        raise NoSuchRun(f"No run called {run} is on this computer, and {_lower(error.message)}", error.hint) from error


def _is_called(run: str, folder: Path, start: Start) -> bool:
    run_id = folders.position(folder).run_id or start.continues
    whole = len(run) >= SHORTEST_KEY
    return run == start.run_name or (whole and (start.run_key.startswith(run) or run_id.startswith(run)))


def _at_server(run: str, server: TrackingServer) -> dict[str, Any]:
    nowhere = NoSuchRun(f"No run called {run} is on this computer or on {server.uri}.", "Give its name or its id.")
    if _ID.fullmatch(run):
        try:
            return server.get_run(run)
        except Refused as refusal:
            raise nowhere from refusal
    if "'" in run and '"' in run:
        raise nowhere  # MLflow's filters have no word for it
    quote = '"' if "'" in run else "'"
    experiments = [item["experiment_id"] for item in server.search_experiments()]
    found = server.search_runs(experiments, f"attributes.run_name = {quote}{run}{quote}", _MOST_NAMED)["runs"]
    if not found:
        raise nowhere
    if len(found) > 1:
        raise _several(run, [(item["info"]["run_name"], item["info"]["run_id"]) for item in found])
    only: dict[str, Any] = found[0]
    return only


def _several(run: str, found: list[tuple[str, str]]) -> NoSuchRun:
    listed = ", ".join(f"{name} ({key})" for name, key in found[:_MOST_NAMED])
    return NoSuchRun(f"Several runs are called {run}: {listed}.", "Give the id of the one that is meant.")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]

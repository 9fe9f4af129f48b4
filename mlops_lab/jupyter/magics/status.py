"""`%mlops_status`: where this kernel sends its runs, what is open, and what still waits on this computer."""

from __future__ import annotations

import os

from ...errors import MlopsLabError


def status_lines() -> list[str]:
    """Give the state of things, one plain sentence per line."""
    return [*_server(), *_run(), *_waiting()]


def _server() -> list[str]:
    from ... import connection
    from ...connection.session import read_session

    try:
        server = connection.open_server(timeout=5.0)
    except MlopsLabError as error:
        return [str(error)]
    try:
        user = server.whoami()
        version = server.version()
    except MlopsLabError as error:
        return [f"Connected to {server.uri}, but: {error}"]
    finally:
        server.close()
    session = read_session()
    who = f" as {user}" if user else ""
    kind = "" if session is not None and os.environ.get("MLOPS_LAB_SESSION") else " (from the environment)"
    if session is None:
        kind = " (the embedded server of this computer)"
    return [f"Connected to {server.uri}{who}, MLflow {version or 'of unknown version'}{kind}."]


def _run() -> list[str]:
    from ...tracking import active_run

    run = active_run()
    if run is None:
        return ["No run is open."]
    return [f"The run {run.name} of experiment {run.experiment} is open. {run.link}".rstrip()]


def _waiting() -> list[str]:
    from ...tracking import waiting

    found = waiting()
    if not found:
        return []
    runs = "1 run waits" if len(found) == 1 else f"{len(found)} runs wait"
    reasons = dict.fromkeys(run.reason for run in found if run.reason)
    return [f"{runs} on this computer to be sent: %mlops_sync.", *reasons]

"""How a run comes into the server's world exactly once: found by our key, else created, its parent first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...connection import tags as names
from ...connection.errors import ExperimentClosed, Forbidden, Refused
from ...connection.sharing import explain
from ..errors import ParentFirst, RunElsewhere, RunGone
from ..journal import folders
from ..journal.ledger import Ledger
from ..model import LONGEST_TAG, Start, Tag

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer

PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
_MOST_TWINS = 10
_LONGEST_EXPERIMENT = 500
_LONGEST_NAME = 250
"""Characters of an experiment's name, and of a run's name or a tag's, that MLflow takes in every database."""


class Birth:
    """Finds or creates the run of one journal.

    Parameters
    ----------
    ledger, start
        Of the journal.
    otherwise
        Experiment for a run that its own experiment does not take; empty: such a run waits.
    """

    def __init__(self, ledger: Ledger, start: Start, otherwise: str) -> None:
        self.experiment = ""
        """Where the run is, once that is known."""
        self._ledger = ledger
        self._start = start
        self._otherwise = otherwise

    def find_or_create(self, server: TrackingServer) -> tuple[str, str]:
        """Give experiment id and run id.

        Raises
        ------
        RunElsewhere
            When another server has the beginning of the run.
        ParentFirst
            When the run that this one is nested in is not there yet.
        """
        if self._start.continues:
            return self._gone_on_with(server)
        try:
            return self._in_experiment(server, experiment_name(self._start))
        except (ExperimentClosed, Refused) as refusal:
            closed = isinstance(refusal, ExperimentClosed) or refusal.error_code == "RESOURCE_DELETED"
            if not (closed and self._otherwise) or self._ledger.position.run_id:
                raise
        return self._in_experiment(server, self._otherwise)

    def remove_twins(self, server: TrackingServer) -> None:
        """Delete empty runs of our key that were made by requests whose answers were lost."""
        position = self._ledger.position
        if position.creations < 2:
            return
        for run in _runs_of(server, position.experiment_id, self._start.run_key):
            if run["info"]["run_id"] != position.run_id and not run["data"].get("metrics"):
                with contextlib.suppress(Refused, Forbidden):
                    server.delete_run(run["info"]["run_id"])
        with self._ledger.change():
            position.creations = 1

    def _gone_on_with(self, server: TrackingServer) -> tuple[str, str]:
        run_id = self._start.continues
        run = require_active(server, run_id, self._start.run_name)
        server.update_run(run_id, status="RUNNING")
        for key, value in self._start.tags.items():
            server.set_tag(run_id, key, value)
        self.experiment = self._start.experiment
        return str(run["info"]["experiment_id"]), run_id

    def _in_experiment(self, server: TrackingServer, experiment: str) -> tuple[str, str]:
        experiment_id = server.ensure_experiment(experiment)
        # Where an answer was lost there may be two: the one that was written to is the run.
        found = max(_runs_of(server, experiment_id, self._start.run_key), key=_entries, default=None)
        if found is not None:
            self.experiment = experiment
            return experiment_id, str(found["info"]["run_id"])
        if self._ledger.position.run_id:
            raise RunElsewhere(
                f"The run {self._start.run_name} was begun on {self._ledger.position.uri}.",
                "Log in to that server to send the rest.",
            )
        tags = self._tags(server, experiment_id)
        start = self._start
        with self._ledger.change() as position:
            if position.creations == 0:
                self._ledger.set_aside([(Tag(key, value), why) for key, value, why in _unfit(start)])
            position.creations += 1
        name = start.run_name[:_LONGEST_NAME]
        try:
            run = server.create_run(experiment_id, start_time=start.time, run_name=name, tags=tags)
        except Forbidden as refusal:
            raise explain(server, refusal, experiment, "add") from refusal
        self.experiment = experiment
        return experiment_id, str(run["info"]["run_id"])

    def _tags(self, server: TrackingServer, experiment_id: str) -> dict[str, str]:
        tags = tags_of(self._start)
        parent = self._parent(server, experiment_id)
        return {**tags, PARENT: parent} if parent else tags

    def _parent(self, server: TrackingServer, experiment_id: str) -> str:
        if not self._start.parent:
            return ""
        folder = folders.journals() / self._start.parent
        position = folders.position(folder)
        if position.run_id and position.uri == origin_of(server.uri):
            return position.run_id
        if (folder / folders.JOURNAL).exists():
            raise ParentFirst(
                f"The run that {self._start.run_name} is nested in is not on the server yet.",
                "It is sent after that one.",
            )
        found = max(_runs_of(server, experiment_id, self._start.parent), key=_entries, default=None)
        return str(found["info"]["run_id"]) if found is not None else ""


def experiment_name(start: Start) -> str:
    """Give the name of the experiment as MLflow takes it."""
    return start.experiment[:_LONGEST_EXPERIMENT]


def tags_of(start: Start) -> dict[str, str]:
    """Give the tags with which the run is created, without those that would keep it from being created."""
    fit = {key: value[:LONGEST_TAG] for key, value in start.tags.items() if _takes(key)}
    return {**fit, names.RUN_KEY: start.run_key, names.USER: start.user}


def require_active(server: TrackingServer, run_id: str, name: str) -> dict[str, Any]:
    """Read the run; raises RunGone where it takes no entries any more."""
    gone = RunGone(
        f"The server no longer takes entries for the run {name}: it was deleted there.",
        "Restore it in MLflow to send the rest, or send what is here as a new run with %mlops_sync --experiment NAME "
        "(or mlops-lab sync --experiment NAME); until then it stays on this computer.",
    )
    try:
        run = server.get_run(run_id)
    except Refused as refusal:
        if refusal.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise gone from refusal
    if run.get("info", {}).get("lifecycle_stage", "active") != "active":
        raise gone
    return run


def _takes(tag: str) -> bool:
    return 0 < len(tag) <= _LONGEST_NAME and tag != RUN_NAME


def _unfit(start: Start) -> Iterator[tuple[str, str, str]]:
    """Give key, value and reason of what of the first record cannot be at the server as it was said."""
    if start.experiment != experiment_name(start):
        yield "experiment", start.experiment, f"MLflow keeps {_LONGEST_EXPERIMENT} characters of an experiment's name."
    if len(start.run_name) > _LONGEST_NAME:
        yield "run name", start.run_name, f"MLflow keeps {_LONGEST_NAME} characters of a run's name."
    for key, value in start.tags.items():
        if key == RUN_NAME and value != start.run_name:
            yield key, value, f"The run's name is {start.run_name[:_LONGEST_NAME]}."
        elif key != RUN_NAME and not _takes(key):
            yield key, value, f"MLflow takes tag names of 1 to {_LONGEST_NAME} characters."
        elif len(value) > LONGEST_TAG:
            yield key, value, f"MLflow keeps {LONGEST_TAG} characters of a tag; the whole value stands here."


def origin_of(uri: str) -> str:
    """Give the address of a server as it is kept with a run: no user, no trailing slash."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


def _runs_of(server: TrackingServer, experiment_id: str, key: str) -> list[dict[str, Any]]:
    quote = '"' if "'" in key else "'"
    page = server.search_runs([experiment_id], f"tags.`{names.RUN_KEY}` = {quote}{key}{quote}", _MOST_TWINS)
    runs: list[dict[str, Any]] = page["runs"]
    return sorted(runs, key=lambda run: str(run["info"]["run_id"]))


def _entries(run: dict[str, Any]) -> int:
    return sum(len(run.get("data", {}).get(kind, [])) for kind in ("metrics", "params", "tags"))

"""Runs as MLflow's client sees them inside a block: the block's own, and those that the user begins below it.

Each is a journal. MLflow is given an ordinary run object for it, whose id is the server's where that has answered,
else our own run key (the server keeps it as the tag ``mlops_lab.run_key``).
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import connection
from ...connection import tags as names
from ...connection.errors import ConnectionProblem, Refused
from ..journal.segments import read
from ..journal.writer import Journal
from ..model import LONGEST_PARAM, SCHEMA_VERSION, Artifact, End, EndStatus, Input, Metric, Staged, Start, sound
from ..projection.flusher import Keeper, Sender
from ..projection.projector import Projector
from ..run import Run, runs

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer

FIRST_ANSWER = 5.0
"""Seconds that the server has to create a run before it begins without it."""
CATCH_UP = 2.0
"""Seconds that a question about a run waits for what was just logged to reach the server."""
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
_MOST_NAMED = 5
_SOURCE = frozenset(
    {
        *(names.SOURCE_NAME, names.SOURCE_TYPE, names.NOTEBOOK, names.REPOSITORY, names.COMMAND, names.PERSON),
        *(names.CELL, names.CELL_ID, names.CELL_INDEX),
        *(names.GIT_COMMIT, names.GIT_BRANCH, names.GIT_REMOTE, names.GIT_DIRTY),
    }
)
"""Tags of the block's run that hold for the runs below it as well."""
CAPTURED = re.compile(r"(train_loss|lr|grad_norm)(_|$)|epoch$")
"""Series of the training loop, whose steps count optimizer steps; the user's count something else."""


class Held:
    """A run that a journal of this process holds.

    Parameters
    ----------
    run
        The run.
    uri
        Gives the address of the server that it is for; empty while there is none.
    """

    def __init__(self, run: Run, uri: Callable[[], str]) -> None:
        self.run = run
        self._uri = uri
        self._pid = os.getpid()
        self._shown: Any = None
        self._names: dict[str, str] = {}
        """What the metrics that MLflow is told of are called here."""
        self.tables: dict[str, bytes] = {}
        """What ``log_table`` has written, by path: the next call adds to it."""
        self._again: dict[str, str] = {}
        """Params that were set again to another value, with their first one."""

    @property
    def uri(self) -> str:
        """Origin of the server that the run is for; empty while there is none."""
        return self.run.link.partition("/#/experiments/")[0] or self._uri()

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment; empty while no server holds the run."""
        return self.run.link.partition("/#/experiments/")[2].partition("/")[0]

    @property
    def id(self) -> str:
        """What MLflow's client calls the run now."""
        return self.run.run_id or self.run.key

    @property
    def open(self) -> bool:
        """Has the run not ended?"""
        return self.run.status == "RUNNING"

    def is_called(self, run_id: str) -> bool:
        """Tell whether MLflow's client means this run by `run_id`. In a forked child only the server knows it."""
        return run_id in (self.run.key, self.run.run_id) and os.getpid() == self._pid

    @property
    def recorded(self) -> bool:
        """Does this process record the run? Of several ranks only the first does."""
        return self.run.gate is not None

    @property
    def resumed(self) -> bool:
        """Was the run begun by an earlier block?"""
        return self.run.cells_folder != "cells"

    @property
    def troubled(self) -> bool:
        """Does the server of the run not answer at the moment?"""
        problem = self.run._sender.problem if self.run._sender is not None else None
        return isinstance(problem, ConnectionProblem) and not isinstance(problem, Refused)

    def screened(self, name: str) -> str:
        """Give a name as it may leave this computer."""
        return self.run.gate.name(name) if self.run.gate is not None else name

    def shown(self, place: Callable[[Held], str], experiment_id: str) -> Any:
        """Give the run as MLflow's object, without asking the server.

        Parameters
        ----------
        place
            Asks the server for a run's artifact URI; called when that is looked at.
        experiment_id
            What stands for the experiment while no server has given it an id.
        """
        if self._shown is None or self._shown.info.run_id != self.id:
            self._shown = _mlflow_run(self, place, experiment_id)
        return self._shown

    def log_metric(self, key: str, value: Any, step: int) -> None:
        """Log one point. A name under which the block has captured a series of its own gets ``_logged`` behind it."""
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._name(key)
        self.run.log_metric(name, value, step)

    def _name(self, key: str) -> str:
        if not CAPTURED.match(key) or key not in self.run.progress().metrics:
            return key
        self.run.notice(f"{key} is recorded from the training itself; what MLflow was told of it is {key}_logged.")
        return f"{key}_logged"

    def log_param(self, key: str, value: Any) -> None:
        """Set a param; like at the server, the first value of a name stands."""
        first = self.run.params.get(key)
        if first is None:
            self.run.log_param(key, value)
        elif first != sound(value)[:LONGEST_PARAM]:
            if not self._again:
                self.run.at_end(self._tell_params)
            self._again[key] = first

    def _tell_params(self) -> None:
        names = [f"{key} = {value}" for key, value in islice(self._again.items(), _MOST_NAMED)]
        more = f" and {len(self._again) - len(names)} more" if len(self._again) > len(names) else ""
        self.run.notice(
            f"MLflow was told another value of a param than before; a run keeps the first: {', '.join(names)}{more}."
        )

    def log_input(self, given: Input) -> None:
        """Record a dataset that the run was given."""
        self.run.record(given)

    def rename(self, name: str) -> None:
        """Give the run another name."""
        name = self.screened(sound(name))
        if name:
            self.run.name = name
            self.run.set_tag(names.RUN_NAME, name)
            self._shown = None

    def log_files(self, local: str | os.PathLike[str], folder: str = "") -> None:
        """Log the files of the folder `local`, without its own name."""
        for entry in sorted(Path(local).iterdir()):
            self.run.log_artifact(entry, folder)

    def files(self) -> dict[str, Path]:
        """Give the files that this run has logged and that are still on this computer, by their path in the run."""
        found: dict[str, Path] = {}
        for record, _ in read(self.run.folder):
            if isinstance(record, (Artifact, Staged)):
                found[f"{record.folder}/{record.name}".lstrip("/")] = self.run.folder / record.file
        return {name: path for name, path in found.items() if path.exists()}

    def points(self, key: str) -> list[Metric]:
        """Give the points of one series that are still on this computer."""
        return [record for record, _ in read(self.run.folder) if isinstance(record, Metric) and record.key == key]

    def catch_up(self) -> None:
        """Wait a little for what was just logged to reach the server, so that a question about it is answered."""
        limit = time.monotonic() + CATCH_UP
        while self.run.run_id and self.run.progress().waiting and time.monotonic() < limit:
            time.sleep(0.05)


class Child(Held):
    """A run that MLflow's client was asked to create inside a block: a journal of its own, sent like any other."""

    def __init__(self, run: Run, uri: Callable[[], str], journal: Journal, projector: Projector) -> None:
        super().__init__(run, uri)
        self._journal = journal
        self._projector = projector
        self._sender = Sender(projector)
        self._keeper = Keeper(journal, run.drain, lambda: None)
        self._closing: threading.Thread | None = None
        run.attach(self._sender)

    @classmethod
    def begin(
        cls,
        block: Held,
        experiment: str,
        name: str,
        tags: Mapping[str, str],
        parent: Held | None,
        ask: bool,
        began: int | None = None,
    ) -> Child:
        """Begin a run below `parent`, in the block of `block`.

        Parameters
        ----------
        began
            Milliseconds since 1970; by default now.
        ask
            Wait for the server to create it, for at most :data:`FIRST_ANSWER` seconds per request.

        Raises
        ------
        mlops_lab.connection.errors.Refused
            When the server refuses, e.g. because the experiment was deleted.
        """
        start = Start(
            schema_version=SCHEMA_VERSION,
            run_key=uuid.uuid4().hex,
            experiment=sound(experiment),
            run_name=sound(name),
            time=began or int(time.time() * 1000),
            user=block.run.start.user,
            tags={sound(key): sound(value) for key, value in _with_source(block, tags).items()},
            offline=block.run.offline,
            parent=parent.run.key if parent is not None else "",
        )
        gate = block.run.gate
        assert gate is not None, "a process that does not record begins no run"
        start = gate.start(start)
        journal = Journal.create(start)
        projector = Projector(journal.folder, _server)
        child = cls(Run(journal, start, projector, block.run.options, gate), lambda: block.uri, journal, projector)
        if not block.run.offline:
            child._connect(ask)
        child._keeper.start()
        return child

    def end(self, status: EndStatus, time_ms: int | None = None) -> None:
        """Write the end; what the server does not have yet is sent in the background."""
        if self.run.status != "RUNNING":
            return
        runs.remove(self.run)
        self.run.come_to_end()
        self.run.drain(wait=True)
        self.run.finish(status)
        # Its files may still be looked through for identifiers; the next trial of a sweep does not wait for that.
        last = End(status, time_ms or self._journal.now())
        self._closing = threading.Thread(target=self._close, args=(last,), name="mlops_lab closing", daemon=True)
        self._closing.start()

    def _close(self, last: End) -> None:
        self.run.finish_files()
        if not self._journal.append_last(last):
            self._projector.last_words = [last]
        self._journal.close()
        self._keeper.stop()

    def catch_up(self) -> None:
        """See :meth:`Held.catch_up`."""
        if self._closing is not None:
            self._closing.join(CATCH_UP)
        super().catch_up()

    def finish(self, deadline: float) -> None:
        """Send the rest until `deadline`, on the monotonic clock; what is left is a sync's to send."""
        if self._closing is not None:
            self._closing.join()
        if not self.run.offline:
            self._sender.finish(max(0.0, deadline - time.monotonic()) if not self.troubled else 0.0)
            self._sender.let_go()

    def _connect(self, ask: bool) -> None:
        self._projector.claim()
        try:
            if ask:
                self._projector.ensure_run()
        except Refused:
            self._journal.close()
            self._projector.release()
            raise
        except ConnectionProblem as problem:
            self._projector.forget_server()
            self._sender.note(problem)
        self._sender.start()


def source_tags(block: Held) -> dict[str, str]:
    """Give what the run of a block says of its code, for the runs below it."""
    return {key: value for key, value in block.run.start.tags.items() if key in _SOURCE}


def _with_source(block: Held, tags: Mapping[str, str]) -> dict[str, str]:
    """Give the tags of a run below the block's with what that says of the code; what the user set stands.

    MLflow's own word for the source in a notebook is the path of the kernel's launcher.
    """
    own = dict(tags)
    if own.get(names.SOURCE_NAME, "") == (sys.argv[0] if sys.argv else None):
        own.pop(names.SOURCE_NAME)
        own.pop(names.SOURCE_TYPE, None)
    return {**source_tags(block), **own}


def _server() -> TrackingServer:
    return connection.open_server(timeout=FIRST_ANSWER)


def _mlflow_run(held: Held, place: Callable[[Held], str], experiment_id: str) -> Any:
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities import RunData, RunInfo, RunTag

    class Info(RunInfo):  # type: ignore[misc,unused-ignore]
        """Where the artifacts are is asked when somebody wants to know: the answer may take seconds."""

        @property
        def artifact_uri(self) -> str | None:
            self._artifact_uri = self._artifact_uri or place(held)
            return self._artifact_uri

    start = held.run.start
    info = Info(
        run_id=held.id,
        experiment_id=held.experiment_id or experiment_id,
        user_id=start.user,
        status="RUNNING",
        start_time=start.time,
        end_time=None,
        lifecycle_stage="active",
        artifact_uri="",
        run_name=held.run.name,
    )
    tags = {**start.tags, names.RUN_KEY: start.run_key, names.USER: start.user, names.RUN_NAME: held.run.name}
    return MlflowRun(info, RunData([], [], [RunTag(key, value) for key, value in tags.items()]))

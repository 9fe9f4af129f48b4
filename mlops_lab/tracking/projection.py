"""From the journal to MLflow: finds or creates the run by our key, and sends what the server does not have yet.

Sending a batch twice stores each point once, so the position is saved after the server's answer and a crash
between the two costs nothing. One projector works on a journal at a time, in whichever process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ..connection import tags as names
from ..connection.errors import ExperimentClosed, Forbidden, NotMlflow, Refused, Unreachable
from ..connection.sharing import explain
from . import journal
from .errors import ELSEWHERE, RunElsewhere, RunGone
from .locks import FileLock
from .model import LARGEST_STEP, Artifact, End, Input, Metric, Param, Position, Quarantined, Record, Start, Tag

if TYPE_CHECKING:
    from ..connection.rest import TrackingServer

ENTRIES_PER_BATCH = 1000
"""MLflow's limit on metrics, params and tags of one request together."""
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100


@dataclass
class _Batch:
    metrics: list[Metric] = field(default_factory=list)
    params: list[Param] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    offset: int = 0
    records: int = 0

    def full(self) -> bool:
        return (
            len(self.metrics) + len(self.params) + len(self.tags) >= ENTRIES_PER_BATCH
            or len(self.params) >= PARAMS_PER_BATCH
            or len(self.tags) >= TAGS_PER_BATCH
        )

    def entries(self) -> list[Metric | Param | Tag]:
        return [*self.metrics, *self.params, *self.tags]


class Projector:
    """Projects one journal.

    Parameters
    ----------
    folder
        The journal's folder.
    open_server
        Gives the server we are logged in to now; asked again after every failure, so that a login is followed.
    otherwise
        Experiment for a run that its own experiment does not take; empty: such a run waits.
    """

    def __init__(self, folder: Path, open_server: Callable[[], TrackingServer], otherwise: str = "") -> None:
        self.folder = folder
        self.experiment = ""
        """Where the run was sent, once that is known."""
        self._otherwise = otherwise
        self.position = self._load()
        self._open_server = open_server
        self._lock = FileLock(folder / journal.PROJECTION_LOCK)
        self._server: TrackingServer | None = None
        self._start: Start | None = None
        self.last_words: list[Record] = []
        """How the run ended, where the disk has no room for it in the journal."""
        self.stopped = False
        """Set from another thread to stop between two requests."""

    def claim(self, patience: float = 0.0) -> bool:
        """Take the right to project this journal; False when another process or thread keeps it for so many seconds."""
        limit = time.monotonic() + patience
        while not self._lock.acquire():
            if time.monotonic() >= limit:
                return False
            time.sleep(0.1)
        self.position = self._load()
        return True

    def release(self) -> None:
        """Let others project."""
        self._lock.release()

    def forget_server(self) -> None:
        """Ask for the server anew at the next attempt."""
        self._server = None

    @property
    def start(self) -> Start:
        """The journal's first record."""
        if self._start is None:
            record, _ = next(journal.read(self.folder))
            assert isinstance(record, Start)
            self._start = record
        return self._start

    def ensure_run(self) -> str:
        """Find or create the run on the server and give its id.

        Raises
        ------
        mlops_lab.connection.errors.ConnectionProblem
            Any of the connection room's errors: nobody is logged in, the server does not answer, it refuses.
        RunElsewhere
            When another server has the beginning of the run.
        """
        server = self._server = self._server or self._open_server()
        origin = origin_of(server.uri)
        if self.position.run_id and self.position.uri == origin:
            return self.position.run_id
        try:
            experiment_id, run_id = self._find_or_create(server)
        except (KeyError, TypeError, AttributeError) as error:
            raise NotMlflow(
                f"What answers at {origin} does not answer as an MLflow tracking server does.",
                "Check the address, and what stands between this computer and the server.",
            ) from error
        except ExperimentClosed as refusal:
            self.position.closed = f"{refusal} {ELSEWHERE}"
            self._save()
            raise
        self.position.closed = ""
        self.position.uri, self.position.experiment_id, self.position.run_id = origin, experiment_id, run_id
        self._save()
        return run_id

    def push(self) -> bool:
        """Send everything that the journal holds now; True once the run is complete on the server.

        Raises
        ------
        mlops_lab.connection.errors.Unreachable
            When it is worth another try later; what was sent is remembered.
        """
        if self.position.complete:
            return True
        run_id = self.ensure_run()
        try:
            return self._push(run_id)
        except ExperimentClosed:
            raise
        except Forbidden as refusal:
            assert self._server is not None
            raise explain(self._server, refusal, self.start.experiment, "continue") from refusal

    def _push(self, run_id: str) -> bool:
        if self.position.ended:
            self._send_postponed(run_id)
            return True
        for step in self._steps():
            if self.stopped:
                return False
            if isinstance(step, _Batch):
                self._send_batch(run_id, step)
                self.position.offset, self.position.records = step.offset, self.position.records + step.records
            else:
                record, self.position.offset = step
                self._send_one(run_id, record)
                self.position.records += 1
            self._save()
        if not self.position.ended:
            for record in self.last_words:
                if isinstance(record, Tag):
                    self._bisect(run_id, [record])
                else:
                    self._send_one(run_id, record)
            self._save()
        if self.position.ended:
            self._send_postponed(run_id)
        return self.position.ended

    def _find_or_create(self, server: TrackingServer) -> tuple[str, str]:
        try:
            return self._in_experiment(server, self.start.experiment)
        except (ExperimentClosed, Refused) as refusal:
            closed = isinstance(refusal, ExperimentClosed) or refusal.error_code == "RESOURCE_DELETED"
            if not (closed and self._otherwise) or self.position.run_id:
                raise
        return self._in_experiment(server, self._otherwise)

    def _in_experiment(self, server: TrackingServer, experiment: str) -> tuple[str, str]:
        experiment_id = server.ensure_experiment(experiment)
        found = server.find_run([experiment_id], names.RUN_KEY, self.start.run_key)
        if found is not None:
            self.experiment = experiment
            return experiment_id, str(found["info"]["run_id"])
        if self.position.run_id:
            raise RunElsewhere(
                f"The run {self.start.run_name} was begun on {self.position.uri}.",
                "Log in to that server to send the rest.",
            )
        try:
            run_id = self._create(server, experiment_id)
        except Forbidden as refusal:
            raise explain(server, refusal, experiment, "add") from refusal
        self.experiment = experiment
        return experiment_id, run_id

    def _send_postponed(self, run_id: str) -> None:
        while self.position.postponed:
            self._upload(run_id, self.position.postponed[0])
            del self.position.postponed[0]
            self._save()

    def _steps(self) -> Iterator[_Batch | tuple[Record, int]]:
        """Group the unsent records into batches, keeping their order around those that have a call of their own."""
        batch = _Batch()
        for record, offset in journal.read(self.folder, self.position.offset):
            if isinstance(record, Metric):
                batch.metrics.append(record)
            elif isinstance(record, Param):
                batch.params.append(record)
            elif isinstance(record, Tag):
                batch.tags.append(record)
            else:
                if batch.records:
                    yield batch
                batch = _Batch()
                yield record, offset
                continue
            batch.offset = offset
            batch.records += 1
            if batch.full():
                yield batch
                batch = _Batch()
        if batch.records:
            yield batch

    def _send_batch(self, run_id: str, batch: _Batch) -> None:
        self._bisect(run_id, batch.entries())

    def _bisect(self, run_id: str, entries: list[Metric | Param | Tag]) -> None:
        assert self._server is not None
        try:
            if any(isinstance(entry, Metric) and abs(entry.step) > LARGEST_STEP for entry in entries):
                raise OverflowError(f"a step above {LARGEST_STEP}")
            self._server.log_batch(
                run_id,
                metrics=[
                    {"key": entry.key, "value": entry.value, "timestamp": entry.time, "step": entry.step}
                    for entry in entries
                    if isinstance(entry, Metric)
                ],
                params=[{"key": entry.key, "value": entry.value} for entry in entries if isinstance(entry, Param)],
                tags=[{"key": entry.key, "value": entry.value} for entry in entries if isinstance(entry, Tag)],
            )
        except (Refused, TypeError, ValueError, OverflowError) as refusal:
            gateway = isinstance(refusal, Refused) and not refusal.error_code
            # Less at once may pass a gateway that limits the size of a request; nothing else is split for it.
            if isinstance(refusal, Refused) and gateway and not (refusal.status == 413 and len(entries) > 1):
                raise _not_the_server(refusal) from refusal
            if len(entries) == 1:
                self._quarantine(entries[0], refusal)
                return
            if isinstance(refusal, Refused) and not gateway:
                self._require_active(run_id)
            middle = len(entries) // 2
            self._bisect(run_id, entries[:middle])
            self._bisect(run_id, entries[middle:])

    def _send_one(self, run_id: str, record: Record) -> None:
        assert self._server is not None
        try:
            if isinstance(record, Input):
                self._server.log_inputs(run_id, [_dataset_input(record)])
            elif isinstance(record, Artifact):
                try:
                    self._upload(run_id, record)
                except Unreachable as problem:
                    if not isinstance(problem.__cause__, Refused):
                        raise
                    self.position.postponed.append(record)  # a file that never passes must not keep the end back
            elif isinstance(record, End):
                self._server.update_run(run_id, status=record.status, end_time=record.time)
                self.position.ended = True
        except (Refused, TypeError, ValueError, OverflowError) as refusal:
            if isinstance(refusal, Refused):
                if not refusal.error_code and not isinstance(record, Artifact):
                    raise _not_the_server(refusal) from refusal
                self._require_active(run_id)
            self._quarantine(record, refusal)
            self.position.ended = isinstance(record, End)

    def _upload(self, run_id: str, record: Artifact) -> None:
        assert self._server is not None
        try:
            self._server.upload_artifact(run_id, self.folder / record.file, record.folder)
        except Refused as refusal:
            # 400 and 404 without MLflow's word are said on this side: no such file, a name that cannot be sent.
            if refusal.error_code or refusal.status in (400, 404):
                raise
            raise _not_the_server(refusal) from refusal

    def _require_active(self, run_id: str) -> None:
        """Tell a bad entry from a run that takes no entries any more."""
        assert self._server is not None
        gone = RunGone(
            f"The server no longer takes entries for the run {self.start.run_name}: it was deleted there.",
            "Restore it in MLflow to send the rest; the journal is kept on this computer.",
        )
        try:
            run = self._server.get_run(run_id)
        except Refused as refusal:
            raise gone from refusal
        if run.get("info", {}).get("lifecycle_stage", "active") != "active":
            raise gone

    def _quarantine(self, record: Record, refusal: Exception) -> None:
        reason = refusal.message if isinstance(refusal, Refused) else f"It cannot be put into words: {refusal}"
        line = msgspec.json.encode(Quarantined(msgspec.to_builtins(record), reason)) + b"\n"
        fd = os.open(self.folder / journal.QUARANTINE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)
        self.position.quarantined += 1

    def _create(self, server: TrackingServer, experiment_id: str) -> str:
        start = self.start
        run = server.create_run(
            experiment_id,
            start_time=start.time,
            run_name=start.run_name,
            tags={**start.tags, names.RUN_KEY: start.run_key, names.USER: start.user},
        )
        return str(run["info"]["run_id"])

    def _load(self) -> Position:
        try:
            return msgspec.json.decode((self.folder / journal.POSITION).read_bytes(), type=Position)
        except (OSError, msgspec.MsgspecError):
            return Position()  # the journal alone is enough to begin again: what is sent twice is stored once

    def _save(self) -> None:
        path = self.folder / journal.POSITION
        partial = path.with_suffix(".partial")
        try:
            partial.write_bytes(msgspec.json.encode(self.position))
            os.replace(partial, path)
        except OSError:
            pass  # a full disk must not stop the sending; what is sent twice is stored once


def _not_the_server(refusal: Refused) -> Unreachable:
    """Say that something between us and MLflow refused, which may change: MLflow's own refusals carry its word."""
    return Unreachable(
        f"What stands between this computer and the MLflow server refuses the request (HTTP {refusal.status}).",
        "Ask the administrator of the proxy or gateway, for a 413 to allow larger requests.",
        status=refusal.status,
    )


def _dataset_input(record: Input) -> dict[str, Any]:
    return {
        "dataset": {
            "name": record.name,
            "digest": record.digest,
            "source_type": record.source_type,
            "source": record.source,
        },
        "tags": [{"key": key, "value": value} for key, value in record.tags.items()],
    }


def origin_of(uri: str) -> str:
    """Give the address of a server as it is kept with a run: no user, no trailing slash."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"

"""From the journal to MLflow: creates the run there, and sends what the server does not have yet.

Sending a batch twice stores each point once, so the position is saved after the server's answer and a crash
between the two costs nothing. One projector works on a journal at a time, in whichever process; the files of a run
have a queue of their own (:mod:`.uploads`), for which its figures and its end do not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ...connection.errors import ExperimentClosed, Forbidden, NotMlflow, Refused, Unreachable
from ...connection.sharing import explain
from ..errors import ELSEWHERE, JournalUnreadable, RunElsewhere, RunGone
from ..journal import segments
from ..journal.ledger import Ledger
from ..journal.segments import Line
from ..model import Artifact, End, Input, Position, Record, Resume, Staged, Start, Tag
from .batches import Batch, Entry, Grouped
from .birth import Birth, origin_of, require_active
from .refusals import Refusals, Target, TooLarge, Verdict, not_the_server, unless_broken
from .uploads import Uploads, tell_thinned

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer


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
        self.last_words: list[Record] = []
        """How the run ended, where the disk has no room for it in the journal."""
        self.before_end: Callable[[], None] = lambda: None
        """Called before the end is sent; it may wait a little for the files that came before."""
        self._ledger = Ledger(folder)
        self._open_server = open_server
        self._otherwise = otherwise
        self._server: TrackingServer | None = None
        self._birth: Birth | None = None
        self._start: Start | None = None
        self._grouped = Grouped()
        self._refusals = Refusals()
        self._stopped = False
        self.uploads = Uploads(self._ledger, self._open_for_files, self._require_active)
        """The files of the run; another thread may push them."""

    @property
    def position(self) -> Position:
        """How far the journal has been projected."""
        return self._ledger.position

    @property
    def experiment(self) -> str:
        """Where the run was sent, once that is known."""
        return self._birth.experiment if self._birth is not None else ""

    @property
    def stopped(self) -> bool:
        """Set from another thread to stop between two requests."""
        return self._stopped

    @stopped.setter
    def stopped(self, value: bool) -> None:
        self._stopped = self.uploads.stopped = value

    @property
    def start(self) -> Start:
        """The journal's first record."""
        if self._start is None:
            record, _ = next(segments.read(self.folder), (None, 0))
            if not isinstance(record, Start):
                raise JournalUnreadable(
                    f"The journal {self.folder.name} has lost its beginning.", "What is left of it cannot be sent."
                )
            self._start = record
        return self._start

    def claim(self, patience: float = 0.0) -> bool:
        """Take the right to project this journal; False when another process or thread keeps it for so many seconds."""
        return self._ledger.claim(patience)

    def release(self) -> None:
        """Let others project."""
        self._ledger.release()

    def go_on(self) -> None:
        """The run is gone on with: what is sent of it is not complete, although its end was sent."""
        with self._ledger.change() as position:
            position.ended = False

    def note_gone(self, message: str) -> None:
        """The person is told that the run was deleted on the server."""
        with self._ledger.change() as position:
            position.gone, position.closed = True, message

    def take_up(self) -> bool:
        """Take up a run that was deleted: restored on the server, or, where another experiment is named, as a new one.

        False while there is nothing to be done.
        """
        server = self._server = self._server or self._open_server()
        try:
            self._require_active(server)
        except RunGone:
            if not self._otherwise:
                return False
            self._ledger.begin_anew()
            self._start = msgspec.structs.replace(self.start, experiment=self._otherwise, continues="")
            return True
        with self._ledger.change() as position:
            position.gone, position.closed = False, ""
        return True

    def forget_server(self) -> None:
        """Ask for the server anew at the next attempt."""
        self._server = None

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
        self._birth = self._birth or Birth(self._ledger, self.start, self._otherwise)
        try:
            experiment_id, run_id = self._birth.find_or_create(server)
        except (KeyError, TypeError, AttributeError) as error:
            raise NotMlflow(
                f"What answers at {origin} does not answer as an MLflow tracking server does.",
                "Check the address, and what stands between this computer and the server.",
            ) from error
        except ExperimentClosed as refusal:
            with self._ledger.change() as position:
                position.closed = f"{refusal} {ELSEWHERE}"
            raise
        with self._ledger.change() as position:
            position.closed = ""
            position.uri, position.experiment_id, position.run_id = origin, experiment_id, run_id
        return run_id

    def push(self) -> bool:
        """Send everything that the journal holds now, figures first; True once the run is complete on the server.

        Raises
        ------
        mlops_lab.connection.errors.Unreachable
            When it is worth another try later; what was sent is remembered.
        """
        self.push_entries()
        return self.uploads.push()

    def push_entries(self) -> bool:
        """Send everything but the files; True once the run has ended on the server."""
        if self.position.ended and not segments.more(self.folder, self.position):
            return True
        run_id = self.ensure_run()
        try:
            self._push(run_id)
        except ExperimentClosed:
            raise
        except Forbidden as refusal:
            assert self._server is not None
            raise explain(self._server, refusal, self.start.experiment, "continue") from refusal
        return self.position.ended

    def _push(self, run_id: str) -> None:
        while self._send_what_there_is(run_id):
            pass  # once more, in smaller batches
        if self._stopped or self.position.ended:
            return
        for record in self.last_words:
            refused = self._post(run_id, [record]) if isinstance(record, Tag) else self._send_one(run_id, record)
            self._save(record, refused)

    def _send_what_there_is(self, run_id: str) -> bool:
        """Go through the journal from the position on; True where a gateway wants smaller batches."""
        for step in self._grouped.read(self.folder, self.position):
            if self._stopped:
                break
            if not isinstance(step, Batch):
                record, line = step
                self._save(record, self._send_one(run_id, record), line)
                continue
            try:
                refused = self._post(run_id, step.entries)
            except TooLarge:
                self._grouped.too_large(step)
                return True
            except Unreachable:
                self._grouped.no_answer(step)
                raise
            self._grouped.passed()
            self._save(None, refused, step.line, len(step.entries))
        return False

    def _post(self, run_id: str, entries: list[Entry]) -> list[Verdict]:
        return self._refusals.send(self._target(run_id), entries)

    def _send_one(self, run_id: str, record: Record) -> list[Verdict]:
        """Make the request of a record that has one of its own; gives the record back where it is refused."""
        target = self._target(run_id)
        server = target.server
        try:
            if isinstance(record, Input):
                unless_broken(target, lambda: server.log_inputs(run_id, [_dataset_input(record)]))
            elif isinstance(record, End):
                self.before_end()
                tell_thinned(self._ledger, lambda: server)
                server.update_run(run_id, status=record.status, end_time=record.time)
                if self._birth is not None:
                    self._birth.remove_twins(server)
            elif isinstance(record, Resume):
                server.update_run(run_id, status="RUNNING")
        except Refused as refusal:
            if not refusal.error_code:
                raise not_the_server(refusal) from refusal
            target.require_active()
            return [(record, refusal.message)]
        except (TypeError, ValueError, OverflowError) as error:
            return [(record, f"It cannot be put into words: {error}")]
        return []

    def _save(self, record: Record | None, refused: list[Verdict], line: Line | None = None, count: int = 1) -> None:
        """Remember in one go what the server has now, what it refused, and what is still to be uploaded."""
        with self._ledger.change() as position:
            self._ledger.set_aside(refused)
            if isinstance(record, Staged):
                self._ledger.await_screening(record)
            elif isinstance(record, Artifact):
                self._ledger.queue(record)
            elif isinstance(record, (End, Resume)):
                position.ended = isinstance(record, End)
            if line is not None:
                position.offset, position.generation = line.offset, line.generation
                position.records += count

    def _target(self, run_id: str) -> Target:
        assert self._server is not None
        server = self._server
        return Target(server, run_id, self.start.run_key, lambda: self._require_active(server))

    def _require_active(self, server: TrackingServer) -> None:
        """Tell a bad entry from a run that takes no entries any more."""
        require_active(server, self.position.run_id or self.start.continues, self.start.run_name)

    def _open_for_files(self) -> TrackingServer:
        server = self._open_server()
        if origin_of(server.uri) != self.position.uri:
            raise RunElsewhere(
                f"The run {self.start.run_name} was begun on {self.position.uri}.",
                "Log in to that server to send the rest.",
            )
        return server


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

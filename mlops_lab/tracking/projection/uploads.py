"""The files of a run on their way to the server: a queue of its own, so that a large one holds back no figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...connection.errors import Refused, Unreachable
from ..journal import folders, retention, staging
from ..journal.ledger import Ledger
from ..model import Artifact, Record
from .refusals import not_the_server

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer

REFUSED = "mlops_lab.refused"
"""Tag with the number of entries that the server refused; the artifact ``mlops_lab/refused.jsonl`` lists them."""


class Uploads:
    """Uploads the files that the projection of the figures has queued.

    Parameters
    ----------
    ledger
        Position of the journal, shared with the projection.
    open_server
        Gives the server that holds the run; asked again after every failure.
    require_active
        Raises when the run is no longer there.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_server: Callable[[], TrackingServer],
        require_active: Callable[[TrackingServer], None],
    ) -> None:
        self._ledger = ledger
        self._open_server = open_server
        self._require_active = require_active
        self._server: TrackingServer | None = None
        self._root = ""
        self.stopped = False
        """Set from another thread to stop between two files."""

    def forget_server(self) -> None:
        """Ask for the server anew at the next attempt."""
        self._server = None

    def push(self) -> bool:
        """Upload what is queued, oldest first; True once the run is complete on the server.

        Raises
        ------
        mlops_lab.connection.errors.Unreachable
            When something is left that is worth another try. A file that does not pass keeps no other one back.
        """
        passed_over: dict[int, Unreachable] = {}
        while not self.stopped and self._ledger.position.run_id:
            waiting = [record for record in self._ledger.position.files if id(record) not in passed_over]
            if not waiting:
                break
            try:
                self._send(waiting[0], waiting[1:])
            except Unreachable as problem:
                if not isinstance(problem.__cause__, Refused):
                    raise
                passed_over[id(waiting[0])] = problem
        if passed_over:
            raise next(iter(passed_over.values()))
        if self._ledger.position.complete:
            tell_thinned(self._ledger, self._open)
        return self._ledger.position.complete

    def _open(self) -> TrackingServer:
        self._server = self._server or self._open_server()
        return self._server

    def _send(self, record: Artifact, later: list[Artifact]) -> None:
        path = self._ledger.folder / record.file
        if record.file == folders.QUARANTINE:
            self._send_refused(record)
            return
        refused: list[tuple[Record, str]] = []
        if any((other.folder, other.name) == (record.folder, record.name) for other in later):
            staging.give_up(path, "superseded")
        elif staging.mark_of(path) is None:
            try:
                self._upload(record)
            except Refused as refusal:
                self._require_active(self._open())
                refused.append((record, refusal.message))
            except (ValueError, TypeError, OverflowError) as error:
                refused.append((record, f"It cannot be put into words: {error}"))
        with self._ledger.change():
            self._ledger.unqueue(record)
            self._ledger.set_aside(refused)
        if not refused and path.exists():
            staging.give_up(path, "sent")

    def _send_refused(self, record: Artifact) -> None:
        """Show at the server what it refused: the list as an artifact, the number as a tag."""
        count = self._ledger.position.quarantined
        try:
            self._upload(record)
            self._open().set_tag(self._ledger.position.run_id, REFUSED, str(count))
        except Refused:
            pass  # a server that refuses even that; the list is in the journal's folder
        with self._ledger.change() as position:
            if position.quarantined == count:
                self._ledger.unqueue(record)

    def _upload(self, record: Artifact) -> None:
        server = self._open()
        try:
            self._root = self._root or server.artifact_root(self._ledger.position.run_id)
            server.upload_artifact(self._root, self._ledger.folder / record.file, record.folder)
        except Refused as refusal:
            # 400 and 404 without MLflow's word are said on this side: no such file, a name that cannot be sent.
            if refusal.error_code or refusal.status in (400, 404):
                raise
            raise not_the_server(refusal) from refusal


def tell_thinned(ledger: Ledger, open_server: Callable[[], TrackingServer]) -> None:
    """Bring the run's tags up to date on what was given up of it."""
    gone = folders.thinned(ledger.folder)
    if gone == ledger.position.thinned:
        return
    for key, value in retention.tags(gone).items():
        open_server().set_tag(ledger.position.run_id, key, value)
    with ledger.change() as position:
        position.thinned = gone

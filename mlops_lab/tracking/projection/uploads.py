"""The files of a run on their way to the server: a queue of its own, so that a large one holds back no figures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...connection.errors import NotMlflow, Refused, Unreachable
from ..journal import folders, retention, staging
from ..journal.ledger import Ledger
from ..model import Artifact, Record
from .refusals import BROKEN, PAUSE, not_the_server

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer

REFUSED = "mlops_lab.refused"
"""Tag with the number of entries that the server refused; the artifact ``mlops_lab/refused.jsonl`` lists them."""
RENAMED = "renamed"
"""Folder among the artifacts for files whose own names the server does not take."""


class _NotThisFile(Exception):
    """A file does not pass, while the server answers other requests."""

    def __init__(self, problem: Unreachable | NotMlflow) -> None:
        super().__init__(problem.message)
        self.problem = problem


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
        self.only_files = False
        """What the latest push raised is said of single files, while the server answers: others need not wait."""
        self._doubtful = False
        """A file passed under no name: it may be the store that is in trouble, which is not asked much more then."""

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
        self.only_files = self._doubtful = False
        passed_over: dict[int, Unreachable | NotMlflow] = {}
        while not self.stopped and self._ledger.position.run_id:
            waiting = [record for record in self._ledger.position.files if id(record) not in passed_over]
            if not waiting:
                break
            try:
                self._send(waiting[0], waiting[1:])
            except _NotThisFile as kept:
                passed_over[id(waiting[0])] = kept.problem
        if passed_over:
            self.only_files = True
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
        there = True
        if any((other.folder, other.name) == (record.folder, record.name) for other in later):
            staging.give_up(path, "superseded")
        elif staging.mark_of(path) is None:
            try:
                said = self._deliver(record)
                refused += [(record, said)] if said else []
            except Refused as refusal:
                self._require_active(self._open())
                refused, there = [(record, refusal.message)], False
            except (ValueError, TypeError, OverflowError) as error:
                refused, there = [(record, f"It cannot be put into words: {error}")], False
        with self._ledger.change():
            self._ledger.unqueue(record)
            self._ledger.set_aside(refused)
        if there and path.exists():
            staging.give_up(path, "sent")

    def _send_refused(self, record: Artifact) -> None:
        """Show at the server what it refused: the list as an artifact, the number as a tag."""
        count = self._ledger.position.quarantined
        try:
            self._deliver(record)
            self._open().set_tag(self._ledger.position.run_id, REFUSED, str(count))
        except Refused:
            pass  # a server that refuses even that; the list is in the journal's folder
        with self._ledger.change() as position:
            if position.quarantined == count:
                self._ledger.unqueue(record)

    def _deliver(self, record: Artifact) -> str:
        """Upload one file; gives what is said of it where it could not have the name that it was given.

        Whether it is the name that the server stumbles over is told by the same content under another one: where that
        is taken it stays there, and where it is not, the name is not to blame.
        """
        folder, name = _spelt(record.folder), _spelt(record.name)
        problem = self._insist(record, folder, name, 1 if self._doubtful else BROKEN)
        if problem is None:
            self._doubtful = False
            same = (folder, name) == (record.folder.strip("/"), record.name)
            return "" if same else f"MLflow takes no such name; the file is there as {_joined(folder, name)}."
        self._require_active(self._open())  # raises where the server is away altogether
        if self._doubtful:
            raise _NotThisFile(problem)
        elsewhere = _joined(RENAMED, Path(record.file).parent.name)
        if self._insist(record, elsewhere, name) is not None:
            self._doubtful = True
            raise _NotThisFile(problem)
        return f"The server takes no file of this name; it is there as {_joined(elsewhere, name)}."

    def _insist(
        self, record: Artifact, folder: str, name: str, attempts: int = BROKEN
    ) -> Unreachable | NotMlflow | None:
        """Upload one file, with a few attempts where the server breaks on it; gives what the server said to the last.

        A server that has just broken closes the connection, so after the first attempt no answer is one of these too.
        """
        said: Unreachable | NotMlflow | None = None
        for _ in range(attempts):
            try:
                self._upload(record, folder, name)
            except (Unreachable, NotMlflow) as problem:
                if said is None and not _breaks(problem):
                    raise
                said = said or problem
                time.sleep(PAUSE)
            else:
                return None
        return said

    def _upload(self, record: Artifact, folder: str, name: str) -> None:
        server, path = self._open(), self._ledger.folder / record.file
        try:
            self._root = self._root or server.artifact_root(self._ledger.position.run_id)
            if name == path.name:
                server.upload_artifact(self._root, path, folder)
                return
            with tempfile.TemporaryDirectory(dir=self._ledger.folder, prefix=".") as place:
                named = Path(place, name)
                named.symlink_to(path.absolute())
                server.upload_artifact(self._root, named, folder)
        except Refused as refusal:
            # 400 and 404 without MLflow's word are said on this side: no such file, a name that cannot be sent.
            if refusal.error_code or refusal.status in (400, 404):
                raise
            raise _NotThisFile(not_the_server(refusal)) from refusal


def _breaks(problem: Unreachable | NotMlflow) -> bool:
    """Tell whether a server broke on a request, or did not know it as one; not whether it is away or wants a rest."""
    if isinstance(problem, Unreachable):
        return problem.status == 500 and problem.retry_after is None
    return type(problem) is NotMlflow


def _spelt(path: str) -> str:
    """Give a path as MLflow takes it: no control characters, no empty parts."""
    signs = "".join("_" if ord(sign) < 32 or ord(sign) == 127 else sign for sign in path)
    return "/".join(part for part in signs.split("/") if part)


def _joined(folder: str, name: str) -> str:
    return "/".join(filter(None, (folder, name)))


def tell_thinned(ledger: Ledger, open_server: Callable[[], TrackingServer]) -> None:
    """Bring the run's tags up to date on what was given up of it."""
    gone = folders.thinned(ledger.folder)
    if gone == ledger.position.thinned:
        return
    for key, value in retention.tags(gone).items():
        open_server().set_tag(ledger.position.run_id, key, value)
    with ledger.change() as position:
        position.thinned = gone

"""Finishes what a dead server or kernel left behind: every journal on this computer that no server has in full."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ... import connection
from ...connection.errors import ConnectionProblem, ExperimentClosed, Forbidden, Refused
from ...errors import MlopsLabError
from ..errors import NoExperimentName, ParentFirst, RunGone
from ..journal import folders, remains, retention, segments
from ..model import Start, SyncedRun, SyncReport, WaitingRun
from ..screening import screen_what_is_left
from .birth import experiment_name
from .flusher import unforeseen
from .projector import Projector

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer

PATIENCE = 6.0
"""Seconds to wait for another process (or the end of a block in this one) that is sending the same run."""


def pending() -> list[Path]:
    """List the folders of journals that are not complete on a server; cheap enough for every start of a kernel."""
    known = [folder for folder in sorted(folders.journals().iterdir()) if (folder / folders.JOURNAL).exists()]
    return [folder for folder in known if not segments.complete(folder, folders.position(folder))]


def waiting() -> list[WaitingRun]:
    """List the runs that nobody is sending, oldest first; the server is not asked."""
    found = []
    for folder, start in sorted(begun(pending()), key=lambda item: item[1].time):
        try:
            abandoned = remains.abandoned(folder)
        except OSError:
            abandoned = True  # a disk that refuses even the lock: the next sync says so
        if abandoned:
            closed = folders.position(folder).closed
            found.append(WaitingRun(start.run_key, start.run_name, start.experiment, closed, start.time, start.offline))
    return found


def sync(
    open_server: Callable[[], TrackingServer] | None = None,
    include_offline: bool = True,
    experiment: str | None = None,
    only: Collection[str] = (),
) -> SyncReport:
    """Project every journal that was left behind, oldest run first.

    A journal whose process is alive is left to that process. One whose process died without an end becomes a
    KILLED run with the tag ``mlops_lab.lost``. Two syncs at once do no harm: each journal has one projector.
    A run that its experiment does not take keeps no other run back, nor does one with a file that does not pass, nor
    one that was deleted on the server, which is said once. Figures come first: the files follow when every run has its
    params, metrics and status.

    Parameters
    ----------
    open_server
        Gives the server to send to; by default the one we are logged in to.
    include_offline
        Also send runs that were made with ``--offline``.
    experiment
        Where to send those runs that their own experiment does not take, because it is somebody else's or was
        deleted. Runs that their experiment takes go there all the same. What is here of a run that was deleted on the
        server becomes a new run there.
    only
        Keys of the runs to send; without them, every one.

    Raises
    ------
    NoExperimentName
        When `experiment` is no name.
    """
    if experiment is not None and not experiment.strip():
        raise NoExperimentName("The experiment needs a name.", "For example: mlops-lab sync --experiment my-study")
    retention.clear_old()
    opened: TrackingServer | None = None

    def server() -> TrackingServer:
        nonlocal opened
        if opened is None:
            opened = (open_server or connection.open_server)()
        return opened

    sendings: list[_Sending] = []
    alive = 0
    unreachable: MlopsLabError | None = None
    for folder, start in _parents_first(begun(pending())):
        if (start.offline and not include_offline) or (only and start.run_key not in only):
            continue
        sending = _Sending(folder, start, server, (experiment or "").strip(), bool(only))
        try:
            if not remains.abandoned(folder):
                alive += 1
                continue
        except OSError as error:
            sending.fail(error)
        sendings.append(sending)
        unreachable = sending.step(sending.figures, unreachable)
    for sending in sendings:
        unreachable = sending.step(sending.files, unreachable)
    if retention.short():
        retention.free_up()
    return SyncReport([sending.outcome for sending in sendings if sending.outcome is not None], open=alive)


class _Sending:
    """One abandoned journal on its way.

    Attributes
    ----------
    outcome
        What became of it; None where another process did it, and while it is on its way.
    """

    def __init__(
        self, folder: Path, start: Start, server: Callable[[], TrackingServer], otherwise: str, asked_for: bool
    ) -> None:
        self.outcome: SyncedRun | None = None
        self._folder = folder
        self._start = start
        self._projector = Projector(folder, server, otherwise)
        self._asked_for = asked_for
        self._over = False

    def step(self, send: Callable[[], None], unreachable: MlopsLabError | None) -> MlopsLabError | None:
        """Do one of the two steps, unless the server is away; gives what keeps the next run from being tried."""
        if self._over:
            return unreachable
        if unreachable is not None:
            self._say("waiting", unreachable.message)
            return unreachable
        try:
            if not self._projector.claim(PATIENCE):
                self._say("waiting", "Another process is sending it.")
                return None
            send()
        except Exception as failure:  # whatever is wrong with one journal, the next ones are sent
            return self.fail(failure)
        finally:
            self._projector.release()
        return None

    def figures(self) -> None:
        """Send everything but the files."""
        if segments.complete(self._folder, self._projector.position):
            self._over = True  # another process was faster
            return
        if self._projector.position.gone and not self._projector.take_up():
            self._over = True
            if self._asked_for:  # the person knows otherwise
                self._say("failed", self._projector.position.closed)
            return
        self._projector.last_words = remains.end_if_lost(self._folder)
        self._projector.push_entries()

    def files(self) -> None:
        """Send what :meth:`figures` has left."""
        if screen_what_is_left(self._folder):
            self._projector.push_entries()
        self._projector.uploads.push()
        self._say("sent")

    def fail(self, failure: Exception) -> MlopsLabError | None:
        """Take note why it is not sent; gives it where it holds for the other runs as well."""
        error = failure if isinstance(failure, MlopsLabError) else unforeseen(failure)
        waits = isinstance(error, ConnectionProblem) and not isinstance(error, Refused)
        message = str(error) if isinstance(error, (ExperimentClosed, RunGone)) else error.message
        if isinstance(error, RunGone):
            self._projector.note_gone(message)
        self._say("waiting" if waits else "failed", self._projector.position.closed or message)
        # What is said of one experiment is no reason not to try the next run.
        own = isinstance(error, (Forbidden, ParentFirst)) or self._projector.uploads.only_files
        return error if waits and not own else None

    def _say(self, status: Literal["sent", "waiting", "failed"], message: str = "") -> None:
        start, went = self._start, self._projector.experiment or experiment_name(self._start)
        sent = SyncedRun(start.run_key, start.run_name, self._projector.position.run_id or None, status, message)
        if status == "sent":
            sent = msgspec.structs.replace(sent, experiment=went, redirected=went != experiment_name(start))
        self.outcome, self._over = sent, True


def _parents_first(left: list[tuple[Path, Start]]) -> list[tuple[Path, Start]]:
    """Put the oldest run first, but none before the one that it is nested in, whatever their clocks said."""
    by_key = {item[1].run_key: item for item in left}
    ordered: dict[str, tuple[Path, Start]] = {}

    def put(item: tuple[Path, Start]) -> None:
        parent = by_key.pop(item[1].parent, None)
        if parent is not None:
            put(parent)
        ordered.setdefault(item[1].run_key, item)

    for item in sorted(left, key=lambda item: item[1].time):
        put(item)
    return list(ordered.values())


def begun(folders: list[Path]) -> list[tuple[Path, Start]]:
    """Give the first record of each journal; one that is being made or is not ours to read is left out."""
    found = []
    for folder in folders:
        try:
            record, _ = next(segments.read(folder))
        except (StopIteration, OSError, MlopsLabError):
            continue  # being made at this moment, removed, or from a newer mlops_lab
        if isinstance(record, Start):
            found.append((folder, record))
    return found

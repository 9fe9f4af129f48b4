"""Finishes what a dead server or kernel left behind: every journal on this computer that no server has in full."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .. import connection
from ..connection.errors import ConnectionProblem, ExperimentClosed, Forbidden, Refused
from ..errors import MlopsLabError
from . import journal
from .errors import NoExperimentName
from .flusher import unforeseen
from .model import End, Metric, Position, Record, Start, SyncedRun, SyncReport, Tag, WaitingRun
from .projection import Projector

if TYPE_CHECKING:
    from ..connection.rest import TrackingServer

LOST = "mlops_lab.lost"
"""Tag of a run whose process died without a word."""
KEEP_DAYS = 30
"""Days that the journal of a complete run is kept."""

PATIENCE = 6.0
"""Seconds to wait for another process (or the end of a block in this one) that is sending the same run."""


def pending() -> list[Path]:
    """List the folders of journals that are not complete on a server; cheap enough for every start of a kernel."""
    left = []
    for folder in sorted(journal.journals().iterdir()):
        if (folder / journal.JOURNAL).exists() and not _position(folder).complete:
            left.append(folder)
    return left


def waiting() -> list[WaitingRun]:
    """List the runs that nobody is sending, oldest first; the server is not asked."""
    found = []
    for folder, start in sorted(_begun(pending()), key=lambda item: item[1].time):
        try:
            abandoned = journal.abandoned(folder)
        except OSError:
            abandoned = True  # a disk that refuses even the lock: the next sync says so
        if abandoned:
            found.append(WaitingRun(start.run_key, start.run_name, start.experiment, _position(folder).closed))
    return found


def sync(
    open_server: Callable[[], TrackingServer] | None = None, include_offline: bool = True, experiment: str | None = None
) -> SyncReport:
    """Project every journal that was left behind, oldest run first.

    A journal whose process is alive is left to that process. One whose process died without an end becomes a
    KILLED run with the tag ``mlops_lab.lost``. Two syncs at once do no harm: each journal has one projector.
    A run that its experiment does not take keeps no other run back.

    Parameters
    ----------
    open_server
        Gives the server to send to; by default the one we are logged in to.
    include_offline
        Also send runs that were made with ``--offline``.
    experiment
        Where to send those runs that their own experiment does not take, because it is somebody else's or was
        deleted. Runs that their experiment takes go there all the same.

    Raises
    ------
    NoExperimentName
        When `experiment` is no name.
    """
    if experiment is not None and not experiment.strip():
        raise NoExperimentName("The experiment needs a name.", "For example: mlops-lab sync --experiment my-study")
    clear_old()
    opened: TrackingServer | None = None

    def server() -> TrackingServer:
        nonlocal opened
        if opened is None:
            opened = (open_server or connection.open_server)()
        return opened

    synced: list[SyncedRun] = []
    alive = 0
    unreachable: MlopsLabError | None = None
    for folder, start in sorted(_begun(pending()), key=lambda item: item[1].time):
        if start.offline and not include_offline:
            continue
        try:
            abandoned = journal.abandoned(folder)
        except OSError as error:
            synced.append(SyncedRun(start.run_key, start.run_name, None, "failed", unforeseen(error).message))
            continue
        if not abandoned:
            alive += 1
            continue
        if unreachable is not None:
            synced.append(SyncedRun(start.run_key, start.run_name, None, "waiting", unreachable.message))
            continue
        outcome, problem = _send(folder, start, server, (experiment or "").strip())
        if outcome is not None:
            synced.append(outcome)
        unreachable = problem
    return SyncReport(synced, open=alive)


def clear_old() -> None:
    """Remove the journals of runs that a server has had in full for :data:`KEEP_DAYS`; refused entries stay."""
    limit = time.time() - KEEP_DAYS * 86400
    for folder in journal.journals().iterdir():
        position = _position(folder)
        if position.complete and not position.quarantined:
            try:
                old = (folder / journal.POSITION).stat().st_mtime < limit
            except OSError:
                continue  # another process was faster
            if old:
                shutil.rmtree(folder, ignore_errors=True)


def _send(
    folder: Path, start: Start, server: Callable[[], TrackingServer], otherwise: str
) -> tuple[SyncedRun | None, MlopsLabError | None]:
    """Project one abandoned journal; gives None where another process did it, and what keeps the next from trying."""
    projector = Projector(folder, server, otherwise)
    try:
        if not projector.claim(PATIENCE):
            return SyncedRun(start.run_key, start.run_name, None, "waiting", "Another process is sending it."), None
        if projector.position.complete:
            return None, None
        projector.last_words = _end_if_lost(folder)
        projector.push()
        went = projector.experiment or start.experiment
        sent = SyncedRun(start.run_key, start.run_name, projector.position.run_id, "sent")
        return msgspec.structs.replace(sent, experiment=went, redirected=went != start.experiment), None
    except Exception as failure:  # whatever is wrong with one journal, the next ones are sent
        error = failure if isinstance(failure, MlopsLabError) else unforeseen(failure)
        waits = isinstance(error, ConnectionProblem) and not isinstance(error, Refused)
        run_id = projector.position.run_id or None
        message = str(error) if isinstance(error, ExperimentClosed) else error.message
        if projector.position.closed:
            message = projector.position.closed
        outcome = SyncedRun(start.run_key, start.run_name, run_id, "waiting" if waits else "failed", message)
        # What is said of one experiment is no reason not to try the next run.
        return outcome, error if waits and not isinstance(error, Forbidden) else None
    finally:
        projector.release()


def _end_if_lost(folder: Path) -> list[Record]:
    """Write the end of a run that has none; give what the disk has no room for."""
    last = 0
    for record, _ in journal.read(folder):
        if isinstance(record, End):
            return []
        if isinstance(record, (Start, Metric)):
            last = max(last, record.time)
    # The end is when the journal was last written to; the clock may have jumped, so never before its last record.
    written = int((folder / journal.JOURNAL).stat().st_mtime * 1000)
    records: list[Record] = [Tag(LOST, "true"), End("KILLED", max(last, written), lost=True)]
    try:
        journal.append_for_the_dead(folder, records)
    except OSError:
        return records
    return []


def _begun(folders: list[Path]) -> list[tuple[Path, Start]]:
    begun = []
    for folder in folders:
        try:
            record, _ = next(journal.read(folder))
        except (StopIteration, OSError, MlopsLabError):
            continue  # being made at this moment, removed, or from a newer mlops_lab
        if isinstance(record, Start):
            begun.append((folder, record))
    return begun


def _position(folder: Path) -> Position:
    try:
        return msgspec.json.decode((folder / journal.POSITION).read_bytes(), type=Position)
    except (OSError, msgspec.MsgspecError):
        return Position()

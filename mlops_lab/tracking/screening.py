"""Looks through the files of a run before they may leave, in a thread of its own, on the journal's own copies.

A file is noted as staged the moment it is logged. It becomes an artifact once the guard has looked through it, changed
in place where that was needed. What a dead process left staged is looked through by the next sync, which finds the
project and the data that the run was given in a note beside the journal.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import MlopsLabError
from .errors import NotScreened
from .gate import Gate, gate_for
from .journal import folders, segments, staging
from .journal.remains import append_for_the_dead
from .model import Artifact, Record, Staged

if TYPE_CHECKING:
    from ..datasets import UsedDataset


class Origin(msgspec.Struct):
    """What a later process needs to know to look through the files of this run. It never leaves this computer."""

    folder: str
    """Where the code was started."""
    data: list[tuple[str, str]] = []
    """Dataset versions as typed, each with the folder of its repository."""


class Screening:
    """The files of one open run.

    Parameters
    ----------
    folder
        The run's folder.
    gate
        The block's gate.
    record
        Writes a record to the journal.
    say
        Tells the person something.
    """

    def __init__(self, folder: Path, gate: Gate, record: Callable[[Record], None], say: Callable[[str], None]) -> None:
        self._folder = folder
        self._gate = gate
        self._record = record
        self._say = say
        self._queue: queue.SimpleQueue[Staged | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def put(self, staged: Staged) -> None:
        """Have a file looked through that was just copied beside the journal."""
        self._record(staged)
        self._queue.put(staged)
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mlops_lab screening", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Wait for the files that are still looked through."""
        thread = self._thread
        if thread is None:
            return
        self._queue.put(None)
        while thread.is_alive():
            thread.join(0.1)  # a Ctrl-C comes between two of these
        self._thread = None

    def _work(self) -> None:
        _step_back()
        while (staged := self._queue.get()) is not None:
            try:
                record = screen(self._folder, staged, self._gate, self._say)
            except OSError as error:
                self._say(f"{staged.name} could not be looked through ({error.strerror}) and is not sent.")
                continue
            if record is not None:
                self._record(record)


def screen(folder: Path, staged: Staged, gate: Gate, say: Callable[[str], None]) -> Artifact | None:
    """Look through one file; gives the record that sends it, None where it may not leave.

    Raises
    ------
    OSError
        When the disk does not let the changed copy be written.
    """
    path = folder / staged.file
    if not path.exists():
        return None
    verdict = gate.guard.file(path, staged.name)
    gate.note(verdict.findings)
    if verdict.outcome == "block":
        staging.give_up(path, "blocked")
        say(verdict.reason)
        return None
    if verdict.outcome == "replace":
        changed = path.with_name(f".{path.name}.screened")
        try:
            os.close(os.open(changed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
            verdict.save(changed)
            os.replace(changed, path)
        except OSError:
            changed.unlink(missing_ok=True)
            raise
    return Artifact(staged.file, staged.name, staged.folder)


def note_origin(folder: Path, started: Path | None, given: list[UsedDataset]) -> None:
    """Note beside the journal what a later process needs to look through the files of this run."""
    data = [(used.version.spec, str(used.repository)) for used in given]
    origin = Origin(str(started) if started is not None else "", data)
    with contextlib.suppress(OSError):
        folders.replace(folder / folders.ORIGIN, msgspec.json.encode(origin))


def forget_origin(folder: Path) -> None:
    """Nothing of the run is left to be looked through."""
    with contextlib.suppress(OSError):
        (folder / folders.ORIGIN).unlink(missing_ok=True)


def unscreened(folder: Path) -> list[Staged]:
    """List the files of a run that nobody has looked through yet."""
    left: dict[str, Staged] = {}
    for record, _ in segments.read(folder):
        if isinstance(record, Staged):
            left[record.file] = record
        elif isinstance(record, Artifact):
            left.pop(record.file, None)
    return [staged for staged in left.values() if (folder / staged.file).exists()]


def screen_what_is_left(folder: Path) -> bool:
    """Look through the files that a dead process left; True where some may be sent now.

    Raises
    ------
    NotScreened
        When the project's policy, or the data that the run was given, cannot be read any more.
    """
    left = unscreened(folder)
    found: list[Record] = []
    if left:
        gate = _gate_of(folder)
        found = [record for staged in left if (record := screen(folder, staged, gate, lambda _: None)) is not None]
        if found and not append_for_the_dead(folder, found):
            return False  # its process lives after all, and does it itself
    forget_origin(folder)
    return bool(found)


def _gate_of(folder: Path) -> Gate:
    from .. import datasets
    from . import identifiers

    try:
        origin = msgspec.json.decode((folder / folders.ORIGIN).read_bytes(), type=Origin)
        given = [datasets.use(spec, path=place) for spec, place in origin.data]
        started = Path(origin.folder) if origin.folder else None
        return gate_for(started, identifiers.known(given))
    except (OSError, msgspec.MsgspecError, MlopsLabError) as error:
        reason = error.message if isinstance(error, MlopsLabError) else "the note about its project is gone"
        raise NotScreened(
            f"Files of this run are kept here, for they cannot be looked through for identifiers: {reason}",
            "Bring the project's folder back and send again.",
        ) from error


def _step_back() -> None:
    """Let this thread use what time of the processor nobody else wants."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)

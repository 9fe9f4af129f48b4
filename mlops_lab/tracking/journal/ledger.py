"""How far one journal has been projected: who may do it, and what is remembered of it on disk."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..model import Artifact, Position, Quarantined, Record, Staged
from . import folders
from .locks import FileLock

MOST_LISTED = 1000
"""Refused entries that are listed for one run; the others are counted, and stand in the journal."""


class Ledger:
    """The position of one journal, shared by the threads that send its figures and its files.

    It is saved after the server's answer and together with what the answer meant, so a death at any moment repeats
    at most one request, and what is sent twice is stored once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.position: Position = folders.position(folder)
        self._lock = FileLock(folder / folders.PROJECTION_LOCK)
        self._guard = threading.RLock()

    def claim(self, patience: float) -> bool:
        """Take the right to project; False when another process or thread keeps it for so many seconds."""
        limit = time.monotonic() + patience
        while not self._lock.acquire():
            if time.monotonic() >= limit:
                return False
            time.sleep(0.1)
        self.position = folders.position(self.folder)
        return True

    def release(self) -> None:
        """Let others project."""
        self._lock.release()

    @contextlib.contextmanager
    def change(self) -> Iterator[Position]:
        """Change the position; it is saved at the end, all of it or nothing."""
        with self._guard:
            yield self.position
            # A full disk must not stop the sending.
            folders.replace(self.folder / folders.POSITION, msgspec.json.encode(self.position))

    def begin_anew(self) -> None:
        """Forget what was sent: the run is to be another one on the server."""
        with self._guard:
            self.position = Position()
            with self.change():
                pass

    def await_screening(self, record: Staged) -> None:
        """Remember a file that is still to be looked through; only within :meth:`change`."""
        self.position.unscreened = [*self.position.unscreened, record]

    def queue(self, record: Artifact) -> None:
        """Put a file at the end of those that are to be uploaded; only within :meth:`change`."""
        self.position.unscreened = [other for other in self.position.unscreened if other.file != record.file]
        if record not in self.position.files:
            self.position.files = [*self.position.files, record]

    def unqueue(self, record: Artifact) -> None:
        """Take a file out of the queue; only within :meth:`change`."""
        self.position.files = [other for other in self.position.files if other is not record]

    def set_aside(self, refused: list[tuple[Record, str]]) -> None:
        """List entries that the server refuses for good, with the reasons; only within :meth:`change`."""
        if not refused:
            return
        position = self.position
        room = max(0, MOST_LISTED - position.quarantined)
        lines = b"".join(
            msgspec.json.encode(Quarantined(msgspec.to_builtins(record), reason)) + b"\n"
            for record, reason in refused[:room]
        )
        with contextlib.suppress(OSError):  # on a full disk they are counted, and stand in the journal
            fd = os.open(self.folder / folders.QUARANTINE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, position.quarantine_size)
                position.quarantine_size += os.pwrite(fd, lines, position.quarantine_size)
            finally:
                os.close(fd)
        position.quarantined += len(refused)
        # The list itself is an artifact of the run, so that whoever reads the run at the server sees it.
        self.queue(Artifact(folders.QUARANTINE, folders.QUARANTINE, "mlops_lab"))


def refused_entries(folder: Path, count: int) -> str:
    """Say how many entries of the journal in `folder` the server refused, which one first, and where they are."""
    path = folder / folders.QUARANTINE
    entries = "1 entry" if count == 1 else f"{count} entries"
    try:
        with open(path, "rb") as stream:
            first = msgspec.json.decode(stream.readline(), type=Quarantined)
    except (OSError, msgspec.MsgspecError):
        return f"The server refused {entries} of this run."
    name = first.entry.get("key") or first.entry.get("name") or first.entry["record"]
    begin = "" if count == 1 else "first "
    reason = first.reason if len(first.reason) <= 200 else f"{first.reason[:200]}…"
    return f"The server refused {entries} of this run, {begin}{first.entry['record']} {name}: {reason} Kept in {path}."

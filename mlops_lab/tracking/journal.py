"""The local journal of a run: what training produced, on disk the moment it happens. The journal is the run.

A record is one `write` on an append-only descriptor, so it outlives the process, kill -9 included; the flusher
calls :meth:`Journal.sync_to_disk` every few seconds against power cuts. Nothing here ever raises into training.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..home import home, private_folder
from .errors import JournalUnreadable, NoJournalPlace
from .locks import FileLock
from .model import SCHEMA_VERSION, Record, Start, sound

JOURNAL = "journal.jsonl"
POSITION = "position.json"
RESERVE = "reserve"
"""Room on the disk for a run's last record, given up when that is written."""
PROJECTION_LOCK = "projection.lock"
QUARANTINE = "quarantine.jsonl"
STAGED = "artifacts"

_ROOM = 1 << 16
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def journals() -> Path:
    """Give the folder that holds one folder per run."""
    return private_folder(home() / "journals")


class Journal:
    """The writing end of one run's journal.

    Attributes
    ----------
    folder
        Where the journal and the staged artifacts are.
    written
        Number of records on disk.
    lost
        Number of records that the disk refused (full, gone); they are counted, never raised.
    reason
        Why the disk refused the latest of them.
    closed
        True once the run is over; nothing is written any more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = 0
        self.lost = 0
        self.reason = ""
        self.closed = False
        self._lock = FileLock(folder / JOURNAL)
        self._torn = False
        self._staging = threading.Lock()
        self._staged = 0

    @classmethod
    def create(cls, start: Start) -> Journal:
        """Begin the journal of a new run.

        Raises
        ------
        NoJournalPlace
            When the folder cannot be made or written to.
        """
        try:
            folder = journals() / start.run_key
            folder.mkdir(mode=0o700)
            journal = cls(folder)
            while not journal._lock.acquire():
                time.sleep(0.01)  # a sync that saw the empty folder looks whether we live, for a moment
            (folder / RESERVE).write_bytes(os.urandom(_ROOM))  # nothing that a disk could store in no room
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            raise _no_place(reason) from error
        journal.append(start)
        if journal.lost:
            journal.close()
            raise _no_place(journal.reason)
        return journal

    def append(self, record: Record) -> None:
        """Write one record. Costs a few microseconds; safe from any thread."""
        self.write(encode(record))

    def append_last(self, record: Record) -> bool:
        """Write the record that ends the run, on a full disk in the room kept for it; False when even that fails."""
        lost = self.lost
        self.append(record)
        if self.lost > lost:
            _give_up_reserve(self.folder)
            self.append(record)
            if self.lost > lost + 1:
                return False
            self.lost = lost
        return True

    def write(self, line: bytes) -> None:
        """Write one encoded record, its newline included."""
        if self._torn:
            line = b"\n" + line
        try:
            count = os.write(self._lock.fd, line)
        except OSError as error:
            self._refused(error)
            return
        # A disk that fills up takes part of a line; the reader skips it, and the next line starts afresh.
        self._torn = count != len(line)
        if self._torn:
            self._refused(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        else:
            self.written += 1

    def stage(self, source: Path, name: str) -> str | None:
        """Copy `source` beside the journal and give the copy's path in the folder; None when the disk refuses."""
        target = self._target(name)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            self._refused(error)
            return None
        return str(target.relative_to(self.folder))

    def stage_text(self, text: str, name: str) -> str | None:
        """Write `text` beside the journal and give its path in the folder; None when the disk refuses."""
        target = self._target(name)
        try:
            target.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self._refused(error)
            return None
        return str(target.relative_to(self.folder))

    def sync_to_disk(self) -> None:
        """Ask the disk to keep what was written (power cuts)."""
        if self._lock.fd >= 0:
            with contextlib.suppress(OSError):  # some network disks have no fsync; the write itself was checked
                os.fsync(self._lock.fd)

    def close(self) -> None:
        """Stop writing; others may then see that the run is over."""
        self.closed = True
        self.sync_to_disk()
        _give_up_reserve(self.folder)
        self._lock.release()

    def _refused(self, error: OSError) -> None:
        self.lost += 1
        self.reason = error.strerror or type(error).__name__

    def _target(self, name: str) -> Path:
        # Each copy has its own folder, so that two artifacts of one name do not overwrite each other.
        with self._staging:
            self._staged += 1
            folder = self.folder / STAGED / f"{self._staged:04d}"
        with contextlib.suppress(OSError):  # the copy that follows fails for the same reason and is counted there
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        return folder / name


def read(folder: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Read a journal's complete records from byte `offset` on, each with the offset after it.

    A line that is not a record (torn by a full disk) is passed over. A last line without a newline is left for
    the next call: it is still being written.

    Raises
    ------
    JournalUnreadable
        When the journal's schema is newer than this mlops_lab.
    """
    with open(folder / JOURNAL, "rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                record = _decoder.decode(line)
            except msgspec.MsgspecError:
                continue
            if isinstance(record, Start) and record.schema_version > SCHEMA_VERSION:
                raise JournalUnreadable(
                    f"The journal {folder.name} was written by a newer mlops_lab.", "Update mlops_lab to send it."
                )
            yield record, offset


def encode(record: Record) -> bytes:
    """Give the line of one record."""
    try:
        return _encoder.encode(record) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_sound(msgspec.to_builtins(record))) + b"\n"


def _sound(value: Any) -> Any:
    if isinstance(value, dict):
        return {sound(key): _sound(item) for key, item in value.items()}
    return sound(value) if isinstance(value, str) else value


def _give_up_reserve(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / RESERVE).unlink(missing_ok=True)


def _no_place(reason: str | None) -> NoJournalPlace:
    try:
        place = f" in {home() / 'journals'}"
    except OSError:
        place = ""  # the reason is the folder above it
    return NoJournalPlace(
        f"The run cannot be recorded, because its journal cannot be written{place} ({reason}).",
        "Free disk space, or point MLOPS_LAB_HOME at a folder you can write to.",
    )


def abandoned(folder: Path) -> bool:
    """Tell whether no living process writes this journal any more."""
    if not (folder / JOURNAL).exists():
        return False
    lock = FileLock(folder / JOURNAL)
    if not lock.acquire():
        return False
    lock.release()
    return True


def append_for_the_dead(folder: Path, records: list[Record]) -> bool:
    """Write `records` at the end of an abandoned journal; False when its writer lives after all."""
    lock = FileLock(folder / JOURNAL)
    if not lock.acquire():
        return False
    _give_up_reserve(folder)
    try:
        # The newline ends a line that death tore; on a whole line it makes an empty one, which readers skip.
        lines = b"\n" + b"".join(encode(record) for record in records)
        if os.write(lock.fd, lines) != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        lock.release()
    return True

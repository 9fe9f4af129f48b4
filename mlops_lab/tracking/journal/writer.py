"""The local journal of a run: what training produced, on disk the moment it happens. The journal is the run.

A record is one `write` on an append-only descriptor, so it outlives the process, kill -9 included; the keeper
calls :meth:`Journal.sync_to_disk` every few seconds against power cuts. While the disk takes nothing, records wait
in memory. Nothing here ever raises into training.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from pathlib import Path

from ...home import home
from ..errors import NoJournalPlace
from ..model import Record, Resume, Start, Tag
from . import folders, quota, remains, retention, segments, thinning
from .locks import FileLock
from .segments import encode
from .staging import Staging

LOST_RECORDS = "mlops_lab.lost.records"
"""Tag with the number of records that the disk refused to the end."""
LOST_FILES = "mlops_lab.lost.files"
"""Tag with the number of files that there was no room for."""
BACKLOG = 4 << 20
"""Bytes of records that wait in memory while the disk takes none."""
LAST_PATIENCE = 5.0
"""Seconds for which the end of a run on a full disk waits for room."""
GLANCE = 0.5
"""Seconds after which who holds the lock of a journal writes it, and does not only look whether somebody does."""

_ROOM = 1 << 16
_CHUNK = 1 << 16
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while a laptop sleeps, and is not set back as the time of day is."""


class Journal:
    """The writing end of one run's journal.

    Attributes
    ----------
    folder
        Where the journal and the staged artifacts are.
    lost
        Number of records that the disk refused (full, gone) and memory had no room for; counted, never raised.
    lost_files
        Number of files that there was no room for.
    reason
        Why the disk refused the latest of all these.
    closed
        True once the run is over; nothing is written any more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lost = 0
        self.lost_files = 0
        self.reason = ""
        self.closed = False
        self._lock = FileLock(folder / folders.JOURNAL)
        self._out = self._lock
        self._turn = threading.RLock()
        self._base = 0
        self._size = 0
        self._records = 0
        self._limit = quota.LARGEST_SEGMENT
        self._tending = threading.Lock()
        self._torn = False
        self._short = False
        self._full: list[FileLock] = []
        """Segments that the keeper has to put on the disk and close."""
        self._backlog: list[bytes] = []
        self._waiting = 0
        self._unread: mmap.mmap | None = None
        self._staging = Staging(folder)
        self._began = int(time.time() * 1000)
        self._tick = time.clock_gettime_ns(_CLOCK)

    @classmethod
    def create(cls, start: Start) -> Journal:
        """Begin the journal of a new run.

        Raises
        ------
        NoJournalPlace
            When the folder cannot be made or written to.
        """
        try:
            folder = folders.journals() / start.run_key
            folder.mkdir(mode=0o700)
            journal = cls(folder)
            journal._began = start.time
            while not journal._lock.acquire():
                time.sleep(0.01)  # a sync that saw the empty folder has a glance
            journal._limit = quota.segment_size(folder)
            _reserve(folder)
            retention.set_room_aside()
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            raise _no_place(reason) from error
        journal.append(start)
        if journal._short:
            journal.close()
            raise _no_place(journal.reason)
        return journal

    @classmethod
    def reopen(cls, folder: Path) -> Journal | None:
        """Go on with a run that has ended, or whose process died; None where another process still writes it.

        Raises
        ------
        NoJournalPlace
            When the folder cannot be written to.
        """
        try:
            journal = cls(folder)
            limit = time.monotonic() + GLANCE
            while not journal._lock.acquire():
                if time.monotonic() > limit:
                    return None
                time.sleep(0.01)
            left = remains.left_off(folder)
            last = segments.listed(folder)[-1]
            journal._base, journal._size = last.base, last.path.stat().st_size
            journal._records = left.records
            journal._began = max(journal._began, left.time)
            journal._limit = quota.segment_size(folder)
            _reserve(folder)
            journal._roll(journal._base + journal._size)  # behind the last line, which may be torn
        except OSError as error:
            raise _no_place(_reason(error)) from error
        journal.append(Resume(journal.now()))
        if journal._out is journal._lock or journal._short:
            journal.close()
            raise _no_place(journal.reason)
        return journal

    @property
    def written(self) -> int:
        """Number of records on disk."""
        return self._records - folders.thinned(self.folder).points

    def now(self) -> int:
        """Give the time of a record: milliseconds since 1970, by a clock that nobody sets back during the run."""
        return self._began + (time.clock_gettime_ns(_CLOCK) - self._tick) // 1_000_000

    def append(self, record: Record) -> None:
        """Write one record. Costs a few microseconds; safe from any thread."""
        self.write(encode(record))

    def append_last(self, record: Record) -> bool:
        """Write the record that ends the run, on a full disk in the room kept for it; False when even that fails."""
        last = encode(record)
        with self._tending, self._turn:
            if not self._flush() and not self._make_room():
                _give_up_reserve(self.folder)
                self._backlog, given_up = thinning.squeeze(self._backlog, _ROOM // 2)
                self.lost += given_up
                self._flush()
            if self.lost or self._short:
                # What still waits is not written any more: it would come after the end.
                self.lost, self._backlog, self._waiting = self.lost + len(self._backlog), [], 0
                last = encode(Tag(LOST_RECORDS, str(self.lost))) + last
            if self.lost_files:
                last = encode(Tag(LOST_FILES, str(self.lost_files))) + last
            self._short = self._put(last) is not None
            return not self._short

    def write(self, line: bytes) -> None:
        """Write one encoded record, its newline included."""
        if self._out.fd < 0:  # closed, or a forked child, in which the lock below may be held for ever
            self.lost += 1
            return
        with self._turn:
            if not self._short:
                error = self._put(line)
                if error is None:
                    return
                self._short, self.reason = True, _reason(error)
            if self._waiting + len(line) > BACKLOG:
                self.lost += 1
            else:
                self._backlog.append(line)
                self._waiting += len(line)

    def stage(self, source: Path, name: str) -> str | None:
        """Copy `source` beside the journal and give the copy's path in the folder; None when there is no room."""
        try:
            retention.room_for(source.stat().st_size)
            return self._staging.copy(source, name)
        except OSError as error:
            self._refused(error)
            return None

    def stage_text(self, text: str, name: str) -> str | None:
        """Write `text` beside the journal and give its path in the folder; None when the disk refuses."""
        try:
            return self._staging.write(text, name)
        except OSError as error:
            self._refused(error)
            return None

    def note_unread(self, count: int) -> None:
        """Note how many values are still on a device; a kill -9 loses them, and this number outlives it."""
        if self._unread is None:
            self._unread = _shared_number(self.folder / folders.UNREAD)
        self._unread[:8] = count.to_bytes(8, "little")

    def look_after(self) -> None:
        """Write what waits in memory, where the disk takes it again, and begin a new segment where one is full.

        The keeper calls it, in its own thread: a Ctrl-C must not come in between. The training thread waits for it a
        fraction of a millisecond at most.
        """
        if not (self._short or self._full or self._size >= self._limit):
            return
        with self._tending:
            if self._short and not self.closed:
                with self._turn:
                    self._flush()
                    waiting, self._backlog = self._backlog, []
                # Half of the room in memory stays free for what comes. Records go on to wait behind these meanwhile.
                kept, given_up = thinning.squeeze(waiting, BACKLOG // 2)
                with self._turn:
                    self.lost += given_up
                    self._backlog = kept + self._backlog
                    self._waiting = sum(map(len, self._backlog))
            if self._size >= self._limit:
                self._roll()
        while self._full:
            full = self._full.pop()
            with contextlib.suppress(OSError):
                os.fsync(full.fd)
            full.release()

    def troubles(self) -> list[str]:
        """Say what the disk has cost this run so far, for the person at the screen."""
        said = []
        lost = [quota.counted(self.lost, "record"), quota.counted(self.lost_files, "file")]
        if any(lost):
            said.append(f"{' and '.join(filter(None, lost))} lost, which could not be written: {self.reason}.")
        if self._backlog:
            said.append(
                f"The disk takes nothing ({self.reason}): {quota.counted(len(self._backlog), 'record')} in memory "
                "that a kernel which dies now loses. Free some space."
            )
        given_up = folders.thinned(self.folder)
        if given_up:
            said.append(retention.sentence(given_up))
        return said

    def sync_to_disk(self) -> None:
        """Ask the disk to keep what was written (power cuts)."""
        if self._out.fd >= 0:
            with contextlib.suppress(OSError):  # some network disks have no fsync; the write itself was checked
                os.fsync(self._out.fd)

    def close(self) -> None:
        """Stop writing; others may then see that the run is over."""
        self.closed = True
        with self._tending, self._turn:
            self._flush()
            self.lost, self._backlog, self._waiting = self.lost + len(self._backlog), [], 0
            self.sync_to_disk()
            _give_up_reserve(self.folder)
            for held in (*self._full, self._out, self._lock):
                held.release()

    def _put(self, data: bytes, lines: int = 1) -> OSError | None:
        """Write so many whole lines. Of one that a full disk tears the reader sees nothing; the next starts afresh."""
        try:
            count = os.write(self._out.fd, b"\n" + data if self._torn else data)
        except OSError as error:
            return error
        self._size += count
        if count == len(data) + self._torn:
            self._torn = False
            self._records += lines
            return None
        self._torn = self._torn or count > 0
        return folders.no_room()

    def _flush(self) -> bool:
        """Write what waits in memory, oldest first; True when nothing waits any more."""
        while self._short and self._out.fd >= 0:
            chunk, size = 0, 0
            while chunk < len(self._backlog) and (chunk == 0 or size + len(self._backlog[chunk]) <= _CHUNK):
                size += len(self._backlog[chunk])
                chunk += 1
            if chunk == 0:
                self._short = False
                break
            lines, before, torn = self._backlog[:chunk], self._size, self._torn
            error = self._put(b"".join(lines), chunk)
            if error is None:
                del self._backlog[:chunk]
                continue
            self.reason = _reason(error)
            whole = _whole_lines(lines, self._size - before - torn)
            self._records += whole
            del self._backlog[:whole]
            break
        self._waiting = sum(map(len, self._backlog))
        return not self._short

    def _make_room(self) -> bool:
        """Thin what is on the disk for what is not, now that nobody trains any more; True when nothing waits."""
        limit = time.monotonic() + LAST_PATIENCE
        with contextlib.suppress(OSError):
            while not retention.free_up(self._waiting) and time.monotonic() < limit:
                time.sleep(0.1)  # another process is at it
        return self._flush()

    def _roll(self, base: int | None = None) -> None:
        """Begin a new segment, at `base` where the descriptor that we have is not that of the last one."""
        with self._turn:
            if self._torn or self._short or self.closed or self._out.fd < 0:
                return
            # Not our own count: a Ctrl-C may have come between a write and that.
            base = self._base + os.fstat(self._out.fd).st_size if base is None else base
            following = FileLock(segments.path_of(self.folder, base))
            try:
                if not following.acquire():
                    return
            except OSError:
                return  # the segment that we have grows on
            full, self._out, self._base, self._size = self._out, following, base, 0
            if full is not self._lock:  # that one tells others that we live
                self._full.append(full)

    def _refused(self, error: OSError) -> None:
        self.lost_files += 1
        self.reason = _reason(error)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _whole_lines(lines: list[bytes], size: int) -> int:
    """Count the lines that the first `size` bytes of them hold in full."""
    for number, line in enumerate(lines):
        size -= len(line)
        if size < 0:
            return number
    return len(lines)


def _shared_number(path: Path) -> mmap.mmap:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, bytes(8))
            return mmap.mmap(fd, 8)
        finally:
            os.close(fd)
    except OSError:
        return mmap.mmap(-1, 8)  # a disk without room; the count then dies with the process


def _reserve(folder: Path) -> None:
    fd = os.open(folder / folders.RESERVE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, os.urandom(_ROOM))  # nothing that a disk could store in no room
    finally:
        os.close(fd)


def _give_up_reserve(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / folders.RESERVE).unlink(missing_ok=True)


def _no_place(reason: str | None) -> NoJournalPlace:
    try:
        place = f" in {home() / 'journals'}"
    except OSError:
        place = ""  # the reason is the folder above it
    return NoJournalPlace(
        f"The run cannot be recorded, because its journal cannot be written{place} ({reason}).",
        "Free disk space, or point MLOPS_LAB_HOME at a folder you can write to.",
    )

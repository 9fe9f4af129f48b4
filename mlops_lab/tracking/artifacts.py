"""The files of an open run: copied beside the journal when they are logged, looked through, and then free to leave.

A file is noted as staged the moment it is logged, and becomes an artifact once a thread of its own has looked through
the copy, which is changed in place where that is needed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import screening
from .gate import DOCUMENT, Gate
from .journal import staging
from .journal.writer import Journal
from .model import Artifact, Record, Staged, sound

RESTS = 20
"""How much longer a rest is than the work before it, while the block is open."""
LONGEST_REST = 3.0
SHORTEST = 0.001
"""Seconds of work after which it rests."""


class Artifacts:
    """The files of one run.

    Parameters
    ----------
    journal, gate
        Of the run.
    record
        Writes a record to the journal.
    say
        Tells the person something.
    """

    def __init__(
        self, journal: Journal, gate: Gate, record: Callable[[Record], None], say: Callable[[str], None]
    ) -> None:
        self._journal = journal
        self._gate = gate
        self._record = record
        self._say = say
        self._queue: queue.SimpleQueue[Staged | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._hurry = threading.Event()
        self._spent = 0.0

    def log(self, source: Path, folder: str) -> None:
        """Copy a file, or a folder with all it holds under its own name, and have it sent into `folder`."""
        if not source.is_dir():
            self._log_file(source, folder)
            return
        top = f"{folder}/{source.name}" if folder else source.name
        for file in sorted(source.rglob("*")):
            if file.is_file():
                inside = file.parent.relative_to(source).as_posix()
                self._log_file(file, top if inside == "." else f"{top}/{inside}")

    def log_text(self, text: str, name: str) -> None:
        """Have `text` sent as the file `name`, its folder included."""
        folder, _, leaf = sound(name).rpartition("/")
        leaf, folder = self._place(leaf, folder)
        staged = self._journal.stage_text(text, leaf) if leaf else None
        if staged is not None:
            self.put(Staged(staged, leaf, folder))

    def put(self, staged: Staged) -> None:
        """Have a file looked through that lies beside the journal already, and sent then."""
        screened = self._gate.record(staged)
        if not isinstance(screened, Staged):
            staging.give_up(self._journal.folder / staged.file, "blocked")
            return
        self._record(screened)
        self._queue.put(screened)
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mlops_lab screening", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Wait until every file was looked through, and add the list of what was found in the run."""
        thread = self._thread
        if thread is not None:
            self._hurry.set()
            self._queue.put(None)
            while thread.is_alive():
                thread.join(0.1)  # a Ctrl-C comes between two of these
            self._thread = None
            self._hurry.clear()
        if self._gate.findings:
            folder, _, name = DOCUMENT.rpartition("/")
            staged = self._journal.stage_text(self._gate.document(), name)
            if staged is not None:
                self._record(Artifact(staged, name, folder))
        screening.forget_origin(self._journal.folder)

    def _log_file(self, source: Path, folder: str) -> None:
        name, folder = self._place(sound(source.name), sound(folder))
        staged = self._journal.stage(source, name) if name else None
        if staged is not None:
            self.put(Staged(staged, name, folder))

    def _place(self, name: str, folder: str) -> tuple[str, str]:
        """Give name and folder of a file as they may be recorded; an empty name where they may not."""
        placed = self._gate.path(folder)
        return (self._gate.name(name), placed) if placed or not folder else ("", "")

    def _work(self) -> None:
        _step_back()
        while (staged := self._queue.get()) is not None:
            try:
                record = screening.screen(self._journal.folder, staged, self._gate, self._say, self._rest)
            except OSError as error:
                self._say(f"{staged.name} could not be looked through ({error.strerror}) and is not sent.")
                continue
            if record is not None and not self._journal.closed:
                self._record(record)  # else the wait was given up, and a sync does it again

    def _rest(self) -> None:
        """Leave the interpreter to the training for much longer than it was held; nobody rests while somebody waits."""
        spent = time.thread_time() - self._spent
        if spent > SHORTEST:
            self._hurry.wait(min(LONGEST_REST, RESTS * spent))
        self._spent = time.thread_time()


def _step_back() -> None:
    """Let this thread use what time of the processor nobody else wants."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)

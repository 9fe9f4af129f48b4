"""Files that a run wants to keep while their paths are written over again and again, without copying each of them.

What a snapshot costs the thread that takes it: a fraction of a millisecond, a few for 100 MB. It is a clone that shares
the file's blocks (Btrfs, XFS), else a hard link, else (another file system than the journals') an open descriptor
from which a thread of ours copies. A link or a descriptor keeps the old content only if the path is unlinked before it
is written again, which :meth:`Shelf.let_go` does. What has stood for two rounds of saving, or is wanted when the run
ends, is copied for good by that thread, about a second per GB, so that what others do with the path cannot reach it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from .checkpoints import PLACE, STATE, Index, sha256_of
from .clones import clone

SETTLED = 10.0
"""Seconds that a snapshot has to stand at least before it is copied for good."""

LARGE = 16 << 20
"""Bytes from which on a file is removed by another thread: freeing its blocks takes a while."""

_PIECE = 1 << 20


@dataclass(eq=False)
class Snapshot:
    """One file as it was at one moment."""

    path: Path
    """Where it was saved."""
    file: Path
    """Where its content is kept."""
    how: Literal["clone", "link", "copy"]
    inode: tuple[int, int]
    size: int
    modified: int
    """Nanoseconds since 1970."""
    facts: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    descriptor: int = -1
    taken: float = field(default_factory=time.monotonic)
    dropped: bool = False

    @property
    def own(self) -> bool:
        """Is the content ours alone?"""
        return self.how == "clone" or (self.how == "copy" and self.descriptor < 0)


class Shelf:
    """The snapshots of one run. Safe from any thread.

    Parameters
    ----------
    folder
        The run's folder.
    room
        Raises OSError where there is no room for so many bytes more.
    complain
        Takes a sentence for the user.
    """

    def __init__(self, folder: Path, room: Callable[[int], None], complain: Callable[[str], None]) -> None:
        self._top = folder / PLACE
        self._room = room
        self._complain = complain
        self._turn = threading.RLock()
        self._count = max((int(path.stem) for path in self._top.glob("[0-9]*") if path.stem.isdecimal()), default=0)
        """Number of the latest snapshot; those of a part of the run that was resumed come before."""
        self._held: dict[tuple[int, int], Snapshot] = {}
        """Snapshots that share their content with the path they were taken from."""
        self._cannot_clone: set[int] = set()
        """Devices whose files cannot be cloned here."""
        self._settling: list[Snapshot] = []
        self._rubbish: list[Path] = []
        self._taken = 0.0
        self._round = 0.0
        """Seconds between the last two snapshots."""
        self._wake = threading.Event()
        self._stopping = False
        self._state = -1
        self._thread: threading.Thread | None = None

    def take(self, path: Path) -> Snapshot | None:
        """Keep the file at `path` as it is now; None where it is no file, or there is no way."""
        with self._turn:
            real = Path(os.path.realpath(path))
            facts = os.stat(real)
            if not stat.S_ISREG(facts.st_mode):
                return None
            inode = (facts.st_dev, facts.st_ino)
            known = self._held.get(inode)
            if known is not None and (known.size, known.modified) == (facts.st_size, facts.st_mtime_ns):
                return None  # it has been taken: one saver calls another
            self._count += 1
            if not self._taken:
                self._top.mkdir(mode=0o700, exist_ok=True)
            file = self._top / str(self._count)
            snapshot = Snapshot(path, file, "link", inode, facts.st_size, facts.st_mtime_ns)
            self._keep(snapshot, real)
            self._round = snapshot.taken - self._taken if self._taken else 0.0
            self._taken = snapshot.taken
            return snapshot

    def let_go(self, path: Path) -> int | None:
        """Make sure that writing to `path` changes no snapshot; gives the mode that the file had where it is new then.

        The path is unlinked where it leads to content that we hold, so the writer makes a new file.
        """
        with self._turn:
            try:
                real = os.path.realpath(path)
                facts = os.stat(real)
            except OSError:
                return None  # there is nothing yet
            snapshot = self._held.get((facts.st_dev, facts.st_ino))
            if snapshot is None:
                return None
            # Another name of the user's for the same file is meant to see what is written.
            if facts.st_nlink <= (2 if snapshot.how == "link" else 1):
                with contextlib.suppress(OSError):
                    os.unlink(real)
                    self._held.pop(snapshot.inode, None)
                    return stat.S_IMODE(facts.st_mode)
            self._make_own(snapshot)
            return None

    def drop(self, snapshot: Snapshot) -> None:
        """Give a snapshot up."""
        with self._turn:
            snapshot.dropped = True
            self._forget(snapshot)
            if snapshot.size < LARGE or self._stopping:
                _unlink(snapshot.file)
            else:
                self._rubbish.append(snapshot.file)
                self._begin()
                self._wake.set()

    def note(self, index: Index) -> None:
        """Write down what is kept now, so that it is known should the process die."""
        with self._turn, contextlib.suppress(OSError):
            if self._state < 0:
                self._state = os.open(self._top / STATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            line = msgspec.json.encode(index) + b"\n"
            os.ftruncate(self._state, os.pwrite(self._state, line, 0))

    def settle(self, snapshots: list[Snapshot]) -> None:
        """Have these copied for good once no newer snapshot has been taken for a while."""
        with self._turn:
            self._settling = [snapshot for snapshot in snapshots if not (snapshot.own and snapshot.sha256)]
            if self._settling:
                self._begin()
            # Waking a thread costs the caller more than all the rest; links may wait for the next round.
            if any(snapshot.descriptor >= 0 for snapshot in self._settling):
                self._wake.set()

    def finish(self, snapshots: list[Snapshot]) -> list[Snapshot]:
        """Copy for good what is not yet; gives the snapshots of which the content is still what was saved."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        kept = [snapshot for snapshot in snapshots if self._make_own(snapshot, digest=True)]
        with self._turn:
            for snapshot in snapshots:
                if snapshot not in kept:
                    self.drop(snapshot)
            state, self._state = self._state, -1
            if state >= 0:
                os.close(state)
        return kept

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlops_lab checkpoints", daemon=True)
            self._thread.start()

    def _keep(self, snapshot: Snapshot, real: Path) -> None:
        device = snapshot.inode[0]
        if device not in self._cannot_clone:
            if clone(real, snapshot.file):
                snapshot.how = "clone"
                return
            self._cannot_clone.add(device)
        try:
            os.link(real, snapshot.file)
        except OSError:
            snapshot.how, snapshot.descriptor = "copy", os.open(real, os.O_RDONLY | os.O_CLOEXEC)
        self._held[snapshot.inode] = snapshot

    def _forget(self, snapshot: Snapshot) -> None:
        if self._held.get(snapshot.inode) is snapshot:
            del self._held[snapshot.inode]
        descriptor, snapshot.descriptor = snapshot.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _make_own(self, snapshot: Snapshot, digest: bool = False) -> bool:
        """See to it that the content is ours alone; False where it was changed meanwhile, or there is no room."""
        try:
            if (snapshot.how == "link" and os.stat(snapshot.file).st_nlink > 1) or snapshot.descriptor >= 0:
                self._copy(snapshot)
            elif digest and not snapshot.sha256 and not snapshot.dropped:
                snapshot.sha256 = sha256_of(snapshot.file)
            if snapshot.dropped:
                return False
            facts = os.stat(snapshot.file)
            if (facts.st_size, facts.st_mtime_ns) == (snapshot.size, snapshot.modified):
                return True
            self._complain(f"The checkpoint {snapshot.path.name} was changed after it was saved, so it is not kept.")
        except OSError as error:
            if not snapshot.dropped:
                self._complain(
                    f"The checkpoint {snapshot.path.name} is not kept, because it could not be copied "
                    f"({error.strerror or type(error).__name__})."
                )
        return False

    def _copy(self, snapshot: Snapshot) -> None:
        self._room(snapshot.size)
        with self._turn:
            if snapshot.dropped:
                return
            linked = snapshot.descriptor < 0
            source = os.open(snapshot.file, os.O_RDONLY | os.O_CLOEXEC) if linked else os.dup(snapshot.descriptor)
        # Two threads may be at it; each has a file of its own.
        target, partial = tempfile.mkstemp(dir=self._top, suffix=".partial")
        try:
            with open(source, "rb") as here, open(target, "wb") as there:
                here.seek(0)
                sha256 = _flow(here, there, lambda: snapshot.dropped)
                facts = os.fstat(here.fileno())
            os.utime(partial, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
            with self._turn:
                if not snapshot.dropped:
                    os.replace(partial, snapshot.file)
                    snapshot.how, snapshot.sha256 = "copy", sha256
                    self._forget(snapshot)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)

    def _work(self) -> None:
        while not self._stopping or self._rubbish:
            self._wake.clear()
            while self._rubbish:
                _unlink(self._rubbish.pop())
            with self._turn:
                waiting = [snapshot for snapshot in self._settling if not snapshot.dropped]
                # A descriptor does not outlive the process, so its copy waits for nothing.
                ready = [snapshot for snapshot in waiting if snapshot.descriptor >= 0 or self._has_stood(snapshot)]
                if ready:
                    self._settling.remove(ready[0])
            if ready and not self._stopping:
                self._make_own(ready[0], digest=True)
            elif not self._stopping:
                self._wake.wait(SETTLED / 2)

    def _has_stood(self, snapshot: Snapshot) -> bool:
        return time.monotonic() - snapshot.taken >= max(SETTLED, 2 * self._round)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _flow(source: Any, target: Any, given_up: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        if given_up():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()

"""What lies where: the folder of all journals, and the files in the folder of one run."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from ...home import home, private_folder
from ..model import Position, Thinned

JOURNAL = "journal.jsonl"
"""The first segment of the journal, and the lock that tells that its writer lives."""
POSITION = "position.json"
PROJECTION_LOCK = "projection.lock"
QUARANTINE = "refused.jsonl"
"""Entries that the server refused, one per line with the reason; it is an artifact of the run as well."""
STAGED = "artifacts"
RESERVE = "reserve"
"""Room on the disk for a run's last record, given up when that is written."""
ORIGIN = "origin.json"
"""Whose project the run is of, as long as files of it are still to be looked through; see :mod:`..screening`."""
UNREAD = "unread"
"""How many values were still on a device, kept in shared memory so that it outlives the process."""
PARTIAL = ".partial"
"""Ending of a file that is being written; it takes its name once it is whole."""
THINNED = "thinned.json"
"""What was given up of this run for want of room."""


def journals() -> Path:
    """Give the folder that holds one folder per run."""
    return private_folder(home() / "journals")


def position(folder: Path) -> Position:
    """Read how far the journal in `folder` has been projected.

    Without a readable position it is sent from its beginning again: what is sent twice is stored once.
    """
    try:
        return msgspec.json.decode((folder / POSITION).read_bytes(), type=Position)
    except (OSError, msgspec.MsgspecError):
        return Position()


def thinned(folder: Path) -> Thinned:
    """Read what was given up of the run in `folder`."""
    try:
        return msgspec.json.decode((folder / THINNED).read_bytes(), type=Thinned)
    except (OSError, msgspec.MsgspecError):
        return Thinned()


def replace(path: Path, content: bytes) -> bool:
    """Write a small file whole or not at all; False when the disk refuses."""
    partial = path.with_suffix(PARTIAL)
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, content) != len(content):
                raise no_room()
        finally:
            os.close(fd)
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        return False
    return True


def no_room() -> OSError:
    """Make the error of a disk that took only a part of what was written."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

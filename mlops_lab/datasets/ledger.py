"""What was verified stays verified: a record of which inodes were hashed, and how they looked then.

A file is believed only while device, inode, size, mtime and ctime are those of the moment it was hashed. mtime alone
can be set by anyone who changes the bytes; ctime cannot. The record lies in the user's own folder, not beside a shared
cache, so that nobody else can vouch for bytes in our name.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from ..home import home, private_folder

_CHUNK = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS proofs (
    device INTEGER, inode INTEGER, hash TEXT, size INTEGER, mtime INTEGER, ctime INTEGER,
    PRIMARY KEY (device, inode)
) WITHOUT ROWID
"""

Claim = tuple[os.stat_result, str]
"""A file's stat and the hash that it is said to have."""


def hash_name(md5: str, legacy: bool) -> str:
    """Name a hash so that one of DVC 2's is never taken for one of DVC 3's."""
    return f"md5-dos2unix:{md5}" if legacy else f"md5:{md5}"


class Ledger:
    """The record on disk. Where it cannot be kept, everything is simply hashed again: slower, never less sure."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def proves(self, claims: Sequence[Claim]) -> list[bool]:
        """Tell for each claim whether it was verified and the file has not been touched since."""
        known: dict[tuple[int, int], tuple[str, int, int, int]] = {}
        inodes: dict[int, list[int]] = {}
        for stat, _ in claims:
            inodes.setdefault(_signed(stat.st_dev), []).append(_signed(stat.st_ino))
        with suppress(sqlite3.Error, OSError), closing(self._open()) as connection:
            for device, numbers in inodes.items():
                for start in range(0, len(numbers), _CHUNK):
                    some = numbers[start : start + _CHUNK]
                    marks = ",".join("?" * len(some))
                    query = f"SELECT * FROM proofs WHERE device = ? AND inode IN ({marks})"
                    for row in connection.execute(query, (device, *some)):
                        known[row[0], row[1]] = row[2:]
        return [
            known.get((_signed(stat.st_dev), _signed(stat.st_ino)))
            == (claim, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            for stat, claim in claims
        ]

    def note(self, claims: Iterable[Claim]) -> None:
        """Record claims that were just verified."""
        rows = [
            (_signed(s.st_dev), _signed(s.st_ino), claim, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
            for s, claim in claims
        ]
        with suppress(sqlite3.Error, OSError), closing(self._open()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO proofs VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        if self._file is None:
            self._file = private_folder(home() / "datasets") / "verified.sqlite"
        if not self._file.exists():
            os.close(os.open(self._file, os.O_CREAT | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(self._file, timeout=5)
        # Losing the newest rows in a power cut costs a second hashing, nothing else.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_SCHEMA)
        return connection


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number

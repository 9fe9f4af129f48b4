"""Looks whether the journals have room while a block is open, and has it made where training does not feel it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import quota, retention

LONGEST_PAUSE = 120.0
"""Seconds between two attempts to make room where they do not help."""


class Watch:
    """Looks whether there is room, and has it made by a process of its own. For the keeper of an open run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reserve = quota.reserve_of(folder)
        self._child: subprocess.Popen[bytes] | None = None
        self._next_look = time.monotonic() + retention.CHECK_EVERY
        self._not_before = 0.0
        self._pause = 0.5

    def look(self) -> None:
        """Look once; costs some microseconds but for the full look every :data:`.retention.CHECK_EVERY` seconds."""
        now = time.monotonic()
        if self._child is not None:
            if self._child.poll() is None:
                return
            # Where it did not help (the disk is full of other things), it is tried ever less often.
            self._child, self._pause = None, min(self._pause * 2, LONGEST_PAUSE)
            self._not_before = now + self._pause
        full = shutil.disk_usage(self._folder).free < self._reserve
        if not full:
            self._pause, self._not_before = 0.5, 0.0
        if now < self._not_before:
            return
        if not full and now >= self._next_look:
            self._next_look = now + retention.CHECK_EVERY
            full = retention.short()
        if not full:
            return
        if sys.executable:
            command = [sys.executable, "-P", "-m", "mlops_lab.tracking.journal.retention"]
            null = subprocess.DEVNULL
            self._child = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
        else:
            retention.free_up()

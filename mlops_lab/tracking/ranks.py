"""Which process of a distributed training records: the first. The others have a run that records nowhere.

So a script that opens a block makes one run under torchrun, Lightning's launcher or Slurm, not one per process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import screen
from .interrupts import Shield
from .journal.writer import Journal
from .model import EndStatus, Record, Start
from .options import TrackOptions
from .run import Run

_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
"""Variables by which launchers number their processes; only the first process has none above 0."""


def records() -> bool:
    """Tell whether this process is the one that records: rank 0 of its group, or alone.

    PyTorch's process group knows best; without one the variables of the launchers tell.
    """
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()) == 0
    # Without an address to meet at the tasks of a Slurm job need not belong together.
    names = (*_RANKS, "SLURM_PROCID") if "MASTER_ADDR" in os.environ else _RANKS
    return not any(_above_zero(os.environ.get(name, "")) for name in names)


class Silent:
    """What stands behind a block of a process that does not record; see :class:`.recording.Recording`."""

    def __init__(self, start: Start, options: TrackOptions) -> None:
        self.run = Run(_Nowhere(), start, None, options, None)
        self.screen: screen.Screen = screen.Nothing()

    def connect(self) -> None:
        """There is nothing to send."""

    def keep(self, look: Callable[[], None]) -> None:
        """There is nothing to look after."""

    def abandon(self) -> None:
        """There is nothing to take back."""

    def end(self, status: EndStatus, shield: Shield, release: Callable[[], Any]) -> None:
        """Only give back what others hold of the run."""
        shield.wait(release)


class _Nowhere(Journal):
    """The journal of a process that does not record."""

    def __init__(self) -> None:
        self.folder = Path(os.devnull)
        self.lost = 0
        self.reason = ""
        self.closed = False

    @property
    def written(self) -> int:
        return 0

    def now(self) -> int:
        return int(time.time() * 1000)

    def append(self, record: Record) -> None:
        pass

    def append_last(self, record: Record) -> bool:
        return True

    def write(self, line: bytes) -> None:
        pass

    def stage(self, source: Path, name: str) -> str | None:
        return None

    def stage_text(self, text: str, name: str) -> str | None:
        return None

    def note_unread(self, count: int) -> None:
        pass

    def look_after(self) -> None:
        pass

    def troubles(self) -> list[str]:
        return []

    def sync_to_disk(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def _above_zero(text: str) -> bool:
    try:
        return int(text) > 0
    except ValueError:
        return False

"""Knowing a process again: by its pid and the moment it began, so that a recycled pid is never taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

_children: dict[int, subprocess.Popen[bytes]] = {}
_children_lock = threading.Lock()


class Known(msgspec.Struct, frozen=True):
    """One process, named beyond doubt."""

    pid: int
    birth: str
    """When it began, in a form that only equality is asked of."""


def know(pid: int) -> Known | None:
    """Identify the living process `pid`; None when there is none (a zombie counts as dead)."""
    birth = _birth(pid)
    return None if birth is None else Known(pid, birth)


def alive(known: Known) -> bool:
    """Tell whether that very process still runs."""
    reap()
    return _birth(known.pid) == known.birth


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Remember a child of ours, so that it is reaped when it ends and never looks alive as a zombie."""
    with _children_lock:
        _children[child.pid] = child


def reap() -> None:
    """Collect children that ended."""
    with _children_lock:
        for pid, child in list(_children.items()):
            if child.poll() is not None:
                del _children[pid]


def same_boot(known: Known) -> bool:
    """Tell whether `known` was born since this machine last started (True where the system does not say)."""
    boot, separator, _ = known.birth.partition("/")
    return not separator or boot == _boot()


def descendants(pid: int) -> list[Known]:
    """Identify the children of `pid` and theirs."""
    import psutil  # type: ignore[import-untyped]

    try:
        found = [know(child.pid) for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
    return [known for known in found if known is not None]


def end_group(group: int, members: Sequence[Known], patience: float = 10.0) -> bool:
    """End the process group `group`: TERM, and KILL after `patience` seconds. Give whether all of it is gone.

    The group is signalled only while one of `members` is alive in it, which proves that the number is still theirs.
    """
    for sign, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        if not _ours(group, members):
            return True
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if not _exists(group):
                return True
            time.sleep(0.05)
    return not _exists(group)


def _ours(group: int, members: Sequence[Known]) -> bool:
    for known in members:
        try:
            if alive(known) and os.getpgid(known.pid) == group:
                return True
        except ProcessLookupError:
            continue
    return False


def _exists(group: int) -> bool:
    reap()
    if sys.platform == "linux":
        # Where process 1 does not collect the dead, as in many containers, a killed group stays as zombies.
        return any(_is_member(entry, group) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so for a group that holds only zombies.
        return False
    return True


def _is_member(entry: Path, group: int) -> bool:
    fields = _stat(entry)
    return fields is not None and int(fields[2]) == group


def _stat(entry: Path) -> list[str] | None:
    """Read what Linux says of a living process, from its state on; None for a dead one."""
    try:
        text = (entry / "stat").read_text("ascii", "replace")
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields


def _birth(pid: int) -> str | None:
    if sys.platform == "linux":
        fields = _stat(Path(f"/proc/{pid}"))
        # Ticks since boot, unlike a wall-clock time, do not move when the clock is set.
        return None if fields is None else f"{_boot()}/{fields[19]}"
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.Error:
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""

"""How much memory the Binder demo takes: the proportional set sizes of all its processes, sampled while it is used."""

from __future__ import annotations

import os
import threading
from pathlib import Path

INTERVAL = 0.5
"""Seconds between two samples."""


def processes_of(home: Path) -> list[int]:
    """List the processes whose HOME is `home`: all that the demo has started, however deep."""
    mark = b"\0HOME=" + os.fsencode(home) + b"\0"
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark in b"\0" + (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def pss(pid: int) -> int:
    """Give a process's proportional set size in bytes: pages that it shares count in parts. 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def name_of(pid: int) -> str:
    """Say which part of the demo a process is."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "gone"
    for words, name in (
        ("jupyter-lab", "JupyterLab"),
        ("ipykernel", "kernel"),
        ("mlflow", "MLflow server"),
        ("uvicorn", "MLflow server"),
        ("multiprocessing", "MLflow server"),
        ("mlops-lab", "mlops-lab command"),
    ):
        if words in command:
            return name
    return command[:60]


class MemoryWatch(threading.Thread):
    """Samples in the background; afterwards `peak` is the largest sum seen, and `parts` what it was made of."""

    def __init__(self, home: Path) -> None:
        super().__init__(name="memory-watch", daemon=True)
        self.home = home
        self.peak = 0
        self.parts: dict[str, int] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._ended.wait(INTERVAL):
            parts: dict[str, int] = {}
            for pid in processes_of(self.home):
                name = name_of(pid)
                parts[name] = parts.get(name, 0) + pss(pid)
            if sum(parts.values()) > self.peak:
                self.peak, self.parts = sum(parts.values()), parts

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        self.join()

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sorted(self.parts.items()))
        return f"{self.peak / 1e6:.0f} MB ({shares})"

"""What the engine knows between two of its commands: ports, processes, results of one-shot jobs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlops_lab.connection import process


@dataclass
class Running:
    """One service as it was last started."""

    pid: int
    birth: str
    digest: str
    """Of its command and environment: a service that differs is started anew."""
    exit_code: int | None = None
    """Of a one-shot job."""

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return self.exit_code is None and process.alive(process.Known(self.pid, self.birth))


@dataclass
class State:
    """All of it, kept in one file of the server's folder."""

    folder: Path
    temporary: Path | None = None
    """Home of what lives in memory in a container; there while anything runs."""
    ports: dict[str, int] = field(default_factory=dict)
    services: dict[str, Running] = field(default_factory=dict)
    watchdog: Running | None = None

    def log(self, service: str) -> Path:
        """Give the file that holds what a service said."""
        return self.folder / f"{service}.log"

    def save(self) -> None:
        """Write the file, whole or not at all."""
        known: dict[str, Any] = {
            "temporary": str(self.temporary) if self.temporary else None,
            "ports": self.ports,
            "services": {name: asdict(one) for name, one in self.services.items()},
            "watchdog": asdict(self.watchdog) if self.watchdog else None,
        }
        new = self.folder / f"state.{os.getpid()}"
        new.write_text(json.dumps(known, indent=1))
        new.replace(self.folder / "state.json")

    def forget(self) -> None:
        """Remove everything that lived in memory in a container."""
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary = None
        self.services.clear()

    def home(self, name: str) -> Path:
        """Give a service's folder for what lives in memory in a container."""
        if self.temporary is None or not self.temporary.exists():
            # A socket's path may have 107 characters at most, so this is not below the server's folder.
            self.temporary = Path(tempfile.mkdtemp(prefix="mlops-native-"))
        return self.temporary / name


def read_state(project_folder: Path) -> State:
    """Read what is known about the server in `project_folder`."""
    folder = project_folder / ".native"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / "state.json"
    if not file.exists():
        return State(folder)
    known = json.loads(file.read_text())
    watchdog = known["watchdog"]
    return State(
        folder,
        Path(known["temporary"]) if known["temporary"] else None,
        known["ports"],
        {name: Running(**one) for name, one in known["services"].items()},
        Running(**watchdog) if watchdog else None,
    )


@contextmanager
def changing(project_folder: Path) -> Iterator[State]:
    """Read, let the caller change, write; one command at a time."""
    folder = project_folder / ".native"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read_state(project_folder)
        try:
            yield state
        finally:
            state.save()

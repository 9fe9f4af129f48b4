"""Ends the whole server when the process that owns it is gone, so that a killed test leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from mlops_lab.connection import process
from tests.stack.engine.state import Running, State

OWNER = "MLOPS_ENGINE_OWNER"
"""Name of the variable that holds the owner's process id."""


def ensure(state: State, project_folder: Path) -> None:
    """Start the watchdog, where there is an owner to watch and no watchdog yet."""
    owner = os.environ.get(OWNER)
    if not owner or (state.watchdog and state.watchdog.alive):
        return
    with state.log("watchdog").open("ab") as sink:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent), "watch", owner],
            cwd=project_folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    known = process.know(child.pid)
    state.watchdog = Running(child.pid, known.birth if known else "", owner)


def dismiss(state: State) -> None:
    """End the watchdog."""
    watchdog, state.watchdog = state.watchdog, None
    if watchdog and watchdog.alive and watchdog.pid != os.getpid():
        process.end_group(watchdog.pid, [process.Known(watchdog.pid, watchdog.birth)])


def wait_for_end_of(owner: int) -> None:
    """Return when the owner has ended."""
    known = process.know(owner)
    while known and process.alive(known):
        time.sleep(0.5)

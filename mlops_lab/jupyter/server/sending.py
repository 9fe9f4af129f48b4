"""Sends what waits on this computer, in a process of its own: looking through files for identifiers takes long.

``python -m mlops_lab.jupyter.server.sending [RUN_KEY ...]`` prints the report of one sync as JSON.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE

import msgspec

from ... import wire
from ...errors import MlopsLabError
from ...tracking.model import SyncReport, WaitingRun

BROKEN = "The runs could not be sent; they are still on this computer. Try again, or see what mlops-lab sync says."


class SendRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Send runs that wait on this computer: those of `runs`, by their keys, or every one."""

    runs: list[str] = []


class Waiting(msgspec.Struct):
    """The runs that are on this computer and that nobody is sending, and how it goes with the sending."""

    runs: list[WaitingRun]
    sending: bool = False
    """The runs that were last asked for are on their way."""
    report: SyncReport | None = None
    """What became of those that were sent last."""
    problem: str | None = None
    """Why they could not be sent at all, one sentence."""


class Outcome(msgspec.Struct):
    """What the process says at its end."""

    report: SyncReport | None = None
    problem: str | None = None


class Sending:
    """The one sending of this Jupyter server: it starts no second one while it is under way."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._outcome = Outcome()

    @property
    def under_way(self) -> bool:
        """Is a sending under way?"""
        return self._task is not None and not self._task.done()

    def start(self, runs: list[str]) -> None:
        """Send `runs`, or every run that waits where it is empty; at once where nothing is under way."""
        if not self.under_way:
            self._outcome = Outcome()
            self._task = asyncio.get_running_loop().create_task(self._send(runs))

    def state(self, runs: list[WaitingRun]) -> Waiting:
        """Say how it goes, beside the `runs` that wait."""
        return Waiting(runs, self.under_way, self._outcome.report, self._outcome.problem)

    async def _send(self, runs: list[str]) -> None:
        try:
            # The environment names the session file, where the child finds the server and the login.
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "mlops_lab.jupyter.server.sending", *runs),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=DEVNULL,
                start_new_session=True,
            )
            said, _ = await child.communicate()
            self._outcome = wire.decode(said, Outcome)
        except (OSError, ValueError, msgspec.MsgspecError):
            self._outcome = Outcome(problem=BROKEN)


def main(runs: list[str]) -> None:
    """Send `runs` and print what became of them."""
    from ...tracking import sync

    try:
        outcome = Outcome(report=sync(only=runs))
    except MlopsLabError as error:
        outcome = Outcome(problem=str(error))
    sys.stdout.buffer.write(wire.encode(outcome))


if __name__ == "__main__":
    os.nice(5)
    main(sys.argv[1:])

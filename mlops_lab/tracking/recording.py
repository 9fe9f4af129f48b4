"""The machinery behind one open block: its journal, who looks after that, and who sends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from .. import connection
from ..connection.errors import ConnectionProblem, ExperimentClosed, NotConnected, Refused
from ..errors import MlopsLabError
from . import resuming, screen, screening
from .errors import ELSEWHERE
from .gate import Gate
from .interrupts import Shield
from .journal.remains import LeftOff
from .journal.writer import Journal
from .model import End, EndStatus, Start
from .options import TrackOptions
from .projection.flusher import Keeper, Sender
from .projection.projector import Projector
from .run import Run

FIRST_ANSWER = 5.0
"""Seconds that the server has to create the run before the body starts without it."""
LAST_ANSWER = 10.0
"""Seconds at the end of a block for what is still to be sent."""


class Recording:
    """A run that is recorded.

    Parameters
    ----------
    journal, start
        The journal, and its first record.
    options, gate
        Of the run.
    left
        Where the run stood, when it is gone on with.

    Attributes
    ----------
    run
        The run, as the block gives it to its body.
    screen
        Shows it.
    """

    def __init__(self, journal: Journal, start: Start, options: TrackOptions, gate: Gate, left: LeftOff | None) -> None:
        self._journal = journal
        self._offline = start.offline
        self._left = left
        self._fresh = left is None or bool(start.continues)
        self._refused = False
        self._projector = Projector(journal.folder, _server)
        self._sender = Sender(self._projector)
        self._keeper: Keeper | None = None
        self.run = Run(journal, start, self._projector, options, gate)
        self.run.attach(self._sender)
        self.screen: screen.Screen = screen.make()

    @classmethod
    def begin(cls, start: Start, options: TrackOptions, gate: Gate, resume: str | None) -> Recording:
        """Begin the journal of a run as `start` says, or go on with the run called `resume`."""
        start = gate.start(start)
        if resume is None:
            return cls(Journal.create(start), start, options, gate, None)
        journal, begun, left = resuming.resume(resume, start)
        recording = cls(journal, begun, options, gate, left)
        recording.run.go_on(left, start.tags)
        for staged in screening.left_over(journal.folder):
            recording.run.hand_over(staged)
        return recording

    def connect(self) -> None:
        """Create the run on the server now, or say that it stays here for the time being."""
        if self._offline:
            self.run.notice(
                "Offline: the run is kept on this computer until you send it with %mlops_sync or mlops-lab sync."
            )
            return
        self._projector.claim()
        if self._left is not None:
            self._projector.go_on()
        try:
            self._projector.ensure_run()
        except Refused:
            self._refused = True
            raise
        except ConnectionProblem as problem:
            self._projector.forget_server()
            self.run.notice(_kept(problem))
            self._sender.note(problem)
        self._sender.start()

    def keep(self, look: Callable[[], None]) -> None:
        """Look after the journal from now on; `look` is called about once a second."""
        self._keeper = Keeper(self._journal, self.run.drain, look)
        self._keeper.start()

    def abandon(self) -> None:
        """Refused or interrupted before the body: no run may stay RUNNING, and one that nobody saw leaves no trace."""
        self._journal.append(End("KILLED", self._journal.now()))
        self._journal.close()
        if self._projector.position.run_id:
            self._sender.start()
            self._sender.finish(FIRST_ANSWER)
            return
        self._sender.finish(0)
        self._projector.release()
        # Where the answer was not waited for the server may have the run all the same: a sync finds and ends it.
        if self._fresh and (self._refused or not self._projector.position.creations):
            shutil.rmtree(self._journal.folder, ignore_errors=True)

    def end(self, status: EndStatus, shield: Shield, release: Callable[[], Any]) -> None:
        """Write the end, then send what is left for a few seconds; `release` gives back what others hold of the run."""
        run = self.run
        if not shield.wait(run.finish_files):
            run.notice("Some files were not looked through for identifiers yet; %mlops_sync does it and sends them.")
        if self._keeper is not None:
            shield.wait(self._keeper.stop)  # it records as well: system metrics
        end = End(status, self._journal.now())
        if not self._journal.append_last(end):
            self._projector.last_words = [end]
        self._journal.close()
        # The run is safe from here on; what follows may wait for a server, and may be given up.
        shield.see_to(release)
        if not self._offline:
            shield.wait(lambda: self._sender.finish(LAST_ANSWER))
            self._sender.let_go()
            self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        if self._projector.position.complete or self.run.run_id is None:
            return
        problem = self._sender.problem
        self.run.notice(
            f"Part of the run is still on this computer: {problem.message if problem else 'the server is slow.'} "
            "It is sent when the server takes it, or with %mlops_sync."
        )


def _server() -> Any:
    return connection.open_server(timeout=FIRST_ANSWER)


def _kept(problem: MlopsLabError | None) -> str:
    if isinstance(problem, NotConnected):
        return "No MLflow server is connected; the run is kept on this computer and is sent when you log in."
    if isinstance(problem, ExperimentClosed):
        return f"{problem} The run is kept on this computer until then. {ELSEWHERE}"
    reason = problem.message if problem is not None else "The server does not answer."
    return f"{reason} The run is kept on this computer and is sent when the server takes it."

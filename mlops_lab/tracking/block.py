"""One tracked block of code, from the run's creation to its final status: what `%%mlops_track` and `track` share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import connection
from ..connection import tags as names
from ..connection.errors import ConnectionProblem, ExperimentClosed, NotConnected, Refused
from ..errors import MlopsLabError
from . import capture, screen, secrets
from .capture import construction
from .errors import ELSEWHERE
from .fluent import bridge as fluent
from .interrupts import Shield, Terminated, termination
from .journal.writer import Journal
from .lineage import code as lineage
from .lineage import environment, seen, system
from .literals import literals
from .model import SCHEMA_VERSION, End, EndStatus, Start, sound
from .options import TrackOptions
from .projection.flusher import Keeper, Sender
from .projection.projector import Projector
from .run import Run, runs
from .seeding import seed_everything

FIRST_ANSWER = 5.0
"""Seconds that the server has to create the run before the body starts without it."""
LAST_ANSWER = 10.0
"""Seconds at the end of a block for what is still to be sent."""

_FIRST_WORDS = ("amber", "bold", "brisk", "calm", "clear", "deep", "gentle", "keen", "lucid", "quiet")
_SECOND_WORDS = ("alder", "birch", "brook", "cedar", "dune", "elm", "fjord", "glade", "heron", "lake")


def track(
    experiment: str | None = None,
    run_name: str | None = None,
    data: str | Sequence[str] = (),
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    seed: int | None = None,
    offline: bool = False,
    grad_norm: bool = False,
    checkpoints: bool = True,
    cases: bool = True,
    capture: Sequence[str] | None = None,
) -> Block:
    """Track a block of code: ``with mlops_lab.track(experiment="brain", data=["brain@v2.0.0"]) as run: ...``.

    Parameters
    ----------
    experiment
        MLflow experiment, made where it does not exist. Without one: ``MLFLOW_EXPERIMENT_NAME``, else the name of
        the first dataset, else ``Default``.
    run_name
        Name of the run; without one the server's habit of two words and a number is kept up.
    data
        Dataset versions as typed (``"brain@v2.0.0"``); each is fetched and verified before the body runs.
    tags, params
        Tags and params to set at the start.
    seed
        Seeds `random`, NumPy, PyTorch and MONAI.
    offline
        Keep the run on this computer until ``%mlops_sync``; ``%mlops_sync --preview`` shows what would be sent.
    grad_norm
        Record the 2-norm of all gradients before every optimizer step.
    checkpoints
        Keep the best and the last file of what ``torch.save`` writes inside the block.
    cases
        Keep one row per case of MONAI's metrics.
    capture
        Names of the captures that are on (see :data:`mlops_lab.tracking.capture.NAMES`); without it, all of them.

    Returns
    -------
    Block
        A context manager that gives the :class:`Run`. The run ends FINISHED, FAILED (any exception, with its
        traceback as artifact) or KILLED (Ctrl-C or SIGTERM, with the reason as tag ``mlops_lab.ended_by``). Inside of
        another block it is a child of that block's run.

    Raises
    ------
    MlopsLabError
        On entry, before the body runs: unknown or corrupt data, an experiment that was deleted.
    """
    options = TrackOptions(grad_norm, checkpoints, cases, None if capture is None else frozenset(capture))
    return Block(
        experiment, run_name, [data] if isinstance(data, str) else data, tags, params, seed, offline, options=options
    )


class Block:
    """A tracked block; see :func:`track`. `source` is the code of the cell, where it is known."""

    def __init__(
        self,
        experiment: str | None = None,
        run_name: str | None = None,
        data: Sequence[str] = (),
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
        offline: bool = False,
        source: str | None = None,
        options: TrackOptions | None = None,
    ) -> None:
        self._options = options or TrackOptions()
        self._experiment = experiment
        self._run_name = run_name
        self._data = data
        self._tags = dict(tags or {})
        self._params = dict(params or {})
        self._seed = seed
        self._offline = offline
        self._source = source
        self._cells = 0
        self._secrets: frozenset[str] = frozenset()
        self._run: Run | None = None
        self._pid = os.getpid()

    def __enter__(self) -> Run:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    @property
    def run(self) -> Run | None:
        """The run; None before the block is open."""
        return self._run

    def open(self) -> Run:
        """Make the run, on the server where that answers, and start capturing."""
        from .. import datasets

        capture.require(self._options.capture)
        used = [datasets.use(spec) for spec in self._data]
        if self._seed is not None:
            seed_everything(self._seed)
        folder = _folder()
        parent = runs.current
        self._offline = self._offline or (parent is not None and parent.offline)
        start = Start(
            schema_version=SCHEMA_VERSION,
            run_key=uuid.uuid4().hex,
            experiment=sound(self._experiment or self._habit([item.used.name for item in used], parent)),
            run_name=sound(self._run_name or _two_words()),
            time=int(time.time() * 1000),
            user=sound(lineage.user()),
            tags={sound(key): sound(value) for key, value in {**lineage.code_tags(folder), **self._tags}.items()},
            offline=self._offline,
            parent=parent.key if parent is not None else "",
        )
        self._journal = journal = Journal.create(start)
        self._projector = projector = Projector(journal.folder, _server)
        self._run = run = Run(journal, start, projector, self._options)
        self._sender = Sender(projector)
        run.attach(self._sender)
        if folder is None:
            run.notice("The folder that this code runs in was deleted, so the run does not name its commit.")
        try:
            for item in used:
                run.note_dataset(item)
                if item.notice:
                    run.notice(item.notice)
            environment.watch(run)
            if seen.wanted(self._options):
                seen.watch(run)
            self._note_settings(run)
            self._connect(run)
            self._screen = screen.make()
            self._screen.opened(run)
        except BaseException:
            self._abandon()
            raise
        self._fluent = fluent.bind(run)
        construction.arm()
        self._capture = capture.install(self._options.capture)
        runs.push(run)
        metrics = system.SystemMetrics() if system.wanted(self._options) else None
        self._keeper = Keeper(journal, run.drain, lambda: self._look(run, metrics))
        self._keeper.start()
        termination.enter()
        return run

    def _look(self, run: Run, metrics: system.SystemMetrics | None) -> None:
        try:
            self._screen.changed(run)
        finally:
            if metrics is not None:
                metrics.look(run)

    def add_cell(self, source: str) -> None:
        """Record the source and the literals of one more cell of this block."""
        assert self._run is not None
        self._cells += 1
        source = self._masked(source)
        self._run.log_text(source, "cell.py" if self._cells == 1 else f"cells/cell_{self._cells}.py")
        for name, value in literals(source).items():
            self._run.note_param(name, value)

    def _masked(self, source: str) -> str:
        assert self._run is not None
        text, values = secrets.mask_source(source)
        self._secrets |= values
        if text != source:
            self._run.notice(secrets.NOTICE)
        return text

    def close(self, error: BaseException | None = None) -> None:
        """End the run with the status that `error` asks for, and send what is left for a few seconds."""
        run = self._run
        if run is None or run.status != "RUNNING" or os.getpid() != self._pid:
            return
        error = error if error is not None else run.failure
        status = _status(error)
        with Shield() as shield:
            termination.closing()
            self._capture.restore()
            runs.remove(run)
            shield.wait(run.come_to_end)
            if not shield.wait(lambda: run.drain(wait=True)):
                run.notice("The last values were not waited for; some of them may be missing.")
            if error is not None and status == "FAILED":
                with contextlib.suppress(Exception):  # an error whose own text fails; the status is what matters
                    self._log_traceback(run, error)
            if error is not None and status != "FINISHED":
                run.set_tag(names.ENDED_BY, _reason(error))
            end = End(status, self._journal.now())
            if not self._journal.append_last(end):
                self._projector.last_words = [end]
            self._journal.close()
            # The run is safe from here on; what follows may wait for a server, and may be given up.
            shield.wait(lambda: self._fluent.release(status))
            shield.wait(self._keeper.stop)
            if not self._offline:
                shield.wait(lambda: self._sender.finish(LAST_ANSWER))
                self._sender.let_go()
                self._say_what_is_left(run)
            run.finish(status)
        self._screen.closed(run)
        termination.leave()

    def _log_traceback(self, run: Run, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        run.log_text(secrets.mask_text(text, self._secrets), "traceback.txt")

    def _say_what_is_left(self, run: Run) -> None:
        if self._projector.position.complete or run.run_id is None:
            return
        problem = self._sender.problem
        run.notice(
            f"Part of the run is still on this computer: {problem.message if problem else 'the server is slow.'} "
            "It is sent when the server takes it, or with %mlops_sync."
        )

    def _note_settings(self, run: Run) -> None:
        params = secrets.mask_values(self._params)
        if params != self._params:
            run.notice(secrets.NOTICE)
        run.log_params(params)
        if self._seed is not None:
            run.note_param("seed", self._seed)
        source = self._source if self._source is not None else _current_cell()
        if source is not None:
            self.add_cell(source)

    def _connect(self, run: Run) -> None:
        """Create the run on the server now, or say that it stays here for the time being."""
        if self._offline:
            run.notices.append(
                "Offline: the run is kept on this computer until you send it with %mlops_sync or mlops-lab sync."
            )
            return
        self._projector.claim()
        try:
            self._projector.ensure_run()
        except Refused:
            raise
        except ConnectionProblem as problem:
            self._projector.forget_server()
            run.notices.append(_kept(problem))
            self._sender.note(problem)
        self._sender.start()

    def _abandon(self) -> None:
        """Refused or interrupted before the body: no run may stay RUNNING, and one that nobody saw leaves no trace."""
        self._journal.append(End("KILLED", self._journal.now()))
        self._journal.close()
        if self._projector.position.run_id:
            self._sender.start()
            self._sender.finish(FIRST_ANSWER)
        else:
            self._sender.finish(0)
            self._projector.release()
            shutil.rmtree(self._journal.folder, ignore_errors=True)

    def _habit(self, data: list[str], parent: Run | None) -> str:
        if parent is not None:
            return parent.experiment
        return os.environ.get("MLFLOW_EXPERIMENT_NAME") or (data[0] if data else "Default")


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted under the kernel
        return None


def _server() -> Any:
    return connection.open_server(timeout=FIRST_ANSWER)


def _kept(problem: MlopsLabError | None) -> str:
    if isinstance(problem, NotConnected):
        return "No MLflow server is connected; the run is kept on this computer and is sent when you log in."
    if isinstance(problem, ExperimentClosed):
        return f"{problem} The run is kept on this computer until then. {ELSEWHERE}"
    reason = problem.message if problem is not None else "The server does not answer."
    return f"{reason} The run is kept on this computer and is sent when the server takes it."


def _status(error: BaseException | None) -> EndStatus:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "FINISHED"
    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
        return "KILLED"
    return "FAILED"


def _reason(error: BaseException) -> str:
    """Name what ended the body, without its text, which may say more than is meant to leave this computer."""
    return "SIGTERM" if isinstance(error, Terminated) else type(error).__name__


def _current_cell() -> str | None:
    """Give the source of the notebook cell that runs now; None outside of IPython."""
    shell = lineage.shell()
    history = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None)
    return history[-1] if history else None


def _two_words() -> str:
    # A generator of its own: the random stream of the training must be the same with and without tracking.
    generator = random.SystemRandom()
    return f"{generator.choice(_FIRST_WORDS)}-{generator.choice(_SECOND_WORDS)}-{generator.randrange(1000)}"

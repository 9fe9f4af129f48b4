"""One tracked block of code, from the run's creation to its final status: what `%%mlops_track` and `track` share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..connection import tags as names
from . import capture, identifiers, ranks
from .capture import construction
from .fluent import bridge as fluent
from .fluent.bindings import chosen_experiment
from .gate import Gate, gate_for
from .interrupts import Shield, Terminated, termination
from .lineage import code, environment, script, seen, system
from .literals import literals
from .model import SCHEMA_VERSION, EndStatus, Start, sound
from .options import TrackOptions
from .printed import Printed
from .recording import Recording
from .run import Run, runs
from .seeding import seed_everything

if TYPE_CHECKING:
    from ..datasets import UsedDataset

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
    capture: str | Sequence[str] | None = None,
    resume: str | None = None,
) -> Block:
    """Track a block of code: ``with mlops_lab.track(experiment="brain", data=["brain@v2.0.0"]) as run: ...``.

    Parameters
    ----------
    experiment
        MLflow experiment, made where it does not exist. Without one: what ``mlflow.set_experiment`` chose before, else
        ``MLFLOW_EXPERIMENT_NAME``, else the name of the first dataset, else ``Default``.
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
    resume
        Go on with this run (its name, or its id) instead of beginning one: its series go on where they ended, its
        params stand, its status is that of this block in the end. `experiment` and `run_name` are not used then.

    Returns
    -------
    Block
        A context manager that gives the :class:`Run`. The run ends FINISHED, FAILED (any exception, with its
        traceback as artifact) or KILLED (Ctrl-C or SIGTERM, with the reason as tag ``mlops_lab.ended_by``). Inside of
        another block it is a child of that block's run.

    Raises
    ------
    MlopsLabError
        On entry, before the body runs: unknown or corrupt data, an experiment that was deleted, a privacy policy that
        cannot be used, a run to resume that there is not.
    """
    chosen = [capture] if isinstance(capture, str) else capture
    options = TrackOptions(grad_norm, checkpoints, cases, None if chosen is None else frozenset(chosen))
    versions = [data] if isinstance(data, str) else data
    return Block(experiment, run_name, versions, tags, params, seed, offline, options=options, resume=resume)


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
        resume: str | None = None,
    ) -> None:
        self._resume = resume
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
        self._printed: Printed | None = None
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
        folder = _folder()
        gate = gate_for(code.code_folder(code.notebook(), folder), identifiers.known(used))
        if self._seed is not None:
            seed_everything(self._seed)
        self._recording = recording = self._begin(gate, [item.used.name for item in used], folder)
        self._run = run = recording.run
        try:
            self._describe(run, used, folder)
            recording.connect()
            recording.screen.opened(run)
        except BaseException:
            recording.abandon()
            raise
        with Shield() as shield:
            self._fluent = fluent.bind(run)
            construction.arm()
            self._capture = capture.install(self._options.capture)
            runs.push(run)
            if run.gate is not None and run.gate.guard.policy.printed_output:
                self._printed = Printed()
            metrics = system.SystemMetrics(run.folder) if system.wanted(self._options) else None
            recording.keep(lambda: self._look(run, metrics))
            termination.enter()
        if shield.pressed:
            self.close(KeyboardInterrupt())
            raise KeyboardInterrupt
        return run

    def _begin(self, gate: Gate, data: list[str], folder: Path | None) -> Recording | ranks.Silent:
        parent = runs.current
        start = Start(
            schema_version=SCHEMA_VERSION,
            run_key=uuid.uuid4().hex,
            experiment=sound(self._experiment or self._habit(data, parent)),
            run_name=sound(self._run_name or _two_words()),
            time=int(time.time() * 1000),
            user=sound(code.user()),
            tags={sound(key): sound(value) for key, value in {**code.code_tags(folder), **self._tags}.items()},
            offline=self._offline or (parent is not None and parent.offline),
            parent=parent.key if parent is not None else "",
        )
        if not ranks.records():
            return ranks.Silent(start, self._options)
        return Recording.begin(start, self._options, gate, self._resume)

    def _describe(self, run: Run, used: list[UsedDataset], folder: Path | None) -> None:
        """Record what is known before the body runs."""
        if folder is None:
            run.notice("The folder that this code runs in was deleted, so the run does not name its commit.")
        for item in used:
            run.note_dataset(item)
            if item.notice:
                run.notice(item.notice)
        if run.gate is not None:
            environment.watch(run)
            if seen.wanted(self._options):
                seen.watch(run)
            if run.gate.guard.policy.uncommitted_changes and folder is not None:
                patch = code.uncommitted_changes(folder)
                if patch:
                    run.log_text(patch, "lineage/uncommitted.patch")
        run.log_params(self._params)
        if self._seed is not None:
            run.note_param("seed", self._seed)
        source = self._source if self._source is not None else _current_cell()
        if source is not None:
            self.add_cell(source)
        elif run.gate is not None and runs.current is None:  # a block within another one runs the same script
            script.record(run)

    def _look(self, run: Run, metrics: system.SystemMetrics | None) -> None:
        try:
            self._recording.screen.changed(run)
        finally:
            if metrics is not None:
                metrics.look(run)

    def add_cell(self, source: str) -> None:
        """Record the source and the literals of one more cell of this block."""
        assert self._run is not None
        self._cells += 1
        place = self._run.cells_folder
        source = self._run.gate.source(source) if self._run.gate is not None else source
        if not source:
            return  # the policy blocks what is in it
        first = "cell.py" if place == "cells" else f"{place}/cell_1.py"
        self._run.log_text(source, first if self._cells == 1 else f"{place}/cell_{self._cells}.py")
        for name, value in literals(source).items():
            self._run.note_param(name, value)

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
            with contextlib.suppress(Exception):  # an error whose own text fails; the status is what matters
                self._say_the_end(run, status, error)
            self._recording.end(status, shield, lambda: self._fluent.release(status))
            run.finish(status)
        self._recording.screen.closed(run)
        termination.leave()

    def _say_the_end(self, run: Run, status: EndStatus, error: BaseException | None) -> None:
        printed = self._printed.close() if self._printed is not None else ""
        if printed:
            run.log_text(printed, "output.txt")
        if run.gate is not None and run.gate.guard.policy.notebook_snapshot:
            path = code.notebook()
            if path is not None and path.exists():
                run.log_artifact(path, "notebook")
        if error is not None and status != "FINISHED":
            run.set_tag(names.ENDED_BY, _reason(error))
            if status == "FAILED":
                run.log_text("".join(traceback.format_exception(error)), "traceback.txt")

    def _habit(self, data: list[str], parent: Run | None) -> str:
        if parent is not None:
            return parent.experiment
        if self._resume is not None:
            return "Default"  # the run has one
        chosen = chosen_experiment(ask=not self._offline)
        return chosen or os.environ.get("MLFLOW_EXPERIMENT_NAME") or (data[0] if data else "Default")


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted under the kernel
        return None


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
    shell = code.shell()
    history = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None)
    return history[-1] if history else None


def _two_words() -> str:
    # A generator of its own: the random stream of the training must be the same with and without tracking.
    generator = random.SystemRandom()
    return f"{generator.choice(_FIRST_WORDS)}-{generator.choice(_SECOND_WORDS)}-{generator.randrange(1000)}"

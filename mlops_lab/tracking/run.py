"""One run while its block is open: everything it is told goes to the journal, nothing waits for a server."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .. import wire
from ..connection import tags as names
from ..datasets.model import DataUsed
from .errors import NoActiveRun
from .journal import Journal
from .model import Artifact, EndStatus, Input, Metric, Param, Progress, RunState, Start, Tag

if TYPE_CHECKING:
    from ..datasets import UsedDataset
    from .flusher import Sender
    from .projection import Projector

LONGEST_PARAM = 6000
"""Characters that MLflow stores of a param's value."""

_encoder = msgspec.json.Encoder()

Reader = Callable[[bool], float | None]
"""Reads a value that is still on a device; False: only if it has arrived, True: wait for it."""


class Run:
    """A tracked run.

    Attributes
    ----------
    key
        Our own key of the run, known before any server has heard of it (tag ``mlops_lab.run_key``).
    name, experiment
        As on the server.
    run_id
        MLflow's id; None while no server holds the run.
    """

    def __init__(self, journal: Journal, start: Start, projector: Projector | None) -> None:
        self.key = start.run_key
        self.name = start.run_name
        self.experiment = start.experiment
        self.data: list[DataUsed] = []
        self.status: RunState = "RUNNING"
        self.notices: list[str] = []
        self.folder = journal.folder
        self._journal = journal
        self._start = start
        self._projector = projector
        self._sender: Sender | None = None
        self._began = time.monotonic()
        self._duration: float | None = None
        self._steps: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._params: dict[str, str] = {}
        self._pending: deque[tuple[str, int, int, Reader]] = deque()
        self._draining = threading.Lock()

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None while no server holds it."""
        return (self._projector.position.run_id or None) if self._projector is not None else None

    @property
    def link(self) -> str:
        """The run's page in MLflow's own UI; empty while no server holds it."""
        if self._projector is None or not self._projector.position.run_id:
            return ""
        position = self._projector.position
        return f"{position.uri}/#/experiments/{position.experiment_id}/runs/{position.run_id}"

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point; without `step` the points of one name are counted from 1."""
        if step is None:
            step = self._steps.get(name, 0) + 1
        self._steps[name] = step
        self._write(name, float(value), step, int(time.time() * 1000))

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record one point of each name in `values`."""
        for name, value in values.items():
            self.log_metric(name, value, step)

    def log_deferred(self, name: str, read: Reader) -> None:
        """Record one point whose value is still on its way from a device."""
        step = self._steps[name] = self._steps.get(name, 0) + 1
        self._pending.append((name, step, int(time.time() * 1000), read))

    def log_param(self, name: str, value: Any) -> None:
        """Record one setting."""
        self._params[name] = text = str(value)[:LONGEST_PARAM]
        self._journal.append(Param(name, text))

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Record several settings."""
        for name, value in values.items():
            self.log_param(name, value)

    def note_param(self, name: str, value: Any) -> None:
        """Record a setting that was seen rather than told; the first value of a name stands."""
        if name not in self._params:
            self.log_param(name, value)

    def set_tag(self, name: str, value: Any) -> None:
        """Set one tag."""
        self._journal.append(Tag(name, str(value)))

    def set_tags(self, values: Mapping[str, Any]) -> None:
        """Set several tags."""
        for name, value in values.items():
            self.set_tag(name, value)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Keep a copy of the file `path` now and upload it as an artifact, in `folder` of the run."""
        source = Path(path).resolve(strict=True)
        staged = self._journal.stage(source, source.name)
        if staged is not None:
            self._journal.append(Artifact(staged, source.name, folder))

    def log_text(self, text: str, name: str) -> None:
        """Upload `text` as the artifact `name`, e.g. ``"notes/remarks.txt"``."""
        folder, _, leaf = name.rpartition("/")
        staged = self._journal.stage_text(text, leaf)
        if staged is not None:
            self._journal.append(Artifact(staged, leaf, folder))

    def note_dataset(self, used: UsedDataset, context: str = "training") -> None:
        """Record that the run was given a dataset version: tags, and MLflow's dataset input."""
        data = used.used
        if any(known.name == data.name and known.md5 == data.md5 for known in self.data):
            return
        from ..datasets.mlflow_source import digest, source_of

        self.data.append(data)
        self.set_tag(names.DATA, wire.encode(self.data).decode())
        self.set_tag(names.data_version(data.name), data.version)
        self.set_tag(names.data_md5(data.name), data.md5)
        source_type, source = source_of(used)
        tags = {"mlflow.data.context": context, "mlops_lab.version": data.version, "mlops_lab.revision": data.revision}
        self._journal.append(
            Input(data.name, digest(data), source_type, source, {key: value for key, value in tags.items() if value})
        )

    def progress(self) -> Progress:
        """Tell how the run is doing now."""
        sent = self._projector.position.records if self._projector is not None else 0
        notices = list(self.notices)
        begun = self.run_id is not None and self.status == "RUNNING"
        if begun and self._sender is not None and self._sender.problem is not None:
            notices.append(f"{self._sender.problem.message} The run is kept on this computer meanwhile.")
        if self._projector is not None and self._projector.position.quarantined:
            count = self._projector.position.quarantined
            notices.append(
                f"{count} {'entry' if count == 1 else 'entries'} refused by the server; see quarantine.jsonl."
            )
        if self._journal.lost:
            notices.append(f"{self._journal.lost} records lost: the disk refuses to take them.")
        elapsed = time.monotonic() - self._began if self._duration is None else self._duration
        return Progress(
            state=self.status,
            name=self.name,
            experiment=self.experiment,
            run_id=self.run_id,
            link=self.link,
            data=[f"{data.name}@{data.version}" for data in self.data],
            metrics=dict(self._last),
            elapsed=elapsed,
            waiting=max(0, self._journal.written - sent),
            notices=notices,
        )

    def notice(self, sentence: str) -> None:
        """Tell the user something about this run, once."""
        if sentence not in self.notices:
            self.notices.append(sentence)

    def attach(self, sender: Sender) -> None:
        """Tell who sends this run."""
        self._sender = sender

    def finish(self, status: EndStatus) -> None:
        """Note the final status; the clock of the run stops."""
        self.status = status
        self._duration = time.monotonic() - self._began

    def drain(self, wait: bool = False) -> None:
        """Write the device values that have arrived, in order; with `wait`, all of them."""
        with self._draining:
            while self._pending:
                name, step, when, read = self._pending[0]
                try:
                    value = read(wait)
                except RuntimeError:  # the device failed; the run must still come to its end
                    self._pending.popleft()
                    self.notice("Some values could not be read back from the device that computed them.")
                    continue
                if value is None:
                    return
                self._pending.popleft()
                self._write(name, value, step, when)

    def _write(self, name: str, value: float, step: int, when: int) -> None:
        self._last[name] = value
        self._journal.write(_encoder.encode(Metric(name, wire.to_number(value), step, when)) + b"\n")


class ActiveRuns:
    """The open blocks of this process, innermost last; captured values go to the innermost."""

    def __init__(self) -> None:
        self._stack: list[Run] = []
        self.current: Run | None = None

    def push(self, run: Run) -> None:
        """Make `run` the current one."""
        self._stack.append(run)
        self.current = run

    def remove(self, run: Run) -> None:
        """Take `run` out, wherever it stands."""
        if run in self._stack:
            self._stack.remove(run)
        self.current = self._stack[-1] if self._stack else None

    def clear(self) -> None:
        """Forget every run; their processes are not ours."""
        self._stack.clear()
        self.current = None


runs = ActiveRuns()
os.register_at_fork(after_in_child=runs.clear)


def active_run() -> Run | None:
    """Give the run of the innermost open block, or None outside of one."""
    return runs.current


def required_run() -> Run:
    """Give the run of the innermost open block.

    Raises
    ------
    NoActiveRun
        Outside of a block.
    """
    if runs.current is None:
        raise NoActiveRun("No run is open here.", "Start the cell with %%mlops_track, or use mlops_lab.track().")
    return runs.current

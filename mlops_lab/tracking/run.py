"""One run while its block is open: everything it is told goes to the journal, nothing waits for a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .. import wire
from ..connection import tags as names
from ..datasets.model import DataUsed
from . import identifiers, screening
from .active import active_run as active_run
from .active import required_run as required_run
from .active import runs as runs
from .artifacts import Artifacts
from .deferred import Deferred, Reader
from .gate import FINDINGS, Gate
from .journal.ledger import refused_entries
from .journal.remains import LOST, LeftOff
from .journal.writer import Journal
from .model import (
    LARGEST_STEP,
    LONGEST_PARAM,
    EndStatus,
    Input,
    Metric,
    Param,
    Progress,
    Record,
    RunState,
    Staged,
    Start,
    Tag,
    sound,
)
from .options import TrackOptions

if TYPE_CHECKING:
    from ..datasets import UsedDataset
    from .projection.flusher import Sender
    from .projection.projector import Projector

_encoder = msgspec.json.Encoder()

_Book = TypeVar("_Book")


class Run:
    """A tracked run.

    Attributes
    ----------
    key
        Our own key of the run, known before any server has heard of it (tag ``mlops_lab.run_key``).
    name, experiment
        As on the server.
    offline
        The user asked to keep it on this computer until told otherwise.
    run_id
        MLflow's id; None while no server holds the run.
    data, given
        The dataset versions that it was told to use: what a run records of them, and where they are.
    options
        What it was asked to record.
    gate
        Screens what is recorded; None for a process that records nowhere.
    start
        The first record of its journal.
    steps, params
        The last step of every series, and every param, as far as they are recorded.
    cells_folder
        Where, among the artifacts, the source of the cells goes.
    facts
        What the live line shows besides metrics, e.g. ``"epoch"``; whoever knows it sets it.
    """

    def __init__(
        self,
        journal: Journal,
        start: Start,
        projector: Projector | None,
        options: TrackOptions,
        gate: Gate | None,
    ) -> None:
        self.options = options
        self.gate = gate
        self.facts: dict[str, Any] = {}
        self.key = start.run_key
        self.name = start.run_name
        self.experiment = start.experiment
        self.offline = start.offline
        self.data: list[DataUsed] = []
        self.given: list[UsedDataset] = []
        self.status: RunState = "RUNNING"
        self.notices: list[str] = []
        self.cells_folder = "cells"
        self.folder = journal.folder
        self._journal = journal
        self.start = start
        self._projector = projector
        self._sender: Sender | None = None
        self._began = time.monotonic()
        self._duration: float | None = None
        self.steps: dict[str, int] = {}
        self.params: dict[str, str] = {}
        self._last: dict[str, float] = {}
        self._deferred = Deferred(self._write, journal.note_unread, self.notice)
        self._books: dict[str, Any] = {}
        self._endings: list[Callable[[], None]] = []
        self._observers: list[Callable[[str, float], None]] = []
        self.failure: BaseException | None = None
        self._artifacts: Artifacts | None = None
        if gate is not None:
            self._artifacts = Artifacts(journal, gate, self._write_record, self.notice)
            screening.note_origin(journal.folder, gate.folder, self.given)

    def __repr__(self) -> str:
        return f"<Run {self.name!r} of {self.experiment!r}, {self.status.lower()}>"

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

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last value of every metric."""
        return self._last

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point; without `step` the points of one name are counted from 1.

        What is no number is not recorded and named in a notice: a training is not worth ending for it.
        """
        name = self._named(name)
        if not name:
            return
        try:
            number = value if type(value) is float else _number(value)
        except Exception:
            self.notice(f"A value of {name} was not recorded: {_short(value)} is no number.")
            return
        whole = None if step is None else _whole(step)
        if step is not None and whole is None:
            self.notice(f"The step {_short(step)} of {name} is no step that MLflow takes; the points were counted.")
        if whole is None:
            whole = self.steps.get(name, 0) + 1
        self.steps[name] = whole
        self._write(name, number, whole, self._journal.now())

    def log_point(self, name: str, value: float, step: int) -> None:
        """Record one point of a series that a capture counts itself; `name` is one that :meth:`metric_name` gave."""
        self.steps[name] = step
        self._write(name, value, step, self._journal.now())

    def file_name(self, name: str) -> str:
        """Give the name under which a file is recorded; empty where the project's policy blocks it."""
        return self._named(name)

    def metric_name(self, name: str) -> str:
        """Give the name under which a metric is recorded; empty where the project's policy blocks it."""
        return self._named(name)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record one point of each name in `values`."""
        for name, value in values.items():
            self.log_metric(name, value, step)

    def log_deferred(self, name: str, read: Reader) -> None:
        """Record one point whose value is still on its way from a device."""
        name = self._named(name)
        if not name:
            return
        step = self.steps[name] = self.steps.get(name, 0) + 1
        self._deferred.put(name, step, self._journal.now(), read)

    def log_param(self, name: str, value: Any) -> None:
        """Record one setting."""
        name = sound(name)
        self.params[name] = text = _text(value)[:LONGEST_PARAM]
        self.record(Param(name, text))

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Record several settings."""
        for name, value in values.items():
            self.log_param(name, value)

    def note_param(self, name: str, value: Any) -> None:
        """Record a setting that was seen rather than told; the first value of a name stands."""
        if sound(name) not in self.params:
            self.log_param(name, value)

    def set_tag(self, name: str, value: Any) -> None:
        """Set one tag."""
        self.record(Tag(sound(name), _text(value)))

    def set_tags(self, values: Mapping[str, Any]) -> None:
        """Set several tags."""
        for name, value in values.items():
            self.set_tag(name, value)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Keep a copy of the file `path` now and upload it as an artifact, in `folder` of the run.

        A folder is uploaded with all it holds, under its own name.
        """
        source = Path(path).resolve(strict=True)
        if self._artifacts is not None and not self._over():
            self._artifacts.log(source, folder)

    def log_text(self, text: str, name: str) -> None:
        """Upload `text` as the artifact `name`, e.g. ``"notes/remarks.txt"``."""
        if self._artifacts is not None and not self._over():
            self._artifacts.log_text(_text(text), name)

    def hand_over(self, staged: Staged) -> None:
        """Have a file that lies beside the journal looked through for identifiers, and uploaded then."""
        if self._artifacts is not None and not self._over():
            self._artifacts.put(staged)

    def record(self, record: Record) -> None:
        """Write a record to the journal, screened."""
        screened = self.gate.record(record) if self.gate is not None else record
        if screened is not None:
            self._write_record(screened)

    def observe(self, told: Callable[[str, float], None]) -> None:
        """Have `told` called with name and value of every point that is recorded from now on; it has to be quick."""
        self._observers.append(told)

    def note_dataset(self, used: UsedDataset, context: str = "training") -> None:
        """Record that the run was given a dataset version: tags, and MLflow's dataset input."""
        data = used.used
        if any(known.name == data.name and known.md5 == data.md5 for known in self.data):
            return
        from ..datasets.mlflow_source import digest, source_of

        self.data.append(data)
        self.given.append(used)
        if self.gate is not None:
            self.gate.learn(identifiers.known([used]))
            screening.note_origin(self.folder, self.gate.folder, self.given)
        self.set_tag(names.DATA, wire.encode(self.data).decode())
        self.set_tag(names.data_version(data.name), data.version)
        self.set_tag(names.data_md5(data.name), data.md5)
        source_type, source = source_of(used)
        tags = {"mlflow.data.context": context, "mlops_lab.version": data.version, "mlops_lab.revision": data.revision}
        self.record(
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
            notices.append(refused_entries(self.folder, self._projector.position.quarantined))
        notices.extend(self._journal.troubles())
        if self.gate is not None and (sentence := self.gate.sentence()):
            notices.append(sentence)
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
            facts=dict(self.facts),
        )

    def notice(self, sentence: str) -> None:
        """Tell the user something about this run, once."""
        if self.gate is not None:
            sentence = self.gate.text(sentence, where="a notice")
        if sentence and sentence not in self.notices:
            self.notices.append(sentence)

    def go_on(self, left: LeftOff, tags: Mapping[str, str]) -> None:
        """Go on where the run stood, with the code that `tags` describe; what was recorded before stands."""
        self.steps.update(left.steps)
        self.params.update(left.params)
        before = {**self.start.tags, **left.tags}
        times = int(before.get(names.RESUMED, "0")) + 1
        self.cells_folder = f"cells/resumed_{times}"
        there, here = before.get(names.GIT_COMMIT, ""), tags.get(names.GIT_COMMIT, "")
        if there and here and there != here:
            self.notice(f"The run was begun at commit {there[:8]} and goes on at {here[:8]}.")
        stale = {names.ENDED_BY: "", LOST: "false"}  # what is said of the end of the part before
        self.set_tags({key: value for key, value in stale.items() if before.get(key)})
        self.set_tags({**tags, names.RESUMED: str(times)})

    def attach(self, sender: Sender) -> None:
        """Tell who sends this run."""
        self._sender = sender

    def finish(self, status: EndStatus) -> None:
        """Note the final status; the clock of the run stops."""
        self.status = status
        self._duration = time.monotonic() - self._began

    def book(self, key: str, factory: Callable[[], _Book]) -> _Book:
        """Give what a capture file keeps for this run; `factory` makes it at the first call."""
        try:
            found: _Book = self._books[key]
        except KeyError:
            found = self._books.setdefault(key, factory())
        return found

    def at_end(self, ending: Callable[[], None]) -> None:
        """Have `ending` called once when the block closes, before the run's last record; the latest one first."""
        self._endings.append(ending)

    def fail(self, error: BaseException) -> None:
        """Note an error that a library keeps to itself: the run ends as `error` says, unless its body ends with one."""
        self.failure = self.failure or error

    def come_to_end(self) -> None:
        """Call what :meth:`at_end` was given; what goes wrong there is a notice."""
        while self._endings:
            ending = self._endings.pop()
            try:
                ending()
            except Exception as error:
                self.notice(f"A part of the run was not recorded at its end ({type(error).__name__}: {_short(error)}).")

    def drain(self, wait: bool = False) -> None:
        """Write the device values that have arrived, in order; with `wait`, all of them."""
        self._deferred.drain(wait)

    def finish_files(self) -> None:
        """Wait until every file has been looked through, and record what was found in this run."""
        if self._artifacts is None or self.gate is None:
            return
        self._artifacts.finish()
        if sentence := self.gate.sentence():
            self.set_tag(FINDINGS, sentence)

    def _named(self, name: str) -> str:
        return self.gate.name(sound(name)) if self.gate is not None else sound(name)

    def _write_record(self, record: Record) -> None:
        if not self._over():
            self._journal.append(record)

    def _over(self) -> bool:
        """Tell whether the run has ended; whoever logs to it all the same is told so, once and at once."""
        if not self._journal.closed:
            return False
        sentence = f"The run {self.name} is over; what is logged to it now is not recorded."
        if sentence not in self.notices:
            self.notice(sentence)
            print(f"mlops_lab: {sentence}", file=sys.stderr, flush=True)
        return True

    def _write(self, name: str, value: float, step: int, when: int) -> None:
        if self._over():
            return
        self._last[name] = value
        self._journal.write(_encoder.encode(Metric(name, wire.to_number(value), step, when)) + b"\n")
        for told in self._observers:
            told(name, value)


def _number(value: Any) -> float:
    item = getattr(value, "item", None)  # of tensors and arrays: float() warns of gradients
    return float(item() if callable(item) else value)


def _whole(step: Any) -> int | None:
    """Give `step` (NumPy's, a tensor, a number as text) as an integer that MLflow takes; None where it is none."""
    try:
        number = int(step)
    except Exception:
        return None
    return number if abs(number) <= LARGEST_STEP else None


def _text(value: Any) -> str:
    try:
        return sound(value)
    except Exception:
        return f"<{type(value).__name__}>"  # an object whose own text fails


def _short(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= 40 else f"{text[:40]}…"

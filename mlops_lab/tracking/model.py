"""The records of a run's journal, one JSON object per line; and what the room tells others about a run.

The first record is always a :class:`Start`, which carries the schema version of all that follow. Fields may be
added with a default; a change of meaning raises the version.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..wire import Number

SCHEMA_VERSION = 1
LARGEST_STEP = 2**63 - 1
"""MLflow's steps are 64-bit integers."""
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
"""Characters that MLflow stores of a value."""

EndStatus = Literal["FINISHED", "FAILED", "KILLED"]
RunState = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class Start(msgspec.Struct, tag="start", tag_field="record"):
    """The run as it was begun."""

    schema_version: int
    run_key: str
    experiment: str
    run_name: str
    time: int
    """Milliseconds since 1970, UTC."""
    user: str
    tags: dict[str, str]
    offline: bool = False
    """True: the user asked to keep the run here until told otherwise."""
    continues: str = ""
    """MLflow's id of a run that this journal goes on with, where the run's own journal is not on this computer."""
    parent: str = ""
    """Run key of the run inside whose block this one was begun; the server has that one first."""


class Metric(msgspec.Struct, tag="metric", tag_field="record"):
    """One point of one series."""

    key: str
    value: Number
    step: int
    time: int


class Param(msgspec.Struct, tag="param", tag_field="record"):
    """One setting of the run."""

    key: str
    value: str


class Tag(msgspec.Struct, tag="tag", tag_field="record"):
    """One tag; a later one of the same key replaces it."""

    key: str
    value: str


class Input(msgspec.Struct, tag="input", tag_field="record"):
    """One dataset that the run was given, in the shape of MLflow's dataset inputs."""

    name: str
    digest: str
    source_type: str
    source: str
    """JSON of the source."""
    tags: dict[str, str] = {}


class Artifact(msgspec.Struct, tag="artifact", tag_field="record"):
    """A file that was copied beside the journal and is to be uploaded."""

    file: str
    """Path of the copy, relative to the journal's folder."""
    name: str
    """File name on the server."""
    folder: str = ""
    """Folder on the server, empty for the run's top."""


class Staged(msgspec.Struct, tag="staged", tag_field="record"):
    """A file that was copied beside the journal and is still to be looked through; an :class:`Artifact` follows."""

    file: str
    """Path of the copy, relative to the journal's folder."""
    name: str
    folder: str = ""


class End(msgspec.Struct, tag="end", tag_field="record"):
    """The run is over."""

    status: EndStatus
    time: int
    lost: bool = False
    """True when the process died without a word and the end was written for it."""


def sound(value: Any) -> str:
    """Give `value` as text that every file and server takes; the bytes of broken file names are spelt out."""
    return str(value).encode("utf-8", "backslashreplace").decode()


class Resume(msgspec.Struct, tag="resume", tag_field="record"):
    """The run goes on after its end."""

    time: int


Record = Start | Metric | Param | Tag | Input | Artifact | Staged | End | Resume


class Thinned(msgspec.Struct):
    """What was given up of a run because there was no room for it."""

    points: int = 0
    """Points of long series; of each series the first, last, smallest and largest stay."""
    files: int = 0
    bytes: int = 0
    """Of those files."""

    def __bool__(self) -> bool:
        return self.points > 0 or self.files > 0


class Position(msgspec.Struct):
    """How far one journal has been projected, kept beside it."""

    schema_version: int = SCHEMA_VERSION
    uri: str = ""
    """Origin of the server that holds the run."""
    experiment_id: str = ""
    run_id: str = ""
    creations: int = 0
    """How often the server was asked to create the run. An answer may be lost: above 1 there may be twins."""
    offset: int = 0
    """Bytes of the journal that the server has, but for the files that are on their way."""
    generation: int = 0
    """Generation of the segment that `offset` lies in; see :mod:`.segments`."""
    records: int = 0
    quarantined: int = 0
    quarantine_size: int = 0
    """Bytes of the list of refused entries; what stands behind them was written by a sender that died."""
    thinned: Thinned = msgspec.field(default_factory=Thinned)
    """What the run's tags say of what was given up."""
    ended: bool = False
    """The server has the final status, and everything before it but the files."""
    files: list[Artifact] = []
    """Files that are still to be uploaded. Figures and status never wait for them."""
    unscreened: list[Staged] = []
    """Files noted before `offset` of which nothing more was heard: those that are there are to be looked through."""
    closed: str = ""
    """Why the run's experiment does not take it, as the server last said."""
    gone: bool = False
    """The run was deleted on the server, and the person has been told."""

    @property
    def complete(self) -> bool:
        """Does the server have all that has been released so far?"""
        return self.ended and not self.files


class Quarantined(msgspec.Struct):
    """An entry that the server refuses for good, and why."""

    entry: dict[str, Any]
    reason: str


class Progress(msgspec.Struct):
    """A run at one moment, for a line on the screen."""

    state: RunState
    name: str
    experiment: str
    run_id: str | None
    link: str
    """The run's page in MLflow's own UI; empty while no server holds it."""
    data: list[str]
    """Dataset versions as typed, e.g. ``"brain@v2.0.0"``."""
    metrics: dict[str, float]
    """Last value of every metric."""
    elapsed: float
    """Seconds since the start."""
    waiting: int
    """Records that the server does not have yet."""
    notices: list[str]
    facts: dict[str, Any] = {}
    """Where the training is: ``epoch`` of ``epochs``, ``batch`` of ``batches``, ``data_seconds``, ``step_seconds``."""


class WaitingRun(msgspec.Struct):
    """A run of which a part is on this computer only, and which nobody is sending."""

    run_key: str
    name: str
    experiment: str
    reason: str
    """Why its experiment does not take it, and what to do; empty where it only waits for its turn."""
    started: int = 0
    """Milliseconds since 1970, UTC."""
    offline: bool = False
    """The user asked to keep it here until told otherwise."""


class SyncedRun(msgspec.Struct):
    """What became of one journal in a sync."""

    run_key: str
    name: str
    run_id: str | None
    status: Literal["sent", "waiting", "failed"]
    message: str = ""
    experiment: str = ""
    """Where it was sent; empty while it was not."""
    redirected: bool = False
    """It was sent to another experiment than it was begun for, as the user asked."""


class SyncReport(msgspec.Struct):
    """What a sync did, one entry per journal that was not complete."""

    runs: list[SyncedRun]
    open: int = 0
    """Runs whose process still writes them; they are that process's to send."""

    def __str__(self) -> str:
        if not self.runs and self.open:
            runs = "1 run is still open and is" if self.open == 1 else f"{self.open} runs are still open and are"
            return f"Nothing to send now: {runs} sent as it goes."
        if not self.runs:
            return "Nothing to send."
        sent = [run for run in self.runs if run.status == "sent"]
        text = f"{len(sent)} of {len(self.runs)} runs sent"
        moved = [run.experiment for run in sent if run.redirected]
        if moved:
            some = "" if len(moved) == len(sent) else f"{len(moved)} of them "
            text += f", {some}to the experiment '{moved[0]}'"
        reasons = dict.fromkeys(run.message for run in self.runs if run.status != "sent")
        return " ".join([f"{text}.", *reasons])

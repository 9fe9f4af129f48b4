"""Requests of the right size: groups records into what MLflow takes at once, and writes them in MLflow's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...wire import Number
from ..journal import segments
from ..journal.segments import Line
from ..model import LARGEST_STEP, LONGEST_PARAM, LONGEST_TAG, Metric, Param, Position, Record, Tag

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer

ENTRIES_PER_BATCH = 1000
"""MLflow's limit on metrics, params and tags of one request together."""
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
SMALLEST = 500
"""Bytes of the batches that a server without an answer is asked to store in the end, a handful of points."""
BYTES_PER_BATCH = 900_000
"""MLflow refuses a request of more than a million characters."""

Entry = Metric | Param | Tag


class _Point(msgspec.Struct):
    key: str
    value: Number
    timestamp: int
    step: int


class _Pair(msgspec.Struct):
    key: str
    value: str


class _Body(msgspec.Struct):
    run_id: str
    metrics: list[_Point]
    params: list[_Pair]
    tags: list[_Pair]


_encoder = msgspec.json.Encoder()


@dataclass
class Batch:
    """What goes in one request, and the place in the journal after it."""

    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    """Bytes in the journal, which are more than in the request."""
    line: Line | None = None
    params: int = 0
    tags: int = 0

    def takes(self, record: Entry, line: Line, most: int) -> bool:
        """Tell whether one more record fits."""
        return (
            len(self.entries) < ENTRIES_PER_BATCH
            and (self.size + len(line.text) <= most or not self.entries)
            and self.params + isinstance(record, Param) <= PARAMS_PER_BATCH
            and self.tags + isinstance(record, Tag) <= TAGS_PER_BATCH
        )

    def add(self, record: Entry, line: Line) -> None:
        """Take one more record in."""
        self.entries.append(record)
        self.size += len(line.text)
        self.line = line
        if isinstance(record, Param):
            self.params += 1
        elif isinstance(record, Tag):
            self.tags += 1


class Grouped:
    """The unsent records of a journal, in batches; those that have a request of their own stand between them.

    A gateway may take only small ones, and a slow server needs longer for a large one than we wait for it.
    """

    def __init__(self) -> None:
        self._most = self._ceiling = BYTES_PER_BATCH

    def passed(self) -> None:
        """A batch was stored; the next one may be larger."""
        self._most = min(2 * self._most, self._ceiling)

    def too_large(self, batch: Batch) -> None:
        """A gateway does not take a batch of this size."""
        self._ceiling = self._most = min(batch.size, self._most) // 2

    def no_answer(self, batch: Batch) -> None:
        """No answer came; should the size be the reason, a smaller batch gets one."""
        self._ceiling = BYTES_PER_BATCH
        self._most = max(SMALLEST, min(batch.size, self._most) // 2)

    def read(self, folder: Path, position: Position) -> Iterator[Batch | tuple[Record, Line]]:
        """Read from `position` on; only one batch is in memory at a time."""
        batch = Batch()
        for record, line in segments.records(folder, position.offset, position.generation):
            if isinstance(record, (Metric, Param, Tag)):
                if not batch.takes(record, line, self._most):
                    yield batch
                    batch = Batch()
                batch.add(record, line)
                continue
            if batch.entries:
                yield batch
                batch = Batch()
            yield record, line
        if batch.entries:
            yield batch


def post(server: TrackingServer, run_id: str, entries: Sequence[Entry]) -> None:
    """Store entries in one request, all or nothing; values go straight from the journal's wire form to MLflow's."""
    from ...connection.transport import read_answer

    body = _Body(
        run_id,
        [_Point(item.key, item.value, item.time, item.step) for item in entries if isinstance(item, Metric)],
        [_Pair(item.key, item.value) for item in entries if isinstance(item, Param)],
        [_Pair(item.key, item.value) for item in entries if isinstance(item, Tag)],
    )
    answer = server.raw(
        "POST", "runs/log-batch", content=_encoder.encode(body), headers={"Content-Type": "application/json"}
    )
    read_answer(answer, server.uri)


def shortened(entry: Entry) -> tuple[Entry, str]:
    """Cut a value to what MLflow stores of it; gives what is said about it, empty where nothing is cut."""
    if isinstance(entry, Param) and len(entry.value) > LONGEST_PARAM:
        reason = f"MLflow keeps {LONGEST_PARAM} characters of a param; the whole value stands here."
        return Param(entry.key, entry.value[:LONGEST_PARAM]), reason
    if isinstance(entry, Tag) and len(entry.value) > LONGEST_TAG:
        reason = f"MLflow keeps {LONGEST_TAG} characters of a tag; the whole value stands here."
        return Tag(entry.key, entry.value[:LONGEST_TAG]), reason
    return entry, ""


def unspeakable(entry: Entry) -> str:
    """Say why an entry cannot be put into a request at all; empty where it can."""
    if isinstance(entry, Metric) and max(abs(entry.step), abs(entry.time)) > LARGEST_STEP:
        return f"It cannot be put into words: a step or time above {LARGEST_STEP}"
    return ""

"""One row per case of every metric that has them, under the hash of the case's image: artifact ``cases/<metric>.csv``.

The rows are what the metric itself gathered until it was aggregated, in the order in which the cases were given. They
are kept in memory while the run goes on and become files at its end. Paths stay on this computer.
"""

from __future__ import annotations

import csv
import io
import math
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...run import Run
from ..naming import label_name
from ..values import MOST_CLASSES, Labels, mean
from .hashes import hashes
from .images import INDEX, Places, places_of

MOST_ROWS = 20_000
"""Rows of one metric that are kept in all; beyond them the last, the highest and the lowest aggregation are kept."""
MOST_CASES = 100_000
"""Rows of one aggregation; one of more is no list of cases."""
PATIENCE = 10.0
"""Seconds at the end of a run for images that have not been hashed yet."""

_COUNTS = {
    "ConfusionMatrixMetric": ("tp", "fp", "tn", "fn"),
    "FBetaScore": ("tp", "fp", "tn", "fn"),
    "PanopticQualityMetric": ("tp", "fp", "fn", "iou_sum"),
}
"""What the metrics gather that count, per case and class."""


@dataclass
class _Round:
    """What one aggregation was made of."""

    number: int
    epoch: int | None
    places: Places
    rows: list[list[float]]


@dataclass
class _Table:
    """The cases of one metric of the run."""

    title: str
    columns: list[str]
    rounds: list[_Round] = field(default_factory=list)
    count: int = 0
    dropped: int = 0

    def add(self, epoch: int | None, places: Places, rows: list[list[float]]) -> None:
        self.count += 1
        self.rounds.append(_Round(self.count, epoch, places, rows))
        while sum(len(item.rows) for item in self.rounds) > MOST_ROWS and len(self.rounds) > 3:
            self._thin()

    def _thin(self) -> None:
        """Drop the earliest aggregation that is neither the highest nor the lowest, nor the last one."""
        means = [mean([value for row in item.rows for value in row]) for item in self.rounds[:-1]]
        known = [(value, at) for at, value in enumerate(means) if not math.isnan(value)]
        kept = {max(known)[1], min(known)[1]} if known else set()
        del self.rounds[next(at for at in range(len(means)) if at not in kept)]
        self.dropped += 1


class _Gathered:
    """The rows that one metric holds at the moment: where each comes from."""

    def __init__(self, metric: Any) -> None:
        self.metric = weakref.ref(metric)
        self.places: Places = []
        self.resets = 0
        self.taken: tuple[int, int] | None = None
        """How often it had been reset, and how many rows it had, when it was aggregated last."""


class Cases:
    """The cases of one run."""

    def __init__(self) -> None:
        self._gathered: dict[int, _Gathered] = {}
        self._tables: dict[Any, _Table] = {}
        self._begun = False

    def note(self, run: Run, metric: Any, before: int, after: int, given: tuple[Any, Any]) -> None:
        """Note where the rows come from that `metric` has gathered since it had `before` of them.

        Parameters
        ----------
        given
            Prediction and truth that the metric was called with.
        """
        gathered = self._of(metric)
        if before == 0 and gathered.places:
            gathered.resets += 1
            gathered.places = []
        gathered.places += [None] * (before - len(gathered.places))
        del gathered.places[before:]
        if after > MOST_CASES:
            return
        places = places_of(run, *given, after - before)
        gathered.places += places
        _ask(places)  # now, for the folder may be a temporary one

    def aggregated(
        self, run: Run, metric: Any, title: str, labels: Labels, parts: list[str] | None, key: Any = None
    ) -> None:
        """Keep the rows of `metric`, which has just been aggregated.

        Parameters
        ----------
        title
            What the metric is called on the run.
        labels
            Gives the names of its classes.
        parts
            Names of its results, where one metric has several.
        key
            Tells its table from others; the title where it is None.
        """
        gathered = self._of(metric)
        read = rows_of(metric, labels, parts)
        state = (gathered.resets, len(gathered.places))
        if read is None or gathered.taken == state:
            return
        gathered.taken = state
        columns, rows = read
        places = (gathered.places + [None] * len(rows))[: len(rows)]
        table = self._tables.setdefault(title if key is None else key, _Table(title, columns))
        if table.columns != columns:
            if len(table.columns) != len(columns):
                return
            table.columns = columns
        epoch = run.facts.get("epoch")
        table.add(epoch if isinstance(epoch, int) else None, places, rows)
        if not self._begun:
            self._begun = True
            run.at_end(lambda: self.write(run))
        _ask(places)

    def settle(self, key: Any, title: str, epoch: int) -> None:
        """Tell what a table is called in the end, and the epoch of its last aggregation."""
        table = self._tables.get(key)
        if table is not None:
            table.title = title
            table.rounds[-1].epoch = epoch

    def write(self, run: Run) -> None:
        """Make the artifacts."""
        tables = [table for table in self._tables.values() if table.rounds]
        places = {place for table in tables for item in table.rounds for place in item.places if place is not None}
        files = {place for place in places if not place.startswith(INDEX)}
        known = hashes.tell(files, PATIENCE)
        if len(known) < len(files):
            run.notice(
                f"{len(files) - len(known)} of {len(files)} images could not be read in time, or were gone; their "
                "cases are numbered in cases/ and cannot be compared with those of other runs."
            )
        used: set[str] = set()
        for table in tables:
            name = next(name for name in _numbered(_file_name(table.title)) if name not in used)
            used.add(name)
            run.log_text(_csv(table, known), f"cases/{name}.csv")
            if table.dropped:
                run.notice(f"cases/{name}.csv has the last, the best and the worst aggregations; the others were many.")
        self._tables = {}

    def _of(self, metric: Any) -> _Gathered:
        found = self._gathered.get(id(metric))
        if found is None or found.metric() is not metric:
            for key, other in list(self._gathered.items()):
                if other.metric() is None:
                    del self._gathered[key]
            found = self._gathered[id(metric)] = _Gathered(metric)
        return found


def _ask(places: Places) -> None:
    hashes.ask(place for place in places if place is not None and not place.startswith(INDEX))


def count_of(metric: Any) -> int:
    """Count the rows that a metric has gathered on this rank."""
    buffers = metric._buffers
    return len(buffers[0]) if buffers else 0


def rows_of(metric: Any, labels: Labels, parts: list[str] | None) -> tuple[list[str], list[list[float]]] | None:
    """Read the rows that a metric has gathered, with the names of their columns; None where they are no numbers.

    Only what lies on this rank is read: to gather the others' rows all ranks would have to take part.
    """
    buffers = getattr(metric, "_buffers", None)
    if not buffers or not buffers[0] or len(buffers[0]) > MOST_CASES:
        return None
    tables = [_matrix(metric, position) for position in range(len(buffers))]
    if any(table is None or len(table) != len(tables[0]) for table in tables):
        return None
    kind = next((cls.__name__ for cls in type(metric).__mro__ if cls.__name__ in _COUNTS), "")
    if kind and len(tables) == 1 and tables[0].ndim == 3 and tables[0].shape[2] == len(_COUNTS[kind]):
        if kind == "ConfusionMatrixMetric" and parts:
            return _confusion(tables[0], metric.metric_name, parts, labels)
        return _side_by_side(tables[0].unbind(2), _COUNTS[kind], labels)
    # What scores and ranks (AUC) gathers predictions and labels, which are kept as they were given.
    names = [""] if len(tables) == 1 else ["prediction", "label"] if len(tables) == 2 else []
    return _side_by_side(tables, names or [f"value_{number}" for number in range(1, len(tables) + 1)], labels)


def _side_by_side(
    tables: Sequence[Any], names: Sequence[str], labels: Labels
) -> tuple[list[str], list[list[float]]] | None:
    """Put the values of several tables [rows, ...] side by side; `names` tells their columns apart."""
    flat = [table.flatten(1) for table in tables]
    if not 0 < sum(table.shape[1] for table in flat) <= MOST_CLASSES:
        return None
    columns = [name for part, table in zip(names, flat, strict=True) for name in _columns(part, table.shape[1], labels)]
    return columns, [[value for table in rows for value in table.tolist()] for rows in zip(*flat, strict=True)]


def _matrix(metric: Any, position: int) -> Any:
    """Give the rows of one buffer as a tensor on the processor, [rows, ...]."""
    torch: Any = sys.modules["torch"]
    rows = metric._buffers[position]
    synced = metric._synced_tensors[position] if metric._synced and metric._synced_tensors else None
    try:
        with torch.no_grad():
            whole = synced if synced is not None and len(synced) == len(rows) else torch.stack(rows)
            whole = whole.detach().cpu()
    except (RuntimeError, TypeError):
        return None  # rows of different shapes
    whole = whole.as_subclass(torch.Tensor)
    return whole.reshape(-1, 1) if whole.ndim == 1 else whole


def _confusion(table: Any, names: Any, parts: list[str], labels: Labels) -> tuple[list[str], list[list[float]]]:
    """Turn counts [rows, classes, 4] into the measures that the metric was asked for, per case and class."""
    compute = sys.modules["monai.metrics.confusion_matrix"].compute_confusion_matrix_metric
    columns: list[str] = []
    rows: list[list[float]] = [[] for _ in range(len(table))]
    for name, part in zip(names, parts, strict=True):
        columns += _columns(part, table.shape[1], labels)
        for row, values in zip(rows, compute(name, table).tolist(), strict=True):
            row += values
    return columns, rows


def _columns(part: str, count: int, labels: Labels) -> list[str]:
    """Name the columns: by the class, by the part of the result, or by both."""
    if count == 1:
        return [part or "value"]
    classes = labels(count) or [f"class_{position}" for position in range(count)]
    return [f"{part}_{name}" if part else name for name in classes]


def _csv(table: _Table, known: dict[str, str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "aggregation", "epoch", *table.columns])
    for item in table.rounds:
        epoch = "" if item.epoch is None else item.epoch
        for number, (place, row) in enumerate(zip(item.places, item.rows, strict=True), start=1):
            writer.writerow([_case(place, known, number), item.number, epoch, *map(_text, row)])
    return stream.getvalue()


def _case(place: str | None, known: dict[str, str], number: int) -> str:
    if place is not None and place.startswith(INDEX):
        return place
    return known.get(place or "", f"row:{number}")


def _text(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(value)


def _file_name(title: str) -> str:
    return label_name(title.replace("/", "_"))


def _numbered(name: str) -> list[str]:
    return [name, *(f"{name}_{number}" for number in range(2, 1000))]

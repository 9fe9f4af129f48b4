"""Finds the cells below an identifying column: CSV, TSV, Markdown, printed data frames, HTML, MLflow's JSON tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..model import Hit
from .labels import Label, Labelled, label_of
from .reading import Reading
from .values import hit_of

_COMPANIONS = {
    "name": Label("name", False),
    "patient": Label("name", False),
    "subject": Label("name", False),
    "address": Label("text", False),
    "phone": Label("text", False),
    "telephone": Label("text", False),
    "mobile": Label("text", False),
    "consultant": Label("name", False),
    "physician": Label("name", False),
    "gp": Label("name", False),
}
"""Columns that identify when they stand beside one that surely does."""

_TAG = r"[0-9a-fA-F]{4}\|[0-9a-fA-F]{4}|\([0-9a-fA-F]{4},[0-9a-fA-F]{4}\)"
_CELLS = {
    mark: re.compile(rf"(\"(?:[^\"]|\"\"){{0,20000}}\"|(?:{_TAG}|[^{again}\r\n])*)({again}|\r?\n|\Z)")
    for mark, again in ((",", ","), (";", ";"), ("\t", "\t"), ("|", r"\|"))
}
_FIELD = re.compile(r"\S+(?:[ ]\S+)*")
_HEADING = re.compile(r"<th\b[^<>]{0,200}>([^<>]{0,200})</th>", re.I)
_CELL = re.compile(r"<(/?)(tr|td|th|table)\b[^<>]{0,200}>([^<>]{0,1000})", re.I)
_COLUMNS = re.compile(r"[\"']columns[\"']\s{0,8}:\s{0,8}\[")
_DATA = re.compile(r"[\"']data[\"']\s{0,8}:\s{0,8}\[")
_TOKEN = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|([\[{])|([\]}])|(,)|([^\s\"\[\]{},]+)")
_MOST_ROWS = 1_000_000
_MOST_PRINTED = 2000


def find(reading: Reading) -> Iterator[Hit]:
    """Find the cells of identifying columns."""
    labels = sorted([*reading.labels, *reading.tags])
    if not labels:
        return
    text = reading.text
    begin, stop, done, header = 0, -1, -1, -1
    for labelled in labels:
        if labelled.stop > stop:  # a line may be a megabyte long: each is looked for once
            begin = text.rfind("\n", max(0, stop), labelled.start) + 1 or max(0, begin)
            stop = text.find("\n", labelled.stop)
            stop = len(text) if stop < 0 else stop
        if labelled.start < done and begin != header:
            continue
        mark = _mark(text, labelled, begin, stop)
        if mark is not None:
            if labelled.start >= done:
                yield from _delimited(reading, begin, mark)
                header, done = begin, _end(text, stop)
        elif _stands_apart(text, labelled, begin, stop):
            pair = _beside(reading, labelled, begin, stop)
            if pair is not None:
                yield from hit_of(reading, labelled.label, *pair, True)
            else:
                yield from _printed(reading, labelled, begin, stop)
                header, done = begin, _end(text, stop)
    if "<th" in reading.low:
        yield from _html(reading)
    for columns in _COLUMNS.finditer(text):
        yield from _split(reading, columns.end())


def _end(text: str, at: int) -> int:
    """Give where the table whose header ends at `at` is over: at an empty line."""
    empty = text.find("\n\n", at)
    return empty if empty >= 0 else len(text)


def _mark(text: str, labelled: Labelled, begin: int, stop: int) -> str | None:
    """Give what separates the cells where the label is a whole cell of its line."""
    before = text[max(begin, labelled.start - 3) : labelled.start].rstrip(" ").removesuffix('"')
    after = text[labelled.stop : min(stop, labelled.stop + 3)].lstrip(" ").removeprefix('"').lstrip(" ")
    left, right = before[-1:], after.strip("\r")[:1]
    if left and left not in ",;\t|":
        return None
    if right and right not in ",;\t|":
        return None
    mark = left or right
    return mark if mark and right in ("", mark) else None


def _cells(text: str, at: int, mark: str) -> Iterator[tuple[int, int, int, int]]:
    """Give row, column, begin and end of each cell from `at` to the next empty line."""
    cells = _CELLS[mark]
    row = column = 0
    while row < _MOST_ROWS:
        found = cells.match(text, at)
        if found is None or (column == 0 and not found[1].strip() and found[2] != mark):
            return
        begin, stop = found.span(1)
        if found[1].startswith('"') and found[1].endswith('"') and len(found[1]) > 1:
            begin, stop = begin + 1, stop - 1
        yield row, column, begin, stop
        if found[2] == mark:
            column += 1
        elif found.end() >= len(text):
            return
        else:
            row, column = row + 1, 0
        at = found.end()


def _delimited(reading: Reading, begin: int, mark: str) -> Iterator[Hit]:
    text = reading.text
    header: list[str] = []
    first_column: list[bool] = []
    for row, column, a, b in _cells(text, begin, mark):
        if row == 0:
            header.append(text[a:b].strip())
        elif row > 2:
            break
        elif column == 0:
            first_column.append(label_of(text[a:b]) is not None)
    columns = _labels(header)
    if 0 in columns and (any(first_column) or (len(header) == 2 and _is_value(header[1]))):
        yield from _pairs(reading, begin, mark)
        return
    for row, column, a, b in _cells(text, begin, mark):
        if row and column in columns:
            yield from hit_of(reading, columns[column], a, b, True)


def _labels(header: Iterable[str]) -> dict[int, Label]:
    names = list(header)
    columns = {at: label for at, name in enumerate(names) if (label := label_of(name)) is not None}
    if columns:
        for at, name in enumerate(names):
            companion = _COMPANIONS.get(name.lower())
            if companion is not None:
                columns.setdefault(at, companion)
    return columns


def _is_value(cell: str) -> bool:
    return "^" in cell or sum(letter.isdigit() for letter in cell) > 3


def _pairs(reading: Reading, begin: int, mark: str) -> Iterator[Hit]:
    """A table of names and values, one pair a line."""
    label: Label | None = None
    for _, column, a, b in _cells(reading.text, begin, mark):
        if column == 0:
            label = label_of(reading.text[a:b])
        elif label is not None:
            yield from hit_of(reading, label, a, b, True)


def _stands_apart(text: str, labelled: Labelled, begin: int, stop: int) -> bool:
    left = text[begin : labelled.start]
    right = text[labelled.stop : stop]
    return (not left.strip() or left.endswith("  ")) and (not right.strip() or right.startswith("  "))


def _beside(reading: Reading, labelled: Labelled, begin: int, stop: int) -> tuple[int, int] | None:
    """Give the value on the label's own line where names and values stand in two columns."""
    text = reading.text
    fields = list(_FIELD.finditer(text, begin, min(stop, begin + 1000)))
    if len(fields) != 2 or fields[0].start() != labelled.start or label_of(fields[1][0]) is not None:
        return None
    below = text[stop + 1 : stop + 300].partition("\n")[0]
    above = text[max(0, begin - 300) : max(0, begin - 1)].rpartition("\n")[2]
    paired = any((near := _FIELD.search(line)) and label_of(near[0]) is not None for line in (below, above))
    return fields[1].span() if labelled.start == begin or paired else None


def _printed(reading: Reading, labelled: Labelled, begin: int, stop: int) -> Iterator[Hit]:
    """The column below a label in a table that is laid out with spaces."""
    text, label = reading.text, labelled.label
    left, right = labelled.start - begin, labelled.stop - begin
    for _ in range(_MOST_PRINTED):
        begin = stop + 1
        stop = text.find("\n", begin)
        stop = len(text) if stop < 0 else stop
        if begin >= len(text) or not text[begin:stop].strip():
            return
        for field in _FIELD.finditer(text, begin, stop):
            if field.start() - begin < right and field.end() - begin > left:
                yield from hit_of(reading, label, *field.span(), True)


def _html(reading: Reading) -> Iterator[Hit]:
    """The cells below the headings of an HTML table."""
    columns: dict[int, Label] = {}
    headings: list[str] = []
    column = -1
    for cell in _CELL.finditer(reading.text):
        closing, name = bool(cell[1]), cell[2].lower()
        if name == "table":
            columns, headings = {}, []
        elif name == "tr":
            if closing and headings and not columns:
                columns = _labels(headings)
            headings, column = [], -1
        elif not closing:
            column += 1
            if name == "th":
                headings += [""] * (column - len(headings)) + [cell[3].strip()]
            if column in columns and (name == "td" or headings[-1:] != [cell[3].strip()] or column):
                yield from hit_of(reading, columns[column], *cell.span(3), True)


def _split(reading: Reading, at: int) -> Iterator[Hit]:
    """``{"columns": ["PatientID", "dice"], "data": [["ABC", 0.8]]}``, as MLflow writes tables."""
    text = reading.text
    end = text.find("]", at, at + 20_000)
    if end < 0:
        return
    columns = _labels([token[1] for token in _TOKEN.finditer(text, at, end) if token[1] is not None])
    data = _DATA.search(text, end) if columns else None
    depth, column = 1, 0
    for token in _TOKEN.finditer(text, data.end()) if data is not None else ():
        if token[2]:
            depth, column = depth + 1, column if depth > 1 else 0
        elif token[3]:
            depth -= 1
            if depth == 0:
                return
        elif token[4]:
            column += depth == 2
        elif depth == 2 and column in columns:
            group = 1 if token[1] is not None else 5
            yield from hit_of(reading, columns[column], *token.span(group), True)

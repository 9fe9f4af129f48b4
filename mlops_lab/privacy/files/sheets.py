"""Spreadsheets (Office Open XML): whether a column whose header says so holds names or numbers of persons.

A sheet keeps its texts in one part and where they stand in another, so no cell can be replaced by itself: a sheet that
identifies somebody is not recorded, and the person is told to write it as CSV, which can be mended.
"""

from __future__ import annotations

import html
import re
import zipfile

from ..detectors.labels import Label, label_of
from ..detectors.reading import Reading
from ..detectors.values import is_identifying
from ..model import Kind
from .examination import LARGEST_CHANGED, Blocked

_ITEM = re.compile(r"<si\b[^>]*>(.*?)</si>", re.DOTALL)
_TEXT = re.compile(r"<t\b[^>]*>(.*?)</t>", re.DOTALL)
_CELL = re.compile(r"<c\b([^>]*)>(.*?)</c>", re.DOTALL)
_PLACE = re.compile(r"\br=\"([A-Z]{1,3})(\d+)\"")
_VALUE = re.compile(r"<v>(.*?)</v>", re.DOTALL)
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_HEADER_ROWS = 5
"""Rows in which a header may stand."""


def refuse(archive: zipfile.ZipFile) -> None:
    """Raise where `archive` is a spreadsheet with a column that identifies somebody.

    Raises
    ------
    Blocked
    """
    names = archive.namelist()
    sheets = [name for name in names if _SHEET.fullmatch(name)]
    if not sheets:
        return
    shared = _shared(archive) if "xl/sharedStrings.xml" in names else []
    for sheet in sheets:
        if archive.getinfo(sheet).file_size > LARGEST_CHANGED:
            raise Blocked(Kind.UNREADABLE, "it is a spreadsheet too large to be looked through. Write it as CSV.")
        columns: dict[str, Label] = {}
        for column, row, value in _cells(archive.read(sheet).decode("utf-8", "replace"), shared):
            label = label_of(value) if row <= _HEADER_ROWS and len(value) < 60 else None
            if label is not None:
                columns[column] = label
            elif column in columns and is_identifying(value, columns[column], True, Reading(value)):
                raise Blocked(
                    Kind.UNREADABLE,
                    "it is a spreadsheet in which a column names or numbers persons. Write it as CSV, where they are "
                    "replaced, or leave the column out.",
                )


def _shared(archive: zipfile.ZipFile) -> list[str]:
    text = archive.read("xl/sharedStrings.xml").decode("utf-8", "replace")
    return [html.unescape("".join(_TEXT.findall(item))) for item in _ITEM.findall(text)]


def _cells(sheet: str, shared: list[str]) -> list[tuple[str, int, str]]:
    """Give column, row and content of every cell."""
    cells = []
    for attributes, inner in _CELL.findall(sheet):
        place = _PLACE.search(attributes)
        value = _VALUE.search(inner)
        if place is None:
            continue
        content = value[1] if value is not None else html.unescape("".join(_TEXT.findall(inner)))
        if 't="s"' in attributes and content.isdigit() and int(content) < len(shared):
            content = shared[int(content)]
        if content.strip():
            cells.append((place[1], int(place[2]), content.strip()))
    return cells

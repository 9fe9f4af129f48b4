"""Reads a dataset's table of participants, however a spreadsheet wrote it: who has which role, and who is what.

Encoding, separator, line ends and the case of the header are taken as they come. What cannot be read is one sentence.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BadProjectFile

PROJECT_FILE = "mlops.toml"
UNASSIGNED = "unassigned"
"""Stands among the roles for files that have none."""

ROLES = {
    "train": "train",
    "training": "train",
    "tune": "tune",
    "tuning": "tune",
    "val": "tune",
    "valid": "tune",
    "validation": "tune",
    "dev": "tune",
    "test": "test",
    "testing": "test",
    "external": "external",
}
_ABSENT = {"", "n/a", "na", "none", "-", UNASSIGNED}


@dataclass(frozen=True, slots=True)
class Table:
    """Where a dataset says which subject has which role."""

    participants: str = "participants.tsv"
    subject: str = "participant_id"
    role: str = "role"
    declared: bool = False
    """True when somebody asked for it: then a column that is not there is an error."""


@dataclass(frozen=True, slots=True)
class Participants:
    """What the table says."""

    roles: dict[str, str | None]
    """Per subject its role; None where the table gives it none."""
    rows: dict[str, list[str]] = field(default_factory=dict)
    """Per subject its rows, every column of them, each as one line of JSON."""


class Unreadable(Exception):
    """The file is no table that gives subjects a role; the message goes on after its name."""


def canonical(role: str) -> str:
    """Give the name under which a role is known here: ``Training`` is train, ``val`` is tune."""
    folded = role.strip().lower()
    return ROLES.get(folded, folded)


def read_participants(data: bytes, table: Table) -> Participants:
    """Read the bytes of a table.

    Raises
    ------
    Unreadable
        When it is no table, or lacks the columns.
    BadProjectFile
        When it gives one subject two roles.
    """
    header, rows = _rows(_text(data))
    subject_at, role_at = (_column(header, wanted) for wanted in (table.subject, table.role))
    lacking = [name for name, at in ((table.subject, subject_at), (table.role, role_at)) if at is None]
    if subject_at is None or role_at is None:
        columns = f"its columns are {', '.join(header)}" if header else "it has no columns"
        raise Unreadable(f"has no column {' and no column '.join(lacking)} ({columns})")
    found = Participants({})
    for row in rows:
        cells = [*row, *[""] * (len(header) - len(row))]
        subject, given = cells[subject_at].strip(), cells[role_at].strip()
        if not subject:
            continue
        role = None if given.lower() in _ABSENT else canonical(given)
        before = found.roles.get(subject)
        if before and role and before != role:
            # Such a subject would leak from training into the test: no role is computed from a contradiction.
            raise BadProjectFile(
                f"{table.participants} gives subject {subject} two roles, {before} and {role}.",
                "Give each subject one role.",
            )
        found.roles[subject] = before or role
        # By column name: the same table with its columns in another order says the same.
        named = sorted(zip([*header, *[""] * (len(cells) - len(header))], cells, strict=True))
        found.rows.setdefault(subject, []).append(json.dumps(named))
    return found


def project_table(top: Path, name: str) -> Table:
    """Give what ``mlops.toml`` at the top of a repository says of dataset `name`; without it, what is usual.

    Raises
    ------
    BadProjectFile
    """
    file = top / PROJECT_FILE
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Table()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadProjectFile(f"{file} cannot be read: {error}.", "Correct that file.") from None
    datasets = document.get("datasets", {})
    section = datasets.get(name) if isinstance(datasets, dict) else None
    if section is None:
        return Table()
    if not isinstance(section, dict):
        raise BadProjectFile(f"In {file}, datasets.{name} is not a table.", f"Write a section [datasets.{name}].")
    values = {key: section[key] for key in ("participants", "subject", "role") if key in section}
    for key, value in values.items():
        if not isinstance(value, str):
            raise BadProjectFile(f"In {file}, {key} of datasets.{name} is not a text.", "Put the value in quotes.")
    return Table(**values, declared=True)


def _text(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data[:2]:
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        # Every byte means something in Latin-1, so two different tables never become the same text.
        return data.decode("latin-1")


def _rows(text: str) -> tuple[list[str], list[list[str]]]:
    # newline=None: the line ends of old Macs and of Windows count as line ends.
    lines = io.StringIO(text, newline=None).read()
    first = lines.lstrip("\n").partition("\n")[0]
    separator = "\t" if "\t" in first else max(",;", key=first.count)
    try:
        rows = _parsed(csv.reader(io.StringIO(lines), delimiter=separator, strict=True))
    except csv.Error:
        try:
            # Many tables know no quoting, and a quotation mark is just a character in them.
            rows = _parsed(csv.reader(io.StringIO(lines), delimiter=separator, quoting=csv.QUOTE_NONE))
        except csv.Error as error:
            raise Unreadable(f"cannot be read as a table ({error})") from None
    return ([name.strip() for name in rows[0]], rows[1:]) if rows else ([], [])


def _parsed(reader: Iterable[list[str]]) -> list[list[str]]:
    return [row for row in reader if any(cell.strip() for cell in row)]


def _column(header: list[str], wanted: str) -> int | None:
    """Find a column, in other letters' case if need be; None when it is not there or two could be meant."""
    if header.count(wanted) == 1:
        return header.index(wanted)
    alike = [at for at, name in enumerate(header) if name.casefold() == wanted.casefold()]
    return alike[0] if len(alike) == 1 else None

"""Which files of a version are for training, tuning and testing, and one hash per role.

Only the list of files and the table of participants are read, never an image: two versions whose test role has the
same digest have the same test bytes, whatever else was corrected between them.
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

from .errors import BadProjectFile
from .model import RoleDigest
from .objects import File

PROJECT_FILE = "mlops.toml"

_ROLES = {
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
_FOLDERS = {"train", "training", "tune", "val", "validation", "test"}
_ABSENT = {"", "n/a", "na", "none", "-"}
_DOUBLE_SUFFIXES = (".nii.gz", ".ome.tif", ".ome.tiff", ".tar.gz", ".seg.nrrd")


@dataclass(frozen=True, slots=True)
class Table:
    """Where a dataset says which subject has which role."""

    participants: str = "participants.tsv"
    subject: str = "participant_id"
    role: str = "role"
    declared: bool = False
    """True when ``mlops.toml`` asks for it: then a column that is not there is an error."""


def role_digests(
    top: Path, name: str, files: list[File], read: Callable[[File], bytes]
) -> tuple[dict[str, RoleDigest], str | None]:
    """Reduce each role of a version to a digest.

    Parameters
    ----------
    top
        Top of the repository, where ``mlops.toml`` may stand.
    name
        Name of the dataset.
    files
        Every file of the version.
    read
        Gives the bytes of one file; called for the table of participants only.

    Returns
    -------
    roles
        Per role its digest: the md5 over the sorted lines ``<relative path> <md5>`` of its files.
    notice
        Why there are no roles although the project declares them; else None.

    Raises
    ------
    BadProjectFile
    """
    table = _table(top, name)
    participants = next((file for file in files if file.path == table.participants), None)
    if participants is None and table.declared:
        return {}, f"This version of {name} has no {table.participants}, so its files have no roles."
    if participants is not None:
        subjects = _subjects(read(participants), table)
        if subjects:
            return _digest(_by_subject(files, subjects)), None
    return _digest(_by_folder(files)), None


def subject_of(path: str, subjects: Mapping[str, str]) -> str | None:
    """Find the subject whose id is a component of `path`, or stands before an underscore in one.

    The outermost component decides; within it the longest id does, so that ``sub-1_b`` is not taken for ``sub-1``.
    """
    for component in path.split("/"):
        for candidate in _candidates(component):
            if candidate in subjects:
                return candidate
    return None


def _candidates(component: str) -> Iterator[str]:
    yield component
    double = next((suffix for suffix in _DOUBLE_SUFFIXES if component.lower().endswith(suffix)), "")
    stem = component[: -len(double)] if double else component.rpartition(".")[0] or component
    yield stem
    while "_" in stem:
        stem = stem.rpartition("_")[0]
        yield stem


def _table(top: Path, name: str) -> Table:
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


def _subjects(data: bytes, table: Table) -> dict[str, str]:
    text = data.decode("utf-8-sig", "replace")
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in first else ",")
    columns = rows.fieldnames or []
    if table.subject not in columns or table.role not in columns:
        if table.declared:
            absent = table.subject if table.subject not in columns else table.role
            raise BadProjectFile(
                f"{table.participants} has no column {absent}, which {PROJECT_FILE} names.",
                f"Its columns are {', '.join(columns)}; correct {PROJECT_FILE}.",
            )
        return {}
    subjects: dict[str, str] = {}
    for row in rows:
        subject, role = (row[table.subject] or "").strip(), (row[table.role] or "").strip().lower()
        if not subject or role in _ABSENT:
            continue
        role = _ROLES.get(role, role)
        if subjects.setdefault(subject, role) != role:
            # Such a subject would leak from training into the test: no role is computed from a contradiction.
            raise BadProjectFile(
                f"{table.participants} gives subject {subject} two roles, {subjects[subject]} and {role}.",
                "Give each subject one role.",
            )
    return subjects


def _by_subject(files: Iterable[File], subjects: Mapping[str, str]) -> Iterator[tuple[str, str | None, File]]:
    for file in files:
        subject = subject_of(file.path, subjects)
        if subject is not None:
            yield subjects[subject], subject, file


def _by_folder(files: Iterable[File]) -> Iterator[tuple[str, str | None, File]]:
    for file in files:
        folder, separator, _ = file.path.partition("/")
        if separator and folder.lower() in _FOLDERS:
            yield _ROLES[folder.lower()], None, file


def _digest(parts: Iterable[tuple[str, str | None, File]]) -> dict[str, RoleDigest]:
    lines: dict[str, list[str]] = {}
    seen: dict[str, set[str]] = {}
    for role, subject, file in parts:
        lines.setdefault(role, []).append(f"{file.path} {file.md5}\n")
        found = seen.setdefault(role, set())
        if subject is not None:
            found.add(subject)
    return {
        role: RoleDigest(
            digest=md5("".join(sorted(lines[role])).encode(), usedforsecurity=False).hexdigest(),
            files=len(lines[role]),
            subjects=len(seen[role]),
        )
        for role in sorted(lines)
    }

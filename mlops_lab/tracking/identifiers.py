"""Names and numbers of patients that come with the data of a run, so that the guard knows them wherever they stand.

What a dataset version says of its patients is read once per process: the list of its files (never an image), its
table of participants, and the header of one DICOM file per folder. A case is named by the md5 of its image's bytes, as
in ``cases/*.csv``. Pseudonyms such as BIDS's ``sub-001`` stay, unless the project's policy gives a study id for them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from hashlib import md5
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..datasets import UsedDataset
    from ..datasets.objects import File
    from ..privacy import Known

MOST_FOLDERS = 1_000
"""Folders of which one DICOM file each is read."""
LARGEST_TABLE = 4 * 2**20
"""Bytes of a table that is read for names and numbers."""
MOST_TABLES = 16
MOST_VERSIONS = 16
_TABLES = (".tsv", ".csv")
_NO_IMAGES = (
    *_TABLES,
    *(".json", ".txt", ".md", ".yaml", ".yml", ".toml", ".xml", ".html", ".pdf", ".xlsx", ".py", ".bib"),
    *(".bval", ".bvec", ".gitignore", ".dvc", ".license", ".cff"),
)
_REMOVED = "YES"


def known(given: Iterable[UsedDataset]) -> Known:
    """Collect what identifies the patients of dataset versions.

    Parameters
    ----------
    given
        The versions, verified.
    """
    from ..privacy import Known

    found = Known()
    for used in given:
        root = used.path if used.path.is_dir() else used.path.parent
        found = found + _of_version(used.used.md5, root, used.files)
    return found


_read: dict[tuple[str, Path], Known] = {}


def _of_version(version: str, root: Path, files: list[File]) -> Known:
    """Read what one version says; it never changes, so once is enough."""
    found = _read.get((version, root))
    if found is None:
        if len(_read) >= MOST_VERSIONS:
            _read.clear()
        found = _read[version, root] = _collect(root, files)
    return found


def _collect(root: Path, files: list[File]) -> Known:
    from ..privacy import Known

    images = {file.path: file.md5 for file in files if not file.path.lower().endswith(_NO_IMAGES)}
    names: set[str] = set()
    ids: set[str] = set()
    for path in _tables(files):
        for nature, value in _of_table(root / path):
            (names if nature == "name" else ids).add(value)
    series = _series(images)
    for first in list(series.values())[:MOST_FOLDERS]:
        of_names, of_ids = _of_header(root / first)
        names |= of_names
        ids |= of_ids
    files_and_series = {**_folder_hashes(images, series), **images}
    return Known(names=frozenset(names), ids=frozenset(ids), files=files_and_series)


def _tables(files: list[File]) -> list[str]:
    """Give the tables of a version, those nearest its top first."""
    found = [file.path for file in files if file.path.lower().endswith(_TABLES)]
    return sorted(found, key=lambda path: (path.count("/"), path))[:MOST_TABLES]


def _of_table(path: Path) -> Iterator[tuple[str, str]]:
    """Give the cells of columns whose header says that they name or number a person."""
    from ..privacy.detectors.labels import label_of
    from ..privacy.detectors.reading import Reading
    from ..privacy.detectors.values import is_identifying

    try:
        if path.stat().st_size > LARGEST_TABLE:
            return
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError:
        return
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=None), delimiter=max("\t,;", key=first.count))
    try:
        header = next(rows, [])
        columns = {at: label for at, name in enumerate(header) if (label := label_of(name)) is not None}
        for row in rows if columns else ():
            for at, label in columns.items():
                value = row[at].strip() if at < len(row) else ""
                if not value or label.nature not in ("name", "id", "person"):
                    continue
                if is_identifying(value, label, True, Reading(value)):
                    yield ("id" if any(map(str.isdigit, value)) else "name"), value
    except csv.Error:
        return  # what cannot be read as a table names nobody


def _series(images: dict[str, str]) -> dict[str, str]:
    """Give the folders that may hold DICOM, each with its first file: it has the suffix of DICOM, or none."""
    found: dict[str, str] = {}
    for path in images:
        folder, _, name = path.rpartition("/")
        suffix = PurePosixPath(name).suffix.lower() if "." in name else ""
        if folder not in found and (suffix in ("", ".dcm", ".ima", ".dicom") or suffix[1:].isdigit()):
            found[folder] = path
    return found


def _of_header(path: Path) -> tuple[set[str], set[str]]:
    """Give the names and the numbers in the header of a DICOM file; none where it says that they were removed."""
    from ..privacy.detectors.values import is_pseudonym
    from ..privacy.files import headers

    try:
        values = headers.identifying_values(path)
    except (OSError, ValueError, IndexError):
        return set(), set()
    if values.get(headers.REMOVED) == [_REMOVED]:
        return set(), set()
    names: set[str] = set()
    ids: set[str] = set()
    for tag, found in values.items():
        kept = {value for value in found if not is_pseudonym(value)}
        if tag in (headers.PATIENT_NAME, headers.OTHER_NAMES, headers.BIRTH_NAME, headers.REFERRING):
            names |= kept
        elif tag == headers.BIRTH_DATE:
            ids |= {spelled for value in kept for spelled in _spelled(value)}
        elif tag != headers.REMOVED:
            ids |= {value for value in kept if any(map(str.isdigit, value))}
    return names, ids


def _spelled(date: str) -> list[str]:
    """Spell a date of DICOM in the usual ways."""
    if len(date) != 8 or not date.isdigit():
        return []
    year, month, day = date[:4], date[4:6], date[6:]
    return [date, f"{year}-{month}-{day}", f"{day}-{month}-{year}", f"{month}-{day}-{year}"]


def _folder_hashes(images: dict[str, str], folders: Iterable[str]) -> dict[str, str]:
    """Hash folders that are one image each, DICOM series, as cases are named: the md5 of the list of their files."""
    inside: dict[str, list[tuple[str, str]]] = {folder: [] for folder in folders if folder}
    for path, value in images.items():
        folder, _, name = path.rpartition("/")
        if folder in inside:
            inside[folder].append((name, value))
    hashes = {}
    for folder, entries in inside.items():
        text = json.dumps([{"md5": value, "relpath": name} for name, value in sorted(entries)], sort_keys=True)
        hashes[folder] = f"{md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"
    return hashes

"""Which files a bundle trains on: image and label pairs of one role, found in the dataset's own table of subjects.

A dataset is a folder with a table of subjects and, anywhere below it, files named ``<anything>_image.<type>`` and
``<the same>_label.<type>``. A file belongs to the subject whose name its path starts with: ``sub-001/...`` or
``sub-001_...``, at any depth.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .errors import DatalistError

_KIND = re.compile(r"^(?P<stem>.+)_(?P<kind>image|label)(?P<type>\.[^/]+)$")


def by_role(
    dataset_dir: str | os.PathLike[str],
    role: str,
    *,
    participants: str = "participants.tsv",
    subject_column: str = "participant_id",
    role_column: str = "role",
) -> list[dict[str, str]]:
    """List the image and label pairs of every subject that has `role`.

    Parameters
    ----------
    dataset_dir
        The dataset's folder, e.g. what ``mlops_lab.use_dataset`` gives.
    role
        ``"train"``, ``"tune"`` or ``"test"``.
    participants
        The table of subjects, tab-separated with a header, relative to `dataset_dir`.
    subject_column, role_column
        The table's columns with the subject's name and role.

    Returns
    -------
    list of dict
        ``{"image": path, "label": path}`` per pair, ordered by path. Never empty.

    Raises
    ------
    DatalistError
        When there is no table, no subject with this role, no pair of theirs, or an image without its label.
    """
    folder = Path(dataset_dir)
    subjects = _subjects(folder, role, participants, subject_column, role_column)
    found: dict[tuple[str, str], dict[str, str]] = {}
    for path in _files(folder):
        parts = _KIND.match(path.name)
        if parts and _owner(path.relative_to(folder), subjects):
            found.setdefault((str(path.parent), parts["stem"]), {})[parts["kind"]] = str(path)
    if not found:
        raise DatalistError(
            f"No images were found for the {len(subjects)} subjects with the role {role!r} in {folder}.",
            "Files must be named like sub-001_slice-1_image.nii.gz and sub-001_slice-1_label.nii.gz.",
        )
    for (_, stem), pair in sorted(found.items()):
        for kind, other in (("image", "label"), ("label", "image")):
            if kind not in pair:
                raise DatalistError(
                    f"The {other} {Path(pair[other]).relative_to(folder)} has no {kind} beside it.",
                    f"Add {stem}_{kind} to the dataset, or remove the {other}.",
                )
    return [found[key] for key in sorted(found)]


def _subjects(folder: Path, role: str, participants: str, subject_column: str, role_column: str) -> set[str]:
    """Read the names of the subjects with `role` from the table."""
    table = folder / participants
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
    except FileNotFoundError:
        raise DatalistError(
            f"The dataset {folder} has no {participants}, so it cannot be known which subjects to train on.",
            f"Add a tab-separated {participants} with the columns {subject_column} and {role_column}.",
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatalistError(f"{table} cannot be read as a tab-separated table: {error}.") from error
    for column in (subject_column, role_column):
        if rows and column not in rows[0]:
            raise DatalistError(
                f"{table} has no column {column!r}.", f"Its columns are: {', '.join(map(str, rows[0]))}."
            )
    subjects = {row[subject_column].strip() for row in rows if (row[role_column] or "").strip() == role}
    subjects.discard("")
    if not subjects:
        roles = sorted({(row[role_column] or "").strip() for row in rows} - {""})
        raise DatalistError(
            f"No subject in {table} has the role {role!r}.",
            f"Its roles are: {', '.join(roles)}." if roles else "The table names no roles.",
        )
    return subjects


def _files(folder: Path) -> Iterator[Path]:
    # Views of a dataset version may hold folders as links, which Path.rglob would not enter.
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            yield Path(place, name)


def _owner(path: Path, subjects: set[str]) -> str | None:
    """Give the subject whose name a part of `path` is, or starts with before an underscore."""
    for part in path.parts:
        if part in subjects:
            return part
        for end in (i for i, letter in enumerate(part) if letter == "_"):
            if part[:end] in subjects:
                return part[:end]
    return None

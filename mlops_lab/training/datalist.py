"""Which files a bundle trains on: image and label pairs of one role, by the reading of roles that a run records.

A dataset is a folder with, anywhere below it, files named ``<anything>_image.<type>`` and ``<the same>_label.<type>``.
Their roles come from the dataset's table of subjects, as ``mlops.toml`` names it, else from folders named after roles.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from ..datasets import readings
from ..datasets.errors import DatasetsError
from ..datasets.participants import PROJECT_FILE, canonical
from .errors import DatalistError

_KIND = re.compile(r"^(?P<stem>.+)_(?P<kind>image|label)(?P<type>\.[^/]+)$")


def by_role(
    dataset_dir: str | os.PathLike[str],
    role: str,
    *,
    participants: str | None = None,
    subject_column: str | None = None,
    role_column: str | None = None,
) -> list[dict[str, str]]:
    """List the image and label pairs of every subject that has `role`.

    Parameters
    ----------
    dataset_dir
        The dataset's folder, e.g. what ``mlops_lab.use_dataset`` gives.
    role
        ``"train"``, ``"tune"`` or ``"test"``.
    participants
        The table of subjects, relative to `dataset_dir`; by default the one that the project's ``mlops.toml`` names,
        else ``participants.tsv``.
    subject_column, role_column
        The table's columns with the subject's name and role; by default found in the same way.

    Returns
    -------
    list of dict
        ``{"image": path, "label": path}`` per pair, ordered by path. Never empty.

    Raises
    ------
    DatalistError
        When nothing says which files have which role, none of them has this one, or an image has no label.
    """
    folder = Path(dataset_dir)
    found: dict[tuple[str, str], dict[str, str]] = {}
    paths, whose = _paths(folder, role, {"participants": participants, "subject": subject_column, "role": role_column})
    for path in paths:
        parts = _KIND.match(path.name)
        if parts:
            found.setdefault((str(path.parent), parts["stem"]), {})[parts["kind"]] = str(path)
    if not found:
        raise DatalistError(
            f"No images were found for {whose} in {folder}.",
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


def _paths(folder: Path, role: str, asked: dict[str, str | None]) -> tuple[list[Path], str]:
    """List the files that have `role`, and say in words whose they are."""
    given = {name: value for name, value in asked.items() if value is not None}
    try:
        table = readings.table_of(folder)
        if given:
            table = replace(table, **given, declared=True)
        found = readings.read_roles(folder, table)
    except DatasetsError as error:
        raise DatalistError(error.message, error.hint) from error
    except OSError as error:
        raise DatalistError(f"{folder} cannot be read: {error.strerror or error}.") from error
    wanted = canonical(role)
    people = found.participants
    if people is not None:
        subjects = sum(one == wanted for one in people.roles.values())
        known, whose = {one for one in people.roles.values() if one}, f"the {subjects} subjects with the role {role!r}"
        where = f"No subject in {folder / table.participants}"
    else:
        known, whose = set(found.role.values()), f"the role {role!r}"
        where = f"No file in {folder}"
        if not known:
            because = found.notice or f"The dataset {folder} has no {table.participants}, so its files have no roles."
            raise DatalistError(
                f"{because.rstrip('.')}: it cannot be known which of them to train on.",
                f"Give it a table {table.participants} with the columns {table.subject} and {table.role}, or name "
                f"yours in {PROJECT_FILE}.",
            )
    if wanted not in known:
        raise DatalistError(f"{where} has the role {role!r}.", f"The roles are: {', '.join(sorted(known))}.")
    return [folder / path for path, one in found.role.items() if one == wanted], whose

"""Which files of a version are for training, tuning and testing, and one hash per role.

Only the list of files and the table of participants are read, never an image: two versions whose test role has the
same digest have the same test files and the same rows about them, whatever else was corrected between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import md5

from .errors import BadProjectFile
from .model import RoleDigest
from .objects import File
from .participants import (
    PROJECT_FILE,
    ROLES,
    UNASSIGNED,
    Participants,
    Table,
    Unreadable,
    read_participants,
)

_FOLDERS = {"train", "training", "tune", "val", "validation", "test"}
_DOUBLE_SUFFIXES = (".nii.gz", ".ome.tif", ".ome.tiff", ".tar.gz", ".seg.nrrd")


@dataclass(frozen=True, slots=True)
class Assignment:
    """The one reading of a dataset's roles: what a run records of them is what a recipe trains on."""

    role: dict[str, str] = field(default_factory=dict)
    """Per file its role; a file without one is not in here."""
    subject: dict[str, str] = field(default_factory=dict)
    """Per file its subject, where a table names subjects."""
    participants: Participants | None = None
    """The table, where it gave the roles; None where folders did."""
    notice: str | None = None
    """Why no file has a role although something looks as if one should; else None."""


def assign(paths: Iterable[str], table: Table, read: Callable[[str], bytes]) -> Assignment:
    """Give every file its role: by the table of participants, else by the top folder that it lies in.

    Parameters
    ----------
    paths
        Every file of the dataset, relative to it, with forward slashes.
    table
        Where the dataset says which subject has which role.
    read
        Gives the bytes of one file; called for the table of participants only.

    Raises
    ------
    BadProjectFile
    """
    paths = list(paths)
    trouble = ""
    if table.participants in paths:
        try:
            participants = read_participants(read(table.participants), table)
        except Unreadable as reason:
            trouble = f"{table.participants} {reason}"
            if table.declared:
                raise BadProjectFile(f"{trouble}.", f"Correct that table, or {PROJECT_FILE}.") from None
        else:
            if any(participants.roles.values()):
                return _by_subject(paths, participants, table)
            trouble = f"{table.participants} gives no subject a role"
    elif table.declared:
        return Assignment(notice=f"There is no {table.participants} in this version, so its files have no roles.")
    role = dict(_by_folder(paths))
    return Assignment(role, notice=f"{trouble}, so the files have no roles." if trouble and not role else None)


def role_digests(
    table: Table, files: list[File], read: Callable[[File], bytes]
) -> tuple[dict[str, RoleDigest], str | None]:
    """Reduce each role of a version to a digest.

    Parameters
    ----------
    table
        Where the dataset says which subject has which role.
    files
        Every file of the version.
    read
        Gives the bytes of one file; called for the table of participants only.

    Returns
    -------
    roles
        Per role its digest: the md5 over the sorted lines ``<relative path> <md5>`` of its files and, with a table
        of participants, the rows of its subjects. Files without a role have theirs under ``"unassigned"``: labels may
        be among them. Empty when no file has a role.
    notice
        Why there are no roles although the project declares them; else None.

    Raises
    ------
    BadProjectFile
    """
    by_path = {file.path: file for file in files}
    found = assign(by_path, table, lambda path: read(by_path[path]))
    if not found.role:
        return {}, found.notice
    lines: dict[str, list[str]] = {}
    for file in files:
        if found.participants is None or file.path != table.participants:
            lines.setdefault(found.role.get(file.path, UNASSIGNED), []).append(f"{file.path} {file.md5}\n")
    counts = {role: len(of_role) for role, of_role in lines.items()}
    if found.participants is not None:
        for subject, role in found.participants.roles.items():
            if role in lines:
                lines[role] += [f"{row}\n" for row in found.participants.rows[subject]]
    subjects: dict[str, set[str]] = {}
    for path, subject in found.subject.items():
        subjects.setdefault(found.role[path], set()).add(subject)
    digests = {
        role: RoleDigest(
            digest=md5("".join(sorted(lines[role])).encode(errors="surrogatepass"), usedforsecurity=False).hexdigest(),
            files=counts[role],
            subjects=len(subjects.get(role, ())),
        )
        for role in sorted(lines)
    }
    return digests, None


def subject_of(path: str, subjects: Mapping[str, str | None]) -> str | None:
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


def _by_subject(paths: Iterable[str], participants: Participants, table: Table) -> Assignment:
    found = Assignment(participants=participants)
    for path in paths:
        subject = None if path == table.participants else subject_of(path, participants.roles)
        role = participants.roles[subject] if subject is not None else None
        if subject is not None and role is not None:
            found.role[path] = role
            found.subject[path] = subject
    if found.role:
        return found
    nobody = f"No file of this version belongs to a subject of {table.participants}, so its files have no roles."
    return Assignment(participants=participants, notice=nobody)


def _by_folder(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        folder, separator, _ = path.partition("/")
        if separator and folder.lower() in _FOLDERS:
            yield path, ROLES[folder.lower()]

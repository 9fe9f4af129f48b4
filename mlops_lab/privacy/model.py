"""What the guard is told and what it answers: identifiers that are known, findings, screened texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

Action = Literal["block", "replace", "warn"]
"""What is done about a finding: the entry is not recorded, the identifier is replaced, or it is only mentioned."""

ACTIONS: tuple[Action, ...] = ("block", "replace", "warn")


class Kind(StrEnum):
    """What was found. The values are the names under ``[privacy.actions]`` of ``mlops.toml``."""

    SECRET = "secret"
    KNOWN = "known"
    NHS_NUMBER = "nhs_number"
    HOSPITAL_NUMBER = "hospital_number"
    NAME = "name"
    DATE = "date"
    EMAIL = "email"
    NATIONAL_NUMBER = "national_number"
    """By which a state or an insurance knows a person, other than an NHS number."""
    AGE = "age"
    """Of ninety and more."""
    ADDRESS = "address"
    PHONE = "phone"
    PATH = "path"
    DICOM = "dicom"
    """The value of an identifying DICOM attribute, or of a field that is called like one."""
    DICOM_FILE = "dicom_file"
    UNREADABLE = "unreadable"
    """A file that cannot be looked into, or that would break if it were changed."""


FILE_KINDS = (Kind.DICOM_FILE, Kind.UNREADABLE)
"""Kinds that concern a whole file, which cannot be replaced."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of identifier that was found in one place. It never holds the identifier."""

    kind: Kind
    where: str
    """Where it stood, for the reader: ``param``, ``traceback.txt``."""
    action: Action
    sentence: str
    """What was found and done, one sentence."""
    count: int = 1


class Guarded(NamedTuple):
    """A text as it may be recorded."""

    text: str
    """Empty where `blocked`."""
    findings: tuple[Finding, ...] = ()
    blocked: bool = False
    """True when the policy says that an entry with such an identifier is not recorded at all."""


@dataclass(frozen=True, slots=True)
class Known:
    """Identifiers that somebody has collected, e.g. when a dataset version was verified.

    Parameters
    ----------
    cases
        Identifying text (file name, path below the dataset, patient id, name) and what stands for it in everything
        that is recorded: a study id, or the content hash of the image object. All users and machines that know the
        same data then name a case alike.
    names
        Names of persons that have no such replacement. They are found in any case, order and spelling with ``^``,
        ``_``, ``-``, a comma or spaces between their parts.
    ids
        Other identifying texts without a replacement: hospital numbers, accession numbers.
    files
        Paths of the data's files, below the dataset, and what stands for each: its content hash. They are found as a
        whole path, as the last parts of one, and by the file's name where only one is called so.
    """

    cases: Mapping[str, str] = field(default_factory=dict)
    names: Iterable[str] = ()
    ids: Iterable[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Known) -> Known:
        """Join what two sources know; where both name a case, the other one's replacement stands."""
        return Known(
            {**self.cases, **other.cases},
            frozenset(self.names) | frozenset(other.names),
            frozenset(self.ids) | frozenset(other.ids),
            {**self.files, **other.files} if self.files and other.files else self.files or other.files,
        )


class Hit(NamedTuple):
    """One stretch of a text that identifies somebody."""

    start: int
    stop: int
    kind: Kind
    replacement: str
    rank: int = 5
    """Of hits that overlap, the one of the lowest rank says what stands for all of them."""

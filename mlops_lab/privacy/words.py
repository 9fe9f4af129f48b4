"""Says in words what the guard found, for the person whose run it is. No sentence repeats an identifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .model import Action, Finding, Kind

_NOUNS = {
    Kind.SECRET: ("password or token", "passwords or tokens"),
    Kind.KNOWN: ("known name or number of a case", "known names or numbers of cases"),
    Kind.NHS_NUMBER: ("NHS number", "NHS numbers"),
    Kind.HOSPITAL_NUMBER: ("hospital number", "hospital numbers"),
    Kind.NAME: ("name of a person", "names of persons"),
    Kind.DATE: ("date of a person", "dates of persons"),
    Kind.EMAIL: ("e-mail address", "e-mail addresses"),
    Kind.NATIONAL_NUMBER: ("national or insurance number", "national or insurance numbers"),
    Kind.AGE: ("age of ninety or more", "ages of ninety or more"),
    Kind.ADDRESS: ("address of a person", "addresses of persons"),
    Kind.PHONE: ("phone number", "phone numbers"),
    Kind.PATH: ("file path", "file paths"),
    Kind.DICOM: ("identifying DICOM attribute", "identifying DICOM attributes"),
    Kind.DICOM_FILE: ("raw DICOM file", "raw DICOM files"),
    Kind.UNREADABLE: ("file that cannot be made safe", "files that cannot be made safe"),
}
_DONE: dict[Action, str] = {"replace": "replaced", "block": "left out", "warn": "left in place"}


def finding(kind: Kind, where: str, action: Action, count: int = 1, reason: str = "") -> Finding:
    """Make a finding with its sentence; a `reason` is added to it as it is."""
    place = f" in {where}" if where else ""
    if action == "block" and reason:
        sentence = f"{where or 'A file'} is not recorded: {reason}"
    elif action == "block":
        sentence = f"An entry{place} is not recorded: it holds {_counted(kind, count)}."
    else:
        sentence = f"{_counted(kind, count)}{place} {_was(count)} {_DONE[action]}."
        if reason:
            sentence = f"{sentence[:-1]}: {reason}"
    return Finding(kind, where, action, sentence, count)


def summary(findings: Iterable[Finding]) -> str:
    """Tell in one sentence what was changed; empty where nothing was found.

    Returns
    -------
    str
        For example ``2 file paths and 1 NHS number were replaced in what this run records.``
    """
    counts: dict[Action, Counter[Kind]] = {"replace": Counter(), "block": Counter(), "warn": Counter()}
    for item in findings:
        counts[item.action][item.kind] += item.count
    parts = []
    for action, found in counts.items():
        if found:
            listed = [_counted(kind, count) for kind, count in found.most_common()]
            parts.append(f"{_joined(listed)} {_was(sum(found.values()))} {_DONE[action]}")
    return f"{_joined(parts)} in what this run records." if parts else ""


def _counted(kind: Kind, count: int) -> str:
    return f"{count:,} {_NOUNS[kind][count != 1]}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _joined(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]

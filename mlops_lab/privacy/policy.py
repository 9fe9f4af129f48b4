"""The project's privacy policy: the ``[privacy]`` section of its ``mlops.toml``."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import BadPolicy
from .model import ACTIONS, FILE_KINDS, Action, Kind

PROJECT_FILE = "mlops.toml"

_SWITCHES = ("printed_output", "sample_images", "uncommitted_changes", "notebook_snapshot")
_DEFAULTS: Mapping[Kind, Action] = MappingProxyType(
    {kind: "block" if kind in FILE_KINDS else "replace" for kind in Kind}
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a project lets leave the machine.

    Without a file nothing is switched on, identifiers are replaced, and raw DICOM is blocked.
    """

    printed_output: bool = False
    """Record what the cell prints."""
    sample_images: bool = False
    """Record pictures of cases; faces and burned-in text in pixels are not detected."""
    uncommitted_changes: bool = False
    """Record the difference between the working tree and the commit."""
    notebook_snapshot: bool = False
    """Record the notebook as it was saved."""
    hospital_numbers: tuple[re.Pattern[str], ...] = ()
    studies: Mapping[str, str] = field(default_factory=dict)
    """Study id per patient, from the table that ``study_ids`` names."""
    allow: tuple[re.Pattern[str], ...] = ()
    """What one of these matches is never touched."""
    actions: Mapping[Kind, Action] = field(default_factory=lambda: _DEFAULTS)

    def action(self, kind: Kind) -> Action:
        """Give what is done about a finding of `kind`."""
        return self.actions.get(kind, _DEFAULTS[kind])


def read_policy(top: Path) -> Policy:
    """Read the policy of the project at `top`; without an ``mlops.toml``, or without its section, the usual one.

    Raises
    ------
    BadPolicy
        When the file, a value in it or the table of study ids cannot be used.
    """
    file = top / PROJECT_FILE
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Policy()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadPolicy(f"{file} cannot be read: {error}.", "Correct that file.") from None
    section = document.get("privacy", {})
    if not isinstance(section, dict):
        raise BadPolicy(f"In {file}, privacy is not a table.", "Write a section [privacy].")
    known = (*_SWITCHES, "hospital_numbers", "study_ids", "allow", "actions")
    for key in section:
        if key not in known:
            raise BadPolicy(f"In {file}, privacy has no setting {key}.", f"Its settings are {', '.join(known)}.")
    switches = {key: _switch(file, key, section[key]) for key in _SWITCHES if key in section}
    return Policy(
        **switches,
        hospital_numbers=_patterns(file, "hospital_numbers", section.get("hospital_numbers", [])),
        studies=_studies(file, section["study_ids"]) if "study_ids" in section else {},
        allow=_patterns(file, "allow", section.get("allow", [])),
        actions=_actions(file, section.get("actions", {})),
    )


def _switch(file: Path, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadPolicy(f"In {file}, {key} of privacy is neither true nor false.", "Write true or false.")
    return value


def _patterns(file: Path, key: str, value: Any) -> tuple[re.Pattern[str], ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadPolicy(f"In {file}, {key} of privacy is not a list of texts.", "Write regular expressions in quotes.")
    found = []
    for item in value:
        try:
            pattern = re.compile(item)
        except (re.error, RecursionError, OverflowError) as error:
            raise BadPolicy(
                f"In {file}, {item} under {key} of privacy is no regular expression ({error}).", "Correct it."
            ) from None
        if pattern.search(""):
            # It would match between any two letters: everything, or nothing, would be hidden.
            raise BadPolicy(f"In {file}, {item} under {key} of privacy matches an empty text.", "Make it narrower.")
        found.append(pattern)
    return tuple(found)


def _actions(file: Path, value: Any) -> Mapping[Kind, Action]:
    if not isinstance(value, dict):
        raise BadPolicy(f"In {file}, privacy.actions is not a table.", "Write a section [privacy.actions].")
    actions = dict(_DEFAULTS)
    for key, action in value.items():
        if key not in list(Kind):
            raise BadPolicy(f"In {file}, privacy.actions has no kind {key}.", f"The kinds are {', '.join(Kind)}.")
        kind = Kind(key)
        if kind is Kind.DICOM_FILE and action != "block":
            raise BadPolicy(f"In {file}, {key} of privacy.actions is not block.", "Raw DICOM is always blocked.")
        choices = ("block", "warn") if kind in FILE_KINDS else ACTIONS
        if action not in choices:
            raise BadPolicy(
                f"In {file}, {key} of privacy.actions is none of {', '.join(choices)}.", f"Choose one for {key}."
            )
        actions[kind] = action
    return actions


def _studies(file: Path, value: Any) -> Mapping[str, str]:
    if not isinstance(value, str):
        raise BadPolicy(f"In {file}, study_ids of privacy is not the name of a table.", "Put the file name in quotes.")
    table = file.parent / value
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPolicy(
            f"The table of study ids {table} cannot be read ({type(error).__name__}).",
            f"Correct study_ids in {file}, or the table.",
        ) from None
    lines = text.splitlines()
    first = lines[0] if lines else ""
    rows = csv.DictReader(lines, delimiter=max(",;\t", key=first.count))
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    if not {"patient", "study"} <= set(rows.fieldnames):
        raise BadPolicy(f"The table of study ids {table} has no columns patient and study.", "Name its columns so.")
    studies: dict[str, str] = {}
    for row in rows:
        patient, study = (row["patient"] or "").strip(), (row["study"] or "").strip()
        if not patient:
            continue
        if not study or studies.get(patient, study) != study:
            # The line is named, not the patient: this sentence may be printed and recorded.
            problem = "gives a patient two study ids" if study else "gives a patient no study id"
            raise BadPolicy(f"Line {rows.line_num} of the table of study ids {table} {problem}.", "Correct that line.")
        studies[patient] = study
    return studies

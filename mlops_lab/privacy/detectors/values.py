"""Tells whether what stands under an identifying name identifies somebody: types, templates and pseudonyms do not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model import Hit, Kind
from . import calendar
from .dicom_attributes import Nature
from .labels import Label
from .reading import PLACEHOLDER, Reading, listed
from .vocabulary import is_personal

RANK = 6
_STANDS_FOR: dict[Nature, str] = {
    "name": "<name>",
    "id": "<id>",
    "date": "<date>",
    "uid": "<uid>",
    "items": "<removed>",
    "text": "<removed>",
    "person": "<name>",
}
_NOTHING = listed(
    "none null nil nan n/a na str int float string object integer bool boolean bytes text varchar true false required"
    " optional any list dict tuple default category int64 int32 float64 float32 utf8 column field value values name id"
    " self cls and or in not"
)
_ANONYMOUS = listed(
    "unknown anonymous anonymized anonymised deidentified de-identified redacted removed hidden missing empty masked"
    " yes no"
)
"""What people write where nothing is to be said; in a DICOM header even that is replaced, as its profile asks."""
_TEMPLATE = re.compile(r"\{[^{}]*\}|\$\{?\w+\}?|%\(\w+\)s|%[sd]|<[^<>]*>|\.\.\.")
_PSEUDONYM = re.compile(
    r"(?:sub|subj|subject|case|patient|pat|pt|participant|study|anon|train|test|val|fold|brats\w*|p|s|c"
    r"|id)[-_ ]?\d{1,4}"
    r"|\d{1,3}",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[A-Za-z]{0,4}[\-_/ ]?\d{6,}[A-Za-z]?")
"""What stands under ``patient`` and is longer than a count."""
_CODE = re.compile(r"[a-z_][\w.]*(?:[\[(].*)?|[A-Za-z_][\w.]*[\[(].*")
_FRACTION = re.compile(r"\d*\.\d+(?:e[+-]?\d+)?")


def hit_of(reading: Reading, label: Label, start: int, stop: int, quoted: bool) -> Iterator[Hit]:
    """Give the hit for the value ``text[start:stop]`` under `label`, if it identifies anybody."""
    value = reading.text[start:stop]
    stripped = value.strip()
    if stripped and is_identifying(stripped, label, quoted, reading):
        begin = start + len(value) - len(value.lstrip())
        yield Hit(begin, begin + len(stripped), label.kind, placeholder(label, stripped), RANK)


def is_pseudonym(value: str) -> bool:
    """Tell whether `value` names a case of a study and no person: ``sub-001``, ``ANON``, ``case_12``."""
    return _PSEUDONYM.fullmatch(value) is not None or value.lower() in _ANONYMOUS or value.lower() in _NOTHING


def placeholder(label: Label, value: str) -> str:
    """Give what stands for a `value` of `label`."""
    if label.nature == "person" and any(map(str.isdigit, value)):
        return "<id>"
    return "<nhs number>" if label.kind is Kind.NHS_NUMBER else _STANDS_FOR[label.nature]


def is_identifying(value: str, label: Label, quoted: bool, reading: Reading) -> bool:
    """Tell whether `value`, found under `label`, is a real one."""
    if not label.exact and value.lower() in _ANONYMOUS:
        return False
    if value.lower() in _NOTHING or _TEMPLATE.fullmatch(value) or reading.trusted(value):
        return False
    left = PLACEHOLDER.sub("", value)
    if not quoted and (reading.code or "(" in value or "self." in value) and _CODE.fullmatch(value):
        return False
    digits = sum(letter.isdigit() for letter in left)
    letters = sum(letter.isalpha() for letter in left)
    if not (digits or letters):
        return False
    if label.nature == "date":
        dated = calendar.DATE.match(value.lower()) or calendar.TIME.match(value)
        return dated is not None or (label.exact and digits > 0)
    if label.nature == "uid":
        return digits > 0 and "." in value
    if label.exact:
        return True
    if label.nature == "id":
        return digits > 0 and not _PSEUDONYM.fullmatch(value) and not _FRACTION.fullmatch(value)
    if label.nature == "person":
        return _NUMBER.fullmatch(value) is not None or is_personal(value)
    if label.nature == "name":
        return letters > 1 and not _PSEUDONYM.fullmatch(value)
    return letters + digits > 1

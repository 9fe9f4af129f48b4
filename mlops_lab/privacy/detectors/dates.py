"""Dates that relate to a person: birth, admission, a scan. Dates of commits, runs and logs are nobody's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..model import Hit, Kind
from . import calendar
from .reading import Reading

_EVENT = (
    r"(?:scan|exam(?:ination)?|study|mri|ct|pet|x-?ray|imaging|visit|surgery|operation|biopsy|diagnosis|admission"
    r"|discharge"
    r"|death|injury|procedure|treatment|onset|referral|appointment|follow-?up|birth|mammogram|ultrasound|acquisition)"
)
_BEFORE = re.compile(
    r"(?:\bd\.?o\.?b\b|\bborn\b|birth|\bdate of " + _EVENT + r"\b|\b" + _EVENT + r"[ _\-]dated?\b"
    r"|\b(?:patient|he|she|who|was|were|been|and) (?:died|passed away)\b"
    r"|\b(?:was |were |been |re)?admitted\b|\badmission\b|\bdischarged?\b|\bdeceased\b"
    r"|\b(?:scanned|imaged|acquired|examined|operated|biopsied|diagnosed|transplanted|x-rayed|hospitalised|hospitalized"
    r"|reviewed in clinic|seen in clinic)"
    r"(?: (?!files|images|folders|cases)[a-z]+){0,3} on\b"
    r"|\b(?:scan|mri|ct|pet|x-?ray|mammogram|ultrasound|biopsy|surgery|appointment|imaging)(?: scan| study| exam)?"
    r"(?: (?:of|for) [^\n]{1,40}?)? (?:on|dated|from|performed on|taken on|acquired on)\b"
    r"|\b(?:patient|pt)\b(?! ?[_\-/]?(?:level|wise|s\b|count|split|specific))[^\n]{0,40}\b(?:on|dated)\b"
    r"|^\W{0,3}died\b|\bgeb\.|\bgeboren\b|\bnée? le\b|\bnacid[oa]\b|\bnat[oa] il\b|\bnascid[oa]\b|\burodzon"
    r"|(?<![\w.])b\."
    r"|(?:^|[\s(,;])\*"
    r"|\b(?:aufgenommen|entlassen|operiert|verstorben|hospitalisée?|admis e? le|décédée?)\b"
    r"|\b(?:ct|mrt|mri|röntgen|irm|scanner|tac|rmn|pet)\b[^\n]{0,30} (?:vom|du|del|dal|van)\b"
    r"|\b(?:lmp|date of last menstrual period|last seen in clinic)\b"
    r")[^\n]{0,24}$"
)
_AFTER = re.compile(r"^[ ]?[(,\-]?[ ]?(?:\(?d\.?o\.?b\b|(?:date of )?birth\b|born\b)")
_HARMLESS_BEFORE = re.compile(
    r"(?:commit|author|release|version|copyright|updated|created|modified|build|run|epoch|log)\w*\W{1,3}$"
)
_TRIGGER = re.compile(
    r"dob\b|acquired|d\.o\.b|born|birth|\bdate|dated|died|passed away|admi|discharge|deceased|scanned|imaged|examined"
    r"|operated|biops"
    r"|diagnos|transplant|rayed|hospitali|clinic|\b(?:scan|mri|ct|pet|x-?ray|mammogram|ultrasound|surgery"
    r"|appointment|imaging)\b"
    r"|\bpatient|\bpt\b|\blmp\b|\bgeb|\bnée? le|\bnacid|\bnat[oa] il|nascid|urodzon|\bb\.|(?:^|[\s(,;])\*\d"
    r"|aufgenommen|entlassen|operiert|verstorben|décéd|\b(?:mrt|röntgen|irm|scanner|tac|rmn)\b"
)
_PATH = re.compile(r"[^\s\"'<>|;,=()\[\]{}]{4,400}")
_CASE = re.compile(
    r"(?:^|[/\\_.\-])(?:sub|subj|subject|patient|pat|pt|case|pid|mrn|anon)[_\-]?[a-z]{0,6}\d[a-z0-9]*(?=[/\\_.\-]|$)"
)
_SEPARATED = re.compile(r"[/\\_\-]|\.[a-z]")
_NEAR = 40
_LOG_TIME = re.compile(r"(?:^|\n)[\[(]?$")


def find(reading: Reading) -> Iterator[Hit]:
    """Find dates that a word near them ties to a person, and those in the path of a case."""
    low = reading.low
    if _TRIGGER.search(low):
        for found in calendar.DATE.finditer(low):
            left, right = reading.line(found.start(), 90, len(found[0]) + 30)
            right = right[len(found[0]) :]
            if (_BEFORE.search(left) and not _HARMLESS_BEFORE.search(left)) or _AFTER.match(right):
                yield _hit(*found.span())
    if "/" in low or "\\" in low or "_" in low:
        for path in _PATH.finditer(low):
            if _SEPARATED.search(path[0]) and _CASE.search(path[0]):
                for found in calendar.DATE_IN_PATH.finditer(low, *path.span()):
                    yield _hit(*found.span())


def beside(reading: Reading, hits: Sequence[Hit]) -> Iterator[Hit]:
    """Find dates beside somebody's name or number: on the same line, near it, or in the same path.

    A time with which a line of a log begins is not the person's.
    """
    low = reading.low
    persons = [hit for hit in hits if hit.kind in _PERSONS]
    if not persons or not re.search(r"\d{4}|\d[/.\-]\d", low):
        return
    for hit in persons[:2000]:
        begin, stop = max(0, hit.start - _NEAR), min(len(low), hit.stop + _NEAR)
        for found in calendar.DATE.finditer(low, begin, stop):
            first, last = sorted((hit.start, found.start()))
            if "\n" in low[first:last] or _LOG_TIME.search(low[max(0, found.start() - 2) : found.start()]):
                continue
            if found.start() == begin and begin and low[begin - 1].isalnum():
                continue
            if not _HARMLESS_BEFORE.search(reading.line(found.start(), 30)[0]):
                yield _hit(*found.span())
        left = re.compile(r"[^\s\"'<>|;,=()\[\]{}]*$").search(low, max(0, hit.start - 200), hit.start)
        right = re.compile(r"[^\s\"'<>|;,=()\[\]{}]*").match(low, hit.stop, hit.stop + 200)
        for side in (left, right):
            if side is not None and side[0]:
                for found in calendar.DATE_IN_PATH.finditer(low, *side.span()):
                    yield _hit(*found.span())


_PERSONS = frozenset({Kind.NAME, Kind.KNOWN, Kind.NHS_NUMBER, Kind.HOSPITAL_NUMBER, Kind.NATIONAL_NUMBER, Kind.DICOM})


def _hit(start: int, stop: int) -> Hit:
    return Hit(start, stop, Kind.DATE, "<date>", 8)

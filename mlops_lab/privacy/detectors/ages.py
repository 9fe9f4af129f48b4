"""Ages of ninety and more, which single a person out: 45 CFR 164.514(b)(2)(i)(C) asks for one group of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model import Hit, Kind
from .reading import Reading

_OLD = r"(?P<age>9\d|1[01]\d)"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<![\d.])0?{_OLD}[ \-]?(?:years?|yrs?|y)[ \-]?old\b",
        rf"(?<![\d.])0?{_OLD} ?(?:y/?o|yo[mf]|yr old)\b",
        rf"(?<![\d.])0?{_OLD}[ \-]?(?:jahre alt|jährige[rn]?|ans\b|años|anni\b|jaar oud)",
        rf"\baged ?:? ?0?{_OLD}(?![\d.%]|[ \-]?(?:days|hours|minutes|seconds|steps|epochs))",
        rf"(?<![a-z_\-])(?:patient[ _\-]?)?(?:age|alter|edad|età|leeftijd)(?: at (?:scan|diagnosis|death))?[\"']?\]?"
        rf"[ ]?[:=][ ]?[\"']?0?{_OLD}(?![\d.%+\-])(?! ?(?:days|hours|minutes|seconds|steps|epochs))",
        rf"\b(?:patientage|patient's age)[\"']?[^\n\d]{{0,40}}0?{_OLD}y\b",
    )
)
_TRIGGER = re.compile(r"(?<![\d.])0?(?:9\d|1[01]\d)(?![\d.])")
_WORDS = re.compile(r"old|yo\b|y/o|jahre|jährig|ans\b|años|anni|jaar|age|alter|edad|età|leeftijd|\d[mf]\b|yom|yof")
_NAMES = re.compile(r"(?:^|[./ ])(?:patient|pt|subject)?[_ \-]?(?:age|alter|edad|leeftijd)(?:_?(?:at_?\w+|years|y))?$")
_VALUE = re.compile(r"\s*0?(9\d|1[01]\d)(?:\.\d+)?(?:\s?(?:y|yrs?|years?|jahre|ans|Y))?\s*")


def may_hold(low: str) -> bool:
    """Tell cheaply whether a text in small letters could tell such an age."""
    return _TRIGGER.search(low) is not None and _WORDS.search(low) is not None


def find(reading: Reading) -> Iterator[Hit]:
    """Find ages of ninety and more that are called so."""
    low = reading.low
    if reading.kind in ("name", "source", "diff") or not may_hold(low):
        return
    for pattern in _PATTERNS:
        for found in pattern.finditer(low):
            yield Hit(*found.span("age"), Kind.AGE, "90+", 6)


def under(name: str, text: str) -> Iterator[Hit]:
    """Find the age in a param that is called one."""
    value = _VALUE.fullmatch(text) if _NAMES.search(name.lower()) else None
    if value is not None:
        yield Hit(*value.span(1), Kind.AGE, "90+", 6)

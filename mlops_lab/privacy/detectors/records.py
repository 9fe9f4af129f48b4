"""Records of a person, in which plain words identify: ``"patient": {"name": ..., "id": ...}``, FHIR, and HL7's PID."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model import Hit
from .labels import Label
from .reading import Reading
from .values import hit_of

_LONGEST = 6000
_RECORD = re.compile(r"(?:\"patient\"|'patient'|\bpatient)[ \t]{0,8}[:=][ \t]{0,8}(?=[{\n])")
_FHIR = re.compile(r"[\"']resourcetype[\"']\s{0,8}:\s{0,8}[\"'](?:patient|relatedperson|person|practitioner)[\"']")
_KEYS: dict[str, Label] = {
    **dict.fromkeys(
        ("name", "family", "given", "full_name", "fullname", "prefix", "display", "contact"), Label("name", False)
    ),
    **dict.fromkeys(("id", "identifier", "number", "value", "no"), Label("id", False)),
    **dict.fromkeys(
        ("address", "line", "city", "postalcode", "telecom", "phone", "email", "text"), Label("text", False)
    ),
    **dict.fromkeys(("birthdate", "born", "birth"), Label("date", False)),
}
_FIELD = re.compile(
    r"(?P<quote>[\"']?)(?P<key>[a-z_]{2,12})(?P=quote)[ \t]{0,8}:[ \t]{0,8}(?P<value>\[[^\[\]]{0,1000}\]"
    r"|\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'"
    r"|[^\s\"'\[{,}][^\n,}\]]{0,200})"
)
_QUOTED = re.compile(r"(?<=\")[^\"\n]{1,300}(?=\")|(?<=')[^'\n]{1,300}(?=')")
_PID = re.compile(r"(?m)^(?:pid)\|[^\r\n]{0,2000}")
_PID_FIELDS: dict[int, Label] = {
    **dict.fromkeys((2, 3, 4, 18, 19, 20), Label("id", True)),
    **dict.fromkeys((5, 6, 9), Label("name", True)),
    **dict.fromkeys((11, 12, 13, 14), Label("text", True)),
    **dict.fromkeys((7, 29), Label("date", True)),
}
"""HL7 v2.5.1, 3.4.2: identifiers, names, address and telephone, times of birth and death."""


_ELEMENT = re.compile(r"<patient\b[^<>]{0,300}>")
_INSIDE = re.compile(r"<(?P<key>[a-z_]{2,12})\b[^<>]{0,200}>(?P<value>[^<>]{1,300})(?=</)")


def find(reading: Reading) -> Iterator[Hit]:
    """Find the values in records of persons."""
    low = reading.low
    for found in _RECORD.finditer(low) if "patient" in low else ():
        yield from _fields(reading, found.end(), _end(low, found.end()))
    for found in _ELEMENT.finditer(low) if "<patient" in low else ():
        end = low.find("</patient>", found.end(), found.end() + _LONGEST)
        for inner in _INSIDE.finditer(low, found.end(), end if end >= 0 else found.end()):
            if inner["key"] in _KEYS:
                yield from hit_of(reading, _KEYS[inner["key"]], *inner.span("value"), True)
    if "resourcetype" in low:
        for found in _FHIR.finditer(low):
            yield from _fields(reading, max(0, found.start() - 200), min(len(low), found.end() + _LONGEST))
    if "pid|" in low:
        for found in _PID.finditer(low):
            at = found.start()
            for number, field in enumerate(found[0].split("|")):
                if number in _PID_FIELDS and field.strip("^~\\& "):
                    yield from hit_of(reading, _PID_FIELDS[number], at, at + len(field), True)
                at += len(field) + 1


def _end(low: str, at: int) -> int:
    """Give where the record that begins at `at` ends: at its bracket, or where the lines are no longer indented."""
    limit = min(len(low), at + _LONGEST)
    if low[at] == "{":
        depth = 0
        for bracket in re.finditer(r"[{}]", low[at:limit]):
            depth += 1 if bracket[0] == "{" else -1
            if depth == 0:
                return at + bracket.end()
        return limit
    line = low[low.rfind("\n", max(0, at - 400), at) + 1 : at]
    indent = len(line) - len(line.lstrip(" -"))
    over = re.compile(rf"\n {{0,{indent}}}(?! |\n)").search(low, at + 1, limit)
    return over.start() if over else limit


def _fields(reading: Reading, start: int, stop: int) -> Iterator[Hit]:
    for field in _FIELD.finditer(reading.low, start, stop):
        label = _KEYS.get(field["key"])
        if label is None:
            continue
        begin, end = field.span("value")
        if reading.low[begin] in "\"'[":
            for quoted in _QUOTED.finditer(reading.text, begin, end):
                yield from hit_of(reading, label, *quoted.span(), True)
        else:
            yield from hit_of(reading, label, begin, end, False)

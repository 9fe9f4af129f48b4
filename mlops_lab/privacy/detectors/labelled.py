"""Finds values by what they are called: ``PatientName = DOE^JANE``, ``'0010|0010': 'DOE^JANE'``, ``MRN 1234567``.

Reads the ways in which such pairs are written: assignments, JSON, YAML, INI, query strings, options of commands,
markup, dumps of DICOM headers, ITK's metadata, DICOM JSON, and plain prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model import Hit
from . import calendar, extents
from .labels import Label, Labelled
from .reading import PLACEHOLDER, Reading
from .values import hit_of

_WINDOW = 400
"""Characters after a label in which its value is looked for."""
_NESTED = 6000

_TYPE = r"(?:str|int|float|bytes|object|Any|list|dict|Optional)(?:\[[\w\[\], |]{0,30}\])?(?: \| None)?[ \t]*"
_SEPARATOR = re.compile(
    r"(?:\\?[\"'`*]{1,2}|[)\]]){0,2}(?:\.value|\.)?[ \t]{0,40}"
    rf"(?::=|=>|->|[=!]?=|:[ \t]*{_TYPE}=|:|\.(?:isin|eq)(?=\()|(?P<argument>(?<=[\"'])[ \t]*,))[ \t]{{0,40}}"
)
_SETTER = re.compile(r"(?:set|add|put|header|meta|insert)\w*\([^()]{0,60}$")
_DUMP = re.compile(
    r"[ \t]+(?:\[[^\]\n]{0,80}\][ \t]*|[^\n\[=|]{0,90}?)"
    r"\b(?:PN|LO|SH|DA|TM|DT|AS|UI|CS|DS|IS|LT|ST|UT|UC|UR|AE|US)(?::[ \t]*|[ \t]+)"
)
_ELEMENTS = re.compile(r":?[ ]?(?:\s{0,40}<[/!?]?[A-Za-z][^<>]{0,300}>){1,8}\s{0,40}")
_REST_OF_ELEMENT = re.compile(
    rf"[^<>]{{0,300}}>(?!{PLACEHOLDER.pattern})(?:\s{{0,40}}<[!?]?[A-Za-z][^<>]{{0,300}}>){{0,6}}\s{{0,40}}"
)
_CONTENT = re.compile(r">([^<>]{1,300})<")
_VERB = re.compile(r"\.?(?:[ \t]+(?:is|was|are|no\.?|number|num|nr\.?)\b)?[ \t]*#?[ \t]*")
_STRING = re.compile(
    r"[rbuRBU]{0,2}(?P<quote>\"\"\"|'''|\\?[\"'])(?P<value>(?:(?!(?P=quote)(?![^\W\d_]))[^\n]){0,1000})(?P=quote)"
)
_PIECE = re.compile(
    r"(?P<quote>\\?[\"'])(?P<value>(?:(?!(?P=quote)(?![^\W\d_]))[^\n\\]|\\[^\n\"']){0,1000})(?P=quote)(?P<key>\s{0,8}:)?"
    r"|(?P<open>[\[{(])|(?P<shut>[\]})])|(?<![\w.])(?P<number>\d{4,20})(?![\w.])"
)
_OVER = re.compile(r"[ \t]{0,8}(?:[.,;&|<)\]}\"'\r\n(]|$)")
"""What may follow a name that begins where a label ends; the next word of a sentence may not."""
_WRAPPED = re.compile(r"[A-Za-z_.]{0,30}(?:timestamp|Timestamp|datetime64|strptime|isoformat)\([\"']?")
_DESCRIBING = frozenset({"vr", "keyword", "tag", "name"})
"""Keys of DICOM JSON that say what an attribute is, not what it holds."""


def find(reading: Reading) -> Iterator[Hit]:
    """Find the values of identifying fields."""
    reading.nested_left = 4 * len(reading.text) + _NESTED
    for labelled in reading.labels:
        yield from _values(reading, labelled, False)
    for labelled in reading.tags:
        yield from _values(reading, labelled, True)


def _values(reading: Reading, labelled: Labelled, tag: bool) -> Iterator[Hit]:
    text, label, stop = reading.text, labelled.label, labelled.stop
    dump = _DUMP.match(text, stop, stop + _WINDOW) if tag else None
    if dump is not None:
        yield from _dumped(reading, label, dump.end())
        return
    separator = _SEPARATOR.match(text, stop, stop + _WINDOW)
    if separator is not None:
        # The next of a list of names is no value: only where something is set do a name and a value follow each other.
        if separator["argument"] and not _SETTER.search(reading.line(labelled.start)[0]):
            return
        if text[separator.end() : separator.end() + 1] != "<":
            yield from _written(reading, label, separator.end())
            return
    if text[max(0, labelled.start - 2) : labelled.start] == "</":
        return
    inside = text.rfind("<", max(0, stop - 300), stop) > text.rfind(">", max(0, stop - 300), stop)
    markup = (_REST_OF_ELEMENT if inside else _ELEMENTS).match(text, stop, stop + _WINDOW)
    if markup is not None:
        ours = PLACEHOLDER.match(markup[0].lstrip(": "))
        if not ours and "<th" not in markup[0].lower():
            yield from _marked_up(reading, label, labelled.start, markup.end())
    elif separator is None:
        yield from _spoken(reading, labelled)


def _marked_up(reading: Reading, label: Label, start: int, at: int) -> Iterator[Hit]:
    text = reading.text
    if "<dicomattribute" in reading.line(start, 300)[0]:
        stop = reading.low.find("</dicomattribute", at, at + _NESTED)
        for content in _CONTENT.finditer(text, at - 1, stop + 1 if stop > 0 else at + _WINDOW):
            yield from hit_of(reading, label, *content.span(1), True)
        return
    stop = text.find("<", at, at + _WINDOW)
    if stop > at:
        yield from hit_of(reading, label, at, stop, True)


def _dumped(reading: Reading, label: Label, at: int) -> Iterator[Hit]:
    """The value in a dump of a header, as pydicom, dcmdump and gdcmdump print it."""
    line = reading.text[at : at + _WINDOW].partition("\n")[0]
    opened = line[:1]
    if opened in ("'", '"', "["):
        stop = line.find("]" if opened == "[" else opened, 1)
        if stop > 0:
            yield from hit_of(reading, label, at + 1, at + stop, True)
            return
    yield from hit_of(reading, label, at, at + len(re.split(r"[ ]{2}|\t|#", line, maxsplit=1)[0]), True)


def _written(reading: Reading, label: Label, at: int) -> Iterator[Hit]:
    text = reading.text
    first = text[at : at + 1]
    string = _STRING.match(text, at, at + _NESTED)
    if string is not None:
        yield from hit_of(reading, label, *string.span("value"), True)
    elif first in ("[", "{", "("):
        yield from _nested(reading, label, at)
    elif first in ("\n", "\r", ">", "|"):
        yield from _block(reading, label, at)
    else:
        if label.nature == "person":
            stop = extents.end(reading, label, at)
            if _OVER.match(text, stop) is not None:
                yield from hit_of(reading, label, at, stop, False)
            return
        dated = _WRAPPED.match(text, at, at + _WINDOW) if label.nature == "date" else None
        at = dated.end() if dated is not None else at
        yield from hit_of(reading, label, at, extents.end(reading, label, at), False)


def _spoken(reading: Reading, labelled: Labelled) -> Iterator[Hit]:
    """``MRN 1234567``, ``DOB 12/03/1961``, ``--patient-name "Jane Doe"``: no sign stands between name and value."""
    text, label = reading.text, labelled.label
    verb = _VERB.match(text, labelled.stop, labelled.stop + 40)
    at = verb.end() if verb else labelled.stop
    if at == labelled.stop:
        return
    string = _STRING.match(text, at, at + _WINDOW)
    option = text[max(0, labelled.start - 2) : labelled.start] == "--"
    if string is not None:
        if option or label.exact:
            yield from hit_of(reading, label, *string.span("value"), True)
        return
    told = verb is not None and bool(verb[0].strip())
    stop = extents.end(reading, label, at)
    value = text[at:stop]
    if label.nature == "date":
        sure = calendar.DATE.match(reading.low, at) is not None
    elif label.nature in ("id", "uid"):
        sure = sum(letter.isdigit() for letter in value) >= (1 if option else 4)
    else:
        sure = label.nature == "name" and (option or "^" in value or ((told or label.exact) and value[:1].isupper()))
    if sure:
        yield from hit_of(reading, label, at, stop, option)


def _block(reading: Reading, label: Label, at: int) -> Iterator[Hit]:
    """The list or text that stands, indented, below its name in YAML."""
    text = reading.text
    above = text[text.rfind("\n", max(0, at - _WINDOW), at) + 1 : at]
    indent = len(above) - len(above.lstrip(" -"))
    begin = text.find("\n", at, at + 4)
    while 0 <= begin < at + _NESTED:
        end = text.find("\n", begin + 1)
        line = text[begin + 1 : end if end >= 0 else len(text)]
        item = re.match(r"([ \t]*)(-[ ]+)?[\"']?", line)
        assert item is not None
        deep = len(item[1]) > indent or (item[2] is not None and len(item[1]) >= indent)
        if not line.strip() or not deep or re.match(r"[ \t]*(?:- )?[\w ]{1,60}:(?:\s|$)", line):
            return
        yield from hit_of(reading, label, begin + 1 + item.end(), begin + 1 + len(line.rstrip().rstrip("\"'")), True)
        begin = end


def _nested(reading: Reading, label: Label, at: int) -> Iterator[Hit]:
    """Every value inside brackets: DICOM JSON, lists of names, a column of a data frame."""
    text = reading.text
    depth = 0
    skip = False
    # Brackets within brackets are read again for each label in them, but not without end.
    limit = min(len(text), at + (_NESTED if reading.nested_left > 0 else _WINDOW))
    for piece in _PIECE.finditer(text, at, limit):
        reading.nested_left -= piece.end() - piece.start() + 1
        if piece["open"]:
            depth += 1
        elif piece["shut"]:
            depth -= 1
            if depth <= 0:
                return
        elif piece["number"]:
            yield from hit_of(reading, label, *piece.span("number"), False)
        elif piece["key"]:
            skip = piece["value"].lower() in _DESCRIBING
        elif skip:
            skip = False
        elif piece["value"]:
            yield from hit_of(reading, label, *piece.span("value"), True)

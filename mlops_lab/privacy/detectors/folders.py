"""Names and numbers of persons in folder and file names: ``Smith_John_19560312``, ``pacs/1234567_Mueller_Anna``.

Two words that name no thing, beside a date or a long number, are somebody; below a folder of patients less will do.
Dates of experiments, names of models and pseudonyms (``sub-01``, ``LIDC-IDRI-0001``) are nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..model import Hit, Kind
from . import calendar
from .forenames import FORENAMES
from .reading import Reading, listed
from .vocabulary import AMBIGUOUS, PARTICLES, is_thing, may_be_name

_PIECE = re.compile(r"(?:[^\\/\n\r\t\"'`<>|:;=()\[\]{}*?]|(?<=[^\W\d_])['\u2019](?=[^\W\d_])){3,160}")
_BY_SPACES = re.compile(r"[^\s,]+")
_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+")
_JOINT = re.compile(r"[_\-.,^ +~]{1,2}")
_OF_PERSONS = listed(
    "patient patients patienten patientin pazienti paziente pacientes paciente patienter potilaat pacjenci pat pats pts"
    " pacs"
)
_OF_SUBJECTS = listed("subject subjects participant participants proband probanden people persons person")
"""Folders below which numbers are pseudonyms."""
_BIRTH = re.compile(r"(?<!\d)(?:19\d\d|200\d|201[01])(?!\d)|(?<!\d)\d{4}(?:19\d\d|200\d|201[01])(?!\d)")
_SHORT_DATE = re.compile(r"(?<!\d)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)")
_SIX = re.compile(r"\d{6}|(?<!\d)(?:19\d\d|200\d)(?!\d)")
_LONG = 5
_LONG_ALONE = 6
_WORD = r"(?<![^\W\d_])[^\W\d_]{2,}"
_TWO = rf"{_WORD}[_\-.,^+~]{{1,2}}[^\W\d_]"
_APART = rf"{_WORD},?[ ][^\W\d_]{{2,}}"
_ON = r"[^\s\\/:=;\"'(){}\[\]<>|]{0,60}"
_ALONG = r"[^\\/\n:=\"<>|]{0,60}"
_MAY = re.compile(
    rf"{_TWO}{_ON}\d{{4}}|\d{{4}}{_ON}{_TWO}|{_APART}{_ALONG}\d{{4}}{_ALONG}[\\/]|[\\/]{_ALONG}{_APART}{_ALONG}\d{{4}}"
    rf"|\d{{4}}{_ALONG}{_APART}{_ALONG}[\\/]|[\\/]{_ALONG}\d{{4}}{_ALONG}{_APART}"
)
"""Two words and a number in one part of a path; apart by spaces only where a slash says that it is one."""


class _Token(NamedTuple):
    start: int
    stop: int
    text: str
    joined: bool
    """Whether what stands before it is a letter or digit of the same word."""


def may_hold(low: str, words: frozenset[str] | set[str]) -> bool:
    """Tell cheaply, on the safe side, whether :func:`find` could find anything in a text in small letters."""
    if ("/" in low or "\\" in low) and not (_OF_PERSONS | _OF_SUBJECTS).isdisjoint(words):
        return True
    return _MAY.search(low) is not None


def find(reading: Reading) -> Iterator[Hit]:
    """Find names, and the numbers beside them, in the parts of paths."""
    text = reading.text
    if not may_hold(reading.low, reading.vocabulary):
        return
    above, reached = "", -1
    for piece in _PIECE.finditer(text):
        start, stop = piece.span()
        before = text[start - 1 : start] if start else ""
        after = text[stop : stop + 1]
        in_path = before in ("/", "\\") or after in ("/", "\\")
        parent = above if reached >= 0 and not text[reached:start].strip("/\\") and before in ("/", "\\") else ""
        above, reached = piece[0].strip().lower(), stop
        # The last word before the first slash is its folder: "saved data/x".
        above = above.rpartition(" ")[2] if before not in ("/", "\\") else above
        around = max(0, start - 1), stop + 1
        if parent not in _OF_PERSONS and parent not in _OF_SUBJECTS and not _MAY.search(reading.low, *around):
            continue
        if in_path:
            yield from _component(reading, start, stop, parent)
        else:
            for part in _BY_SPACES.finditer(text, start, stop):
                yield from _component(reading, *part.span(), "")


def _component(reading: Reading, start: int, stop: int, parent: str) -> Iterator[Hit]:
    tokens = _tokens(reading.text, start, stop)
    part = reading.low[start:stop]
    dated = calendar.DATE_IN_PATH.search(part) is not None or _SHORT_DATE.search(part) is not None
    long = [token for token in tokens if token.text.isdigit() and len(token.text) >= _LONG and not token.joined]
    numbered = dated or bool(long) or _BIRTH.search(part) is not None
    of_persons = parent in _OF_PERSONS
    below = of_persons or parent in _OF_SUBJECTS
    found = False
    for run in _runs(reading.text, tokens):
        telling = [token for token in run if len(token.text) > 1 and token.text.lower() not in PARTICLES]
        initialed = len(telling) == 1 < len(run) and _SIX.search(part) is not None
        if _is_person(telling, part, numbered, below, len(tokens)) or (
            initialed and len(telling[0].text) > 2 and may_be_name(telling[0].text)
        ):
            found = True
            yield Hit(run[0].start, run[-1].stop, Kind.NAME, "<name>", 5)
    if found:
        for token in tokens:
            number = token.text.isdigit() and len(token.text) >= (_LONG_ALONE if token.joined else _LONG)
            if number and not calendar.DATE_IN_PATH.search(token.text):
                yield Hit(token.start, token.stop, Kind.HOSPITAL_NUMBER, "<id>", 6)
    elif of_persons:
        for token in tokens:
            if token.text.isdigit() and len(token.text) >= _LONG_ALONE and (not token.joined or len(tokens) <= 3):
                yield Hit(token.start, token.stop, Kind.HOSPITAL_NUMBER, "<id>", 6)


def _is_person(telling: list[_Token], part: str, numbered: bool, below: bool, count: int) -> bool:
    """Tell whether words of one part of a path are a person's name."""
    known = any(token.text.lower() in FORENAMES for token in telling)
    if not telling or any(is_thing(word.text) and not (known and word.text.lower() in AMBIGUOUS) for word in telling):
        return False
    if len(telling) == 1:
        single = telling[0].text
        alone = count <= 3 and len(single) > 3
        return below and alone and (may_be_name(single) or known)
    capitals = all(may_be_name(token.text) or token.text.lower() in AMBIGUOUS for token in telling)
    if below:
        return True
    return numbered and (capitals or known or (_BIRTH.search(part) is not None and len(telling) < 4))


def _tokens(text: str, start: int, stop: int) -> list[_Token]:
    tokens: list[_Token] = []
    end = -1
    for found in _TOKEN.finditer(text, start, stop):
        tokens.append(_Token(*found.span(), found[0], found.start() == end))
        end = found.end()
    return tokens


def _runs(text: str, tokens: list[_Token]) -> Iterator[list[_Token]]:
    """Give the words of letters that follow one another; things end a run, extensions are none of it."""
    run: list[_Token] = []
    for number, token in enumerate(tokens):
        following = tokens[number + 1] if number + 1 < len(tokens) else None
        glued = token.joined or (following is not None and following.joined)
        surname = token.text.lower() in AMBIGUOUS
        initial = len(token.text) == 1 and token.text.isupper()
        word = not token.text.isdigit() and not glued and (surname or initial or not is_thing(token.text))
        extension = text[token.start - 1 : token.start] == "." and len(token.text) < 5 and len(run) != 1
        joint = bool(run) and _JOINT.fullmatch(text, run[-1].stop, token.start) is not None
        if run and not (word and joint and not extension):
            yield run
            run = []
        if word and not extension:
            run.append(token)
    if run:
        yield run

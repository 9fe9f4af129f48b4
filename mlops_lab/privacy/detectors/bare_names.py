"""Names that nothing announces, told by a common forename: ``Peter Hansen``, ``Hansen, Peter``, ``dice/smith_john``.

A forename alone is nobody's, and so is one that stands beside the name of a thing. Authors and licences are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ..model import Hit, Kind
from .forenames import FORENAMES
from .reading import Reading, Word
from .vocabulary import AMBIGUOUS, PARTICLES, is_thing, may_be_name

_MOST = 16
"""Words on either side of a forename that may belong to the name."""
_JOINTS = frozenset({" ", "_", "-", ", ", ",", "^", "'", "\u2019", " - "})
_SMALL_JOINTS = frozenset({"_", "-", ".", "^"})
_AUTHOR = re.compile(
    r"(?:author|copyright|\(c\)|\u00a9|maintain|contribut|cite|cited|citation|doi|arxiv|et al|license|credit)"
    r"[^\n]{0,80}$"
)
_ET_AL = re.compile(r"[ ,]{0,2}(?:et al|and colleagues|\(\d{4}\)|\d{4}\b)")
_CAMEL = re.compile(r"(?<![^\W\d_])([A-Z][a-zà-ÿ]{2,14})([A-Z][a-zà-ÿ]{2,14})(?![^\W\d_]|\()")
_QUOTES = frozenset("\"'/\\")
_WHOLE_KINDS = frozenset({"param", "tag", "name"})


def find(reading: Reading) -> Iterator[Hit]:
    """Find a forename and what of a name stands beside it."""
    for span in _glued(reading.text):
        yield Hit(*span, Kind.NAME, "<name>", 5)
    if FORENAMES.isdisjoint(reading.vocabulary):
        return
    words, reached = reading.words, -1
    for at, word in enumerate(words):
        if word.low not in FORENAMES or word.start < reached:
            continue
        small = reading.text[word.start].islower()
        first, last = _small(reading, words, at) if small else _capital(reading, words, at)
        if first == last or not _is_name(reading, words[first : last + 1], at - first, small):
            continue
        start, stop = words[first].start, words[last].stop
        if _AUTHOR.search(reading.low, max(0, start - 90), start) or (
            not small and _ET_AL.match(reading.low, stop) and "al" in reading.low[stop : stop + 12]
        ):
            continue
        reached = stop
        yield from _parts(reading, words[first : last + 1])


def _parts(reading: Reading, run: list[Word]) -> Iterator[Hit]:
    """Give the parts of a name; a comma with no space behind it may be the border of two cells of a table."""
    start = run[0].start
    for before, after in pairwise(run):
        if reading.text[before.stop : after.start] == ",":
            yield Hit(start, before.stop, Kind.NAME, "<name>", 5)
            start = after.start
    yield Hit(start, run[-1].stop, Kind.NAME, "<name>", 5)


def may_hold(text: str) -> bool:
    """Tell cheaply whether two parts of a name may be written as one word."""
    return any(True for _ in _glued(text))


def _glued(text: str) -> Iterator[tuple[int, int]]:
    """Find ``SmithJohn``: two words with capitals, one of them a forename."""
    for found in _CAMEL.finditer(text):
        one, other = found[1], found[2]
        if {one.lower(), other.lower()} & FORENAMES and may_be_name(one) and may_be_name(other):
            yield found.span()


def _is_name(reading: Reading, run: list[Word], forename: int, small: bool) -> bool:
    """Tell whether what stands beside a forename makes it a person's name."""
    others = [word for at, word in enumerate(run) if at != forename and word.low not in PARTICLES]
    telling = [word for word in others if len(word.low) > 1]
    if small:
        return bool(telling)
    # J. Smith needs the family name; Peter H. is somebody too.
    return bool(telling) or (len(others) == 1 and reading.text[others[0].stop : others[0].stop + 1] == ".")


def _capital(reading: Reading, words: list[Word], at: int) -> tuple[int, int]:
    text = reading.text
    if not may_be_name(text[words[at].start : words[at].stop]):
        return at, at

    def fits(word: Word) -> bool:
        written = text[word.start : word.stop]
        return (
            may_be_name(written)
            or word.low in PARTICLES
            or (word.low in AMBIGUOUS and written[0].isupper())
            or (len(written) == 1 and written.isupper())
        )

    first = last = at
    while last + 1 < len(words) and last - at < _MOST and fits(words[last + 1]):
        joint = text[words[last].stop : words[last + 1].start]
        initial = words[last].stop - words[last].start == 1
        if joint not in _JOINTS and not (initial and joint in (". ", ".")):
            break
        last += 1
    while first > 0 and at - first < _MOST and fits(words[first - 1]):
        joint = text[words[first - 1].stop : words[first].start]
        initial = words[first - 1].stop - words[first - 1].start == 1
        if joint not in _JOINTS and not (initial and joint in (". ", ".")):
            break
        first -= 1
    # A particle at an end is a word of the sentence.
    while last > at and words[last].low in PARTICLES and text[words[last].start].islower():
        last -= 1
    while first < at and words[first].low in PARTICLES and text[words[first].start].islower():
        first += 1
    return first, last


def _small(reading: Reading, words: list[Word], at: int) -> tuple[int, int]:
    """``smith_john``, ``john.smith``: in the names of files, metrics and branches; and as a whole param."""
    text = reading.text
    stripped = text.strip()
    if (
        reading.kind in _WHOLE_KINDS
        and len(words) in (2, 3)
        and re.fullmatch(r"[^\W\d_]+(?: [^\W\d_]+){1,2}", stripped)
    ):
        return (0, len(words) - 1) if not any(is_thing(word.low) for word in words) else (at, at)

    def fits(word: Word) -> bool:
        return word.low.isalpha() and len(word.low) > 2 and text[word.start].islower() and not is_thing(word.low)

    first = last = at
    if last + 1 < len(words) and fits(words[last + 1]):
        last += text[words[last].stop : words[last + 1].start] in _SMALL_JOINTS
    if first == last and first > 0 and fits(words[first - 1]):
        first -= text[words[first - 1].stop : words[first].start] in _SMALL_JOINTS
    if reading.code and not (
        _QUOTES & {text[max(0, words[first].start - 1)], text[words[last].stop : words[last].stop + 1]}
    ):
        return at, at  # the name of a variable
    return first, last

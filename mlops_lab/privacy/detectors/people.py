"""Names of persons, told by their form: DICOM's ``DOE^JANE``, a title before a name, ``patient Jane Doe``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..model import Hit, Kind
from .reading import Reading, listed
from .vocabulary import is_thing, may_be_name

_LETTERS = r"[^\W\d_](?:[^\W\d_]|['\u2019\-.](?=[^\W\d_]))*"
_CARET = re.compile(
    rf"(?<![^\W_])(?<!\^)(?:{_LETTERS} ){{0,2}}{_LETTERS}\^+{_LETTERS}(?: {_LETTERS}(?=\^))?"
    r"(?:\^[^\W\d_]?(?:[^\W\d_]|['\u2019.\-](?=[^\W\d_]))*)*\d{0,2}(?![^\W_]|[({])"
)
_SECOND_WRITING = re.compile(r"=[^\s=,;\"'<>]*\^[^\s=,;\"'<>]*")
_COMMON = listed(
    "mask pred true false label target left right seed hash flag key bit bits byte value index grad loss image img"
    " gt seg prob logit num den exp sin cos max min mean sum norm head tail input output self other data"
)
_PARTICLES = "van|von|der|den|de|del|della|di|da|la|le|bin|ibn|al|el|o|st|mac|mc|ter|ten|zu"
_BEFORE_FAMILY = frozenset(_PARTICLES.split("|"))
_GIVEN = r"[A-Z\u00c0-\u00de\u0100-\u024f\u0386-\u03ab\u0400-\u042f][^\W\d_]*(?:['\u2019\-][^\W\d_]+)*"
_REST = rf"(?: (?:{_PARTICLES})(?= [A-Z]))?(?: {_GIVEN}\b\.?){{0,3}}"
_TITLE = re.compile(
    rf"(?<![\w.])(?:(?:Mr|Mrs|Ms|Mx|Dr|Prof)\.?|Miss|Doctor|Professor|Dame|(?:MR|MRS|MS|DR|PROF)\."
    rf"|(?:Herrn?|Frau|Fräulein|Mme|Mlle|Madame|Monsieur|Señor|Señora|Sra?\.|Signora?|Sig\.(?:ra)?|Dhr|Mevr"
    rf"|Mevrouw|Meneer)\.?(?: (?:Dr|Prof|Dipl|Ing|med)\.?){{0,3}})"
    rf"(?:[ ]|[_](?=[A-Z]))(?P<name>(?:(?:{_PARTICLES}) )?{_GIVEN}\b\.?{_REST})"
)
_CALLED = re.compile(
    rf"\b(?:[Pp]atient|PATIENT|[Pp]t|[Ss]can of|[Ii]mages? of|[Rr]eport for|[Rr]eferral of"
    rf"|(?:[Ss]ubject|[Cc]ase|[Pp]articipant)(?=[\"']?[:=]))"
    rf"(?:'s name is| name is| named| called| is|,"
    rf"|[\"']?\]?[ ]?[:=]{{1,2}}(?:[ ]?[\"'])?)?[ ]?(?<![A-Za-z])(?P<name>{_GIVEN},?"
    rf"(?: (?:{_PARTICLES}))?,?[ ]?(?<=[ ,]){_GIVEN}(?: {_GIVEN})?)"
)
_TITLES = listed(
    "mr mrs ms mx dr prof miss doctor professor dame herr herrn frau fräulein mme mlle madame monsieur señor"
    " señora sr sra signor signora sig dhr mevr mevrouw meneer"
)
_PATIENTS = listed("patient patients pt pts pat subject case participant of report")
_FOLDER = re.compile(
    rf"(?:^|[\\/\s\"'=:])(?:patients?|pat|pts)[\\/](?P<name>{_GIVEN}(?:[_\- ,^]{_GIVEN}){{1,2}})(?=[_\-\\/.]|$|\s)",
    re.I,
)


_JUST_BEFORE = re.compile(
    rf"(?<![^\W_])(?P<name>{_GIVEN},?(?: (?:{_PARTICLES}))? {_GIVEN}(?: {_GIVEN})?)"
    r"[\"']?[,;:]?[ ]?[(\[]?(?:(?:NHS|DOB|D\.O\.B|MRN|CHI|born|b\.|[Hh]ospital|[Dd]ate of [Bb]irth)[^\n]{0,20})?$"
)
_NAMED = re.compile(
    rf"(?<![^\W_])(?:[Ff]ull[ _]?)?(?:[Nn]ame|NAME)[\"']?[ ]?[:=][ ]?[\"']?"
    rf"(?P<name>{_GIVEN},?(?: (?:{_PARTICLES}))? {_GIVEN}(?: {_GIVEN})?)"
)
_SINGLE = re.compile(
    rf"(?<![^\W_])(?:Name|NAME|Nom|NOM|Nome|Naam|Nombre|Navn|Namn|Nazwisko)[\"']?[ ]?[:=][ ]?"
    rf"[\"']?(?P<name>{_GIVEN})"
)
_INITIALED = re.compile(rf"(?<![\w.])(?:[A-Z]\.[ ]?){{1,2}}(?:(?:{_PARTICLES}) )?(?P<family>{_GIVEN})(?![\w(])")
_QUOTED_COMMA = re.compile(rf"(?<=[\"'])(?P<name>(?:{_GIVEN} ){{0,2}}{_GIVEN}, ?{_GIVEN}(?: {_GIVEN}\.?)?)(?=[\"'])")
_OF_A_PERSON = frozenset({Kind.DICOM, Kind.NHS_NUMBER, Kind.HOSPITAL_NUMBER, Kind.NATIONAL_NUMBER, Kind.DATE})
_COMMA = re.compile(r"[\"'][^\W\d_][^\n\"']{1,40}, ?[^\W\d_][^\n\"']{0,30}[\"']")
_AGED = re.compile(
    rf"(?<![^\W_])(?P<name>{_GIVEN} (?:(?:{_PARTICLES}) )?{_GIVEN}),?"
    rf" ?\(?\d{{1,3}} ?(?:[MFmf]\b|y/?o\b|years? old|yrs?\b)"
)
_MOST_BESIDE = 2000


def find(reading: Reading) -> Iterator[Hit]:
    """Find names of persons by their form."""
    text = reading.text
    if "^" in text:
        yield from _carets(reading)
    for found in _TITLE.finditer(text) if not _TITLES.isdisjoint(reading.vocabulary) else ():
        begin = found.start("name")
        name = _trimmed(found["name"])
        if name:
            yield Hit(begin, begin + len(name), Kind.NAME, "<name>", 5)
    for pattern in (_CALLED, _FOLDER) if not _PATIENTS.isdisjoint(reading.vocabulary) else ():
        for found in pattern.finditer(text):
            if not _names_a_thing(found["name"]):
                yield Hit(*found.span("name"), Kind.NAME, "<name>", 5)
    for found in _AGED.finditer(text):
        if not _names_a_thing(found["name"]):
            yield Hit(*found.span("name"), Kind.NAME, "<name>", 5)
    for found in _QUOTED_COMMA.finditer(text) if may_be_quoted(text) else ():
        words = [word for word in re.findall(rf"{_GIVEN}", found["name"]) if word.lower() not in _BEFORE_FAMILY]
        if len(words) > 1 and all(may_be_name(word) or len(word) == 1 for word in words):
            yield Hit(*found.span("name"), Kind.NAME, "<name>", 5)


def may_be_quoted(text: str) -> bool:
    """Tell cheaply whether a name may stand between quotation marks as ``'Family, Given'``."""
    return _COMMA.search(text) is not None


def beside(reading: Reading, hits: Sequence[Hit]) -> Iterator[Hit]:
    """Find names that what stands beside them gives away: ``Jane Doe, DOB 12/3/61``, ``name: Jane Doe, mrn: 12345``."""
    text = reading.text
    for hit in [hit for hit in hits if hit.kind in _OF_A_PERSON][:_MOST_BESIDE]:
        found = [_JUST_BEFORE.search(text, max(0, hit.start - 90), hit.start)]
        begin, stop = _around(text, hit)
        found += _NAMED.finditer(text, begin, stop)
        found += _SINGLE.finditer(text, begin, stop)
        for name in found:
            whole = _trimmed(name["name"]) if name is not None else ""
            if name is not None and whole and not _names_a_thing(whole):
                yield Hit(name.start("name"), name.start("name") + len(whole), Kind.NAME, "<name>", 5)
        if hit.kind is not Kind.DATE:
            for initialed in _INITIALED.finditer(text, begin, stop):
                if may_be_name(initialed["family"]):
                    yield Hit(*initialed.span(), Kind.NAME, "<name>", 5)


def _names_a_thing(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", name)
    # An is a word, and the given name of many: what is so short is judged by its neighbours.
    long = [word for word in words if len(word) > 2] if len(words) > 2 else words
    return any(is_thing(word) or (len(word) > 2 and word.isupper() and not may_be_name(word)) for word in long)


def _around(text: str, hit: Hit) -> tuple[int, int]:
    """Give the line of a hit, with one line above and one below, no further than a sentence."""
    begin = max(0, hit.start - 160, text.rfind("\n", 0, max(0, text.rfind("\n", 0, hit.start))) + 1)
    below = text.find("\n", hit.stop, hit.stop + 160)
    stop = text.find("\n", below + 1, hit.stop + 200) if below >= 0 else -1
    return begin, stop if stop >= 0 else min(len(text), hit.stop + 160)


def _carets(reading: Reading) -> Iterator[Hit]:
    text = reading.text
    for found in _CARET.finditer(text):
        start = found.start()
        parts = found[0].split("^")
        family = parts[0].split(" ")
        # Words before the name belong to it only where it is all in capitals, as scanners write it: VAN DER BERG^JAN.
        while len(family) > 1 and not (parts[0].isupper() or family[0].lower() in _BEFORE_FAMILY):
            start += len(family.pop(0)) + 1
        given = next((part for part in parts[1:] if part), "")
        if not _is_caret_name(reading, " ".join(family), given, found.end()):
            continue
        stop = found.end()
        while (second := _SECOND_WRITING.match(text, stop)) is not None:
            stop = second.end()
        while text[stop : stop + 1] == "^":
            stop += 1
        yield Hit(start, stop, Kind.NAME, "<name>", 4)


def _is_caret_name(reading: Reading, family: str, given: str, stop: int) -> bool:
    if not family.isascii() or not given.isascii():
        return True
    if family.lower() in _COMMON or given.lower() in _COMMON:
        return False
    if len(family) < 2 or (len(given) < 2 and reading.text[stop : stop + 1] != "^" and len(family) < 3):
        return False
    if family[0].isupper() and (given[0].isupper() or len(given) > 2):
        # DOE^J, but neither R^N nor dx^T.
        return len(given) > 1 or family.isupper() or reading.text[stop : stop + 1] == "^"
    if reading.code:
        return False
    return len(family) > 2 and len(given) > 2


def _trimmed(name: str) -> str:
    """Leave out words that are no part of a name; empty where none is left."""
    kept: list[str] = []
    for word in name.split(" "):
        if is_thing(word.strip(".,")) and len(word.strip(".")) > 1:
            break
        kept.append(word)
    return " ".join(kept).rstrip(".") if kept and any(len(word) > 1 for word in kept) else ""

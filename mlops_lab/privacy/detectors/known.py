"""Finds names and numbers that are known to belong to the data: in any case, spelling, order, path or file name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ..model import Hit, Kind, Known
from ..views import lowered
from .reading import PLACEHOLDER, WORD, Reading, Word, listed

_JOINTS = re.compile(r"[\s_\-^,.'\u2019/\\%&;#:+|]{1,4}")
_SUFFIXES = re.compile(
    r"(?:\.(?:nii|nrrd|mha|mhd|dcm|img|hdr|gz|npz?|png|jpe?g|tiff?|json|ima|mgz|mgh|pt|zip))+$", re.I
)
_SHORTEST = 3
"""Characters below which a text is no name of anybody: it would be found everywhere."""
_SHORTEST_NUMBER = 5
_MOST_WORDS = 40
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})
_CONTEXT = re.compile(
    r"(?:patient|subject|subj|sub|case|pat|pid|mrn|id|name|scan|study)s?[\"']?[\s_\-:=#./\\\"']{0,4}$"
)
_COMMON = listed(
    "image images img label labels mask masks seg scan volume data test train val pred ct mr mri pet t1 t2 flair"
    " unknown anonymous none patient case subject study series brain lung liver nan null true false"
)


class _Node:
    """One word of what is known, and what may follow it."""

    __slots__ = ("end", "following", "weak")

    def __init__(self) -> None:
        self.following: dict[str, _Node] = {}
        self.end: str | None = None
        """What stands for the text that ends here."""
        self.weak = False


class KnownTexts:
    """An index of what is known, by words.

    Parameters
    ----------
    known
        What somebody collected.
    """

    def __init__(self, known: Known) -> None:
        self._top = _Node()
        self.replacements: frozenset[str] = frozenset(known.cases.values())
        """What stands for a case."""
        for ident in known.ids:
            self._add(str(ident), "<id>")
        for name in known.names:
            self._add_name(str(name), "<name>")
        for text, replacement in known.cases.items():
            self._add_case(str(text), replacement)
        self.first_words = frozenset(self._top.following)
        """Words, in small letters, with which a known text begins."""

    def find(self, reading: Reading) -> Iterator[Hit]:
        """Find what is known in a text, the longest where several begin at one word."""
        first_words = self._top.following
        words = reading.words if first_words else []
        for number, word in enumerate(words):
            node = first_words.get(word.low)
            if node is not None:
                yield from self._longest(reading, words, number, node)

    def _longest(self, reading: Reading, words: list[Word], number: int, node: _Node) -> Iterator[Hit]:
        start, stop = words[number].start, words[number].stop
        best: tuple[int, str] | None = None
        for word in [*words[number + 1 : number + _MOST_WORDS], None]:
            if node.end is not None and (not node.weak or self._in_context(reading, start, stop)):
                best = stop, node.end
            following = node.following.get(word.low) if word is not None else None
            if word is None or following is None or not _JOINTS.fullmatch(reading.text, stop, word.start):
                break
            node, stop = following, word.stop
        if best is not None:
            yield Hit(start, best[0], Kind.KNOWN, best[1], 0)

    def _in_context(self, reading: Reading, start: int, stop: int) -> bool:
        """Tell whether a short number stands where a person's number would: after such a word, or as a whole folder."""
        left, _ = reading.line(start, 24)
        if _CONTEXT.search(left):
            return True
        after = reading.text[stop : stop + 1]
        return left[-1:] in ("/", "\\") and (after in ("/", "\\", "") or after == "." or after == "_")

    def _add_case(self, text: str, replacement: str) -> None:
        text = text.strip()
        self._add_name(text, replacement)
        parts = [part for part in re.split(r"[\\/]+", text) if part]
        for at in range(1, len(parts) - 1):
            self._add("/".join(parts[at:]), replacement)
        stem = _SUFFIXES.sub("", parts[-1]) if parts else ""
        telling = len(parts) == 1 or any(map(str.isdigit, stem)) or re.search(r"[_^ \-]", stem) is not None
        if stem != text and telling and len(stem) > _SHORTEST:
            self._add_name(stem, replacement)

    def _add_name(self, name: str, replacement: str) -> None:
        self._add(name, replacement)
        words = [word for word in re.split(r"[\s,^_]+", name.strip(" ^")) if word]
        if not 2 <= len(words) <= 4 or "/" in name or "." in name or any(map(str.isdigit, name)):
            return
        # DOE^JANE^MARY is also Jane Doe, Doe Jane, Mary Jane is left; and JaneDoe, doejane.
        first, second = words[0], words[1]
        for pair in ((first, second), (second, first)):
            self._add(" ".join(pair), replacement)
            self._add("".join(pair), replacement)
        for family, given in ((first, second), (second, first)):
            # J. Doe, Doe, J: but not where the family name is an abbreviation.
            if len(family) > 2 and len(given) > 1:
                self._add(f"{family} {given[0]}", replacement)
                self._add(f"{given[0]} {family}", replacement)
        if len(words) > 2:
            for order in ((*words[1:], first), (words[-1], *words[:-1]), (first, words[-1]), (words[-1], first)):
                self._add(" ".join(order), replacement)

    def _add(self, text: str, replacement: str) -> None:
        plain = text.strip()
        letters = sum(map(str.isalnum, plain))
        if letters < _SHORTEST or plain.lower() in _COMMON or PLACEHOLDER.fullmatch(plain):
            return
        weak = plain.isdigit() and len(plain) < _SHORTEST_NUMBER
        for spelled in (*_spellings(plain), *_regrouped(plain)):
            node = self._top
            for word in WORD.findall(lowered(spelled))[:_MOST_WORDS]:
                node = node.following.setdefault(word, _Node())
            if node is not self._top and (node.end is None or replacement not in ("<id>", "<name>")):
                node.end, node.weak = replacement, weak


def _regrouped(text: str) -> set[str]:
    """Give the ways in which the parts of a number are joined: ``RXH 123-456``, ``RXH123456``, ``943 476 5919``."""
    if not any(map(str.isdigit, text)) or not text.isascii() or "/" in text or "." in text or len(text) > 24:
        return set()
    joined = re.sub(r"[\s_\-]+", "", text)
    grouped = (
        {joined, " ".join(re.findall(r"[A-Za-z]+|\d+", joined))} if joined.isalnum() and len(joined) > 5 else set()
    )
    return grouped | ({f"{joined[:3]} {joined[3:6]} {joined[6:]}"} if re.fullmatch(r"\d{10}", joined) else set())


def _spellings(text: str) -> set[str]:
    """Give the ways in which people and file systems write `text`."""
    spelled = {text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)}
    if not text.isascii():
        composed = unicodedata.normalize("NFC", text)
        spelled.add("".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part)))
        spelled.add(composed.translate(_UMLAUTS))
    return spelled

"""One text as the detectors read it, and what they share: its words, small letters, and what stands there already."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ..views import lowered

if TYPE_CHECKING:
    from .labels import Labelled

WORD = re.compile(r"[^\W_]+")
PLACEHOLDER = re.compile(
    r"(?:<|&lt;)(?:nhs number|hospital number|national number|name|date|id|email|phone|path|user|uid|address"
    r"|removed)(?:>|&gt;)|90\+|\*{3,}|~"
)
"""What the guard itself writes, and what stands for a secret."""
CODE_KINDS = frozenset({"source", "traceback", "diff"})
"""Kinds of text in which a line is likely to be code."""


def listed(words: str) -> frozenset[str]:
    """Give the words of a list that is written as a text."""
    return frozenset(words.split())


class Word(NamedTuple):
    """One run of letters and digits."""

    start: int
    stop: int
    low: str


class Reading:
    """A text to search in.

    Parameters
    ----------
    text
        The text.
    kind
        What sort of text it is: ``param``, ``traceback``, ``source``.
    trusted
        Tells whether a value is one that the guard puts in place of an identifier, such as a study id.
    """

    def __init__(self, text: str, kind: str = "text", trusted: Callable[[str], bool] = lambda value: False) -> None:
        self.text = text
        self.low = lowered(text)
        self.kind = kind
        self.trusted = trusted
        self.nested_left = 0
        """Characters that may still be read inside of brackets."""

    @cached_property
    def words(self) -> list[Word]:
        """All words, in order."""
        low = self.low
        return [Word(*found.span(), low[found.start() : found.end()]) for found in WORD.finditer(self.text)]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The words that occur at all, in small letters."""
        return frozenset(word.low for word in self.words)

    @cached_property
    def labels(self) -> list[Labelled]:
        """All labels, in order."""
        from .labels import find_labels

        return find_labels(self)

    @cached_property
    def tags(self) -> list[Labelled]:
        """All tags of DICOM attributes that identify, in order."""
        from .labels import find_tags

        return list(find_tags(self))

    @property
    def code(self) -> bool:
        """Whether a line of it is likely to be code."""
        return self.kind in CODE_KINDS

    def line(self, at: int, before: int = 80, after: int = 80) -> tuple[str, str]:
        """Give what stands before and after position `at` on its line, in small letters, no further than told."""
        low = self.low
        left = low[max(0, at - before) : at].rpartition("\n")[2]
        return left, low[at : at + after].partition("\n")[0]

r"""Reads a text as a person would: escapes decoded, colours left out, with the way back to the characters as written.

A name hides behind ``\u00fc``, ``%20``, ``&amp;``, a line end written as ``\n``, or the codes that colour a traceback.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

_WRITTEN = re.compile(
    r"\x1b\[[0-9;?]{0,20}[A-Za-z]"
    r"|\\(?:[nrt\"'/\\]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})"
    r"|%[2-7][0-9A-Fa-f]|%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}"
    r"|&(?:[A-Za-z]{2,8}|#[0-9]{2,6}|#x[0-9A-Fa-f]{2,5});"
    r"|\w[\u0300-\u036f]{1,3}"
    r"|[\u00a0\u2000-\u200d\u202f\u2060\u2010-\u2015\u2212\ufeff\u00ad]"
)
_LINE_ENDS = {"\\n": "\n", "\\r": "\r", "\\t": "\t"}
_UNSEEN = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad")
_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212")
_MARKS = re.compile(r"[\x1b\\%&]")


class View(NamedTuple):
    """A text to search in, and where each of its characters stands in the original."""

    text: str
    starts: Sequence[int] = ()
    stops: Sequence[int] = ()
    """Begin and end of each character in the original; empty where the text is the original."""

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Give the stretch of the original that ``text[start:stop]`` was read from (at least one character)."""
        return (self.starts[start], self.stops[stop - 1]) if self.starts else (start, stop)


def decoded(text: str) -> View | None:
    """Give `text` with its escapes read; None where it has none."""
    if text.isascii() and not _MARKS.search(text):
        return None
    parts: list[str] = []
    starts: list[int] = []
    stops: list[int] = []
    at = 0
    for found in _WRITTEN.finditer(text):
        seen = _seen(found[0])
        if seen == found[0]:
            continue
        start, stop = found.span()
        parts += [text[at:start], seen]
        starts += [*range(at, start), *[start] * len(seen)]
        stops += [*range(at + 1, start + 1), *[stop] * len(seen)]
        at = stop
    if not parts:
        return None
    parts.append(text[at:])
    starts += range(at, len(text))
    stops += range(at + 1, len(text) + 1)
    return View("".join(parts), starts, stops)


def lowered(text: str) -> str:
    """Give `text` in small letters, character by character, so that positions stay."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)


def _seen(written: str) -> str:
    first = written[0]
    if first == "\x1b":
        return ""
    if first == "\\":
        if len(written) > 2:
            return chr(int(written[2:], 16))
        return _LINE_ENDS.get(written, written[1])
    if first == "%":
        try:
            return bytes.fromhex(written.replace("%", "")).decode()
        except UnicodeDecodeError:
            return written
    if first == "&":
        return html.unescape(written)
    if len(written) > 1:
        return unicodedata.normalize("NFC", written)
    if first in _UNSEEN:
        return ""
    return "-" if first in _DASHES else " "

"""Replaces what was found in the code of a cell, so that what parsed still parses."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .edits import applied
from .model import Hit, Kind
from .source import parse

_PIECES = re.compile(
    r"(?P<magic>^[ \t]*[%!][^\n]*)"
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<text>(?<![A-Za-z0-9_])[rbfuRBFU]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}"
    r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))"
    r"|(?P<number>(?<![A-Za-z0-9_.])\d[\d_]*(?![\w.]))"
    r"|(?P<word>[^\W\d]\w*)",
    re.DOTALL | re.MULTILINE,
)
_PREFIX = re.compile(r"[rbfuRBFU]{0,2}(?:\"{3}|'{3}|\"|')")
_MOST_SINGLE = 200
"""Changes that are tried one by one when they do not parse together."""


class _Piece(NamedTuple):
    start: int
    stop: int
    what: str
    text: str


def rewritten(code: str, hits: Sequence[Hit]) -> tuple[str, Counter[Kind]]:
    """Replace `hits`, in order and apart, in `code`.

    Returns
    -------
    tuple
        Code that parses where `code` does, and how many of each kind were replaced. In strings and comments the
        identifier is replaced, a number becomes a string, and a known name that is part of a variable's is replaced in
        that; other code is no identifier.
    """
    if parse(code) is None:
        return applied(code, hits), Counter(hit.kind for hit in hits)
    edits = _edits(code, hits)
    counts = Counter(edit.kind for edit in edits)
    changed = applied(code, edits)
    if changed == code or parse(changed) is not None:
        return changed, counts
    reached = len(code)
    for edit in edits[:_MOST_SINGLE][::-1]:
        if edit.stop > reached:
            continue  # it went with the string around it
        for choice in (edit, edit._replace(replacement=_word(edit)), _whole(code, edit)):
            single = applied(code, [choice])
            if parse(single) is not None:
                code, reached = single, choice.start
                break
        else:
            counts[edit.kind] -= 1
    return code, +counts


def _word(hit: Hit) -> str:
    """Give the replacement as a part of a variable's name."""
    return re.sub(r"\W+", "_", hit.replacement.strip("<>"))


def _edits(code: str, hits: Sequence[Hit]) -> list[Hit]:
    pieces = (_Piece(*found.span(), found.lastgroup or "", found[0]) for found in _PIECES.finditer(code))
    edits: list[Hit] = []
    waiting = list(reversed(hits))
    for piece in pieces:
        while waiting and waiting[-1].stop <= piece.start:
            waiting.pop()
        for hit in reversed(waiting):
            if hit.start >= piece.stop:
                break
            edits += _in_piece(piece, hit)
    return edits


def _in_piece(piece: _Piece, hit: Hit) -> list[Hit]:
    start, stop = max(hit.start, piece.start), min(hit.stop, piece.stop)
    if start >= stop:
        return []
    if piece.what in ("comment", "magic"):
        return [hit._replace(start=start, stop=stop)]
    if piece.what == "text":
        prefix = _PREFIX.match(piece.text)
        assert prefix is not None
        quote = len(prefix[0].lstrip("rbfuRBFU"))
        start, stop = max(start, piece.start + prefix.end()), min(stop, piece.stop - quote)
        return [hit._replace(start=start, stop=stop)] if start < stop else []
    if piece.what == "number":
        return [hit._replace(start=piece.start, stop=piece.stop, replacement=f'"{hit.replacement}"')]
    if hit.kind is not Kind.KNOWN or keyword.iskeyword(piece.text):
        return []
    word = _word(hit)
    if start == piece.start and word[:1].isdigit():
        word = f"_{word}"
    return [hit._replace(start=start, stop=stop, replacement=word)]


def _whole(code: str, edit: Hit) -> Hit:
    """Replace the whole string around an edit that does not parse, e.g. one inside the braces of an f-string."""
    for found in _PIECES.finditer(code):
        if found.lastgroup == "text" and found.start() <= edit.start and edit.stop <= found.end():
            lines = found[0].count("\n")
            quote = '"""' if lines else '"'
            return edit._replace(
                start=found.start(), stop=found.end(), replacement=f"{quote}{edit.replacement}" + "\n" * lines + quote
            )
    return edit

"""How a replacement is written where it stands: plain, inside JSON, inside markup, or as a part of a name."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from enum import Enum

from .model import Hit

_NUMBER = re.compile(r"[-+]?[\d.]+")
_BEFORE = re.compile(r"[:=\[,]\s{0,200}$")
_AFTER = re.compile(r"[ \t]{0,200}(?:[,\]}\r\n]|$)")


class Style(Enum):
    """How placeholders are written."""

    PLAIN = "plain"
    JSON = "json"
    XML = "xml"
    NAME = "name"

    @classmethod
    def of(cls, kind: str, text: str) -> Style:
        """Give the style of a text of `kind`; a tag may hold JSON."""
        if kind in ("json", "xml", "name"):
            return cls(kind)
        if text[:1] in ("{", "[") and text.rstrip()[-1:] in ("}", "]"):
            return cls.JSON
        return cls.PLAIN


def styled(text: str, hits: Sequence[Hit], style: Style) -> Sequence[Hit]:
    """Give `hits`, in order and apart, with replacements that leave JSON and markup well formed."""
    if style is Style.XML:
        return [hit._replace(replacement=html.escape(hit.replacement, quote=False)) for hit in hits]
    return _quoted(text, hits) if style is Style.JSON else hits


def _quoted(text: str, hits: Sequence[Hit]) -> Sequence[Hit]:
    """Put quotes around what replaces a bare number: JSON and TOML have no other word for it."""
    changed: list[Hit] = []
    at, inside = 0, False
    for hit in hits:
        for mark in re.finditer(r"\\.|[\"\n]", text[at : hit.start], re.DOTALL):
            # No string of these formats goes on beyond its line.
            inside = False if mark[0] == "\n" else not inside if mark[0] == '"' else inside
        at = hit.start
        bare = not inside and _NUMBER.fullmatch(text, hit.start, hit.stop)
        if bare and _BEFORE.search(text, max(0, hit.start - 220), hit.start) and _AFTER.match(text, hit.stop):
            hit = hit._replace(replacement=f'"{hit.replacement}"')
        changed.append(hit)
    return changed

"""Finds where a value ends that stands in no quotes."""

from __future__ import annotations

import re

from . import calendar
from .labels import Label
from .reading import Reading

_LONGEST = 400
_PART = r"(?:[^\s,;=:|&<>\"'(){}\[\]#]|'(?=[^\W\d_]))*"
_NAME = re.compile(
    rf"[^\W\d_]{_PART}(?:(?:,?[ ]|,)(?:(?:van|von|der|den|de|del|della|di|da|la|le|bin|ibn|al|el|st|ten|ter|zu|of)\b"
    rf"|[^\W\d_a-z]{_PART})(?![=:\w])){{0,6}}"
)
_SMALL_NAME = re.compile(rf"[^\W\d_A-Z]{_PART}(?:,?[ ][^\W\d_A-Z]{_PART}){{0,3}}(?=\s*$|[,;&|<]|\n)")
_ID = re.compile(r"[^\s,;&|<>\"'(){}\[\]]+(?:[ -]\d{2,}(?![.:\d]))*")
_TEXT = re.compile(r"[^\n\r\t;|<>\"]+")
_NEXT_KEY = re.compile(r",?[ ]+[\w.-]+[ ]?[=:](?!/)|,[ ]|[ ]{2}|[&#]|[ ]-{1,2}\w")


def end(reading: Reading, label: Label, at: int) -> int:
    """Give where the unquoted value of `label` that begins at `at` ends; `at` itself where there is none."""
    text = reading.text
    limit = min(len(text), at + _LONGEST)
    found: re.Match[str] | None
    if label.nature == "date":
        found = calendar.DATE.match(reading.low, at, limit) or _ID.match(text, at, limit)
    elif label.nature in ("id", "uid"):
        found = _ID.match(text, at, limit)
    elif label.nature == "person":
        found = _ID.match(text, at, limit) if text[at : at + 1].isdigit() else None
        found = (
            found or _SMALL_NAME.match(text, at, limit) or _NAME.match(text, at, limit) or _ID.match(text, at, limit)
        )
    elif label.nature == "name":
        found = _SMALL_NAME.match(text, at, limit) or _NAME.match(text, at, limit)
        if found is None and label.exact:
            found = _ID.match(text, at, limit)
    else:
        found = _TEXT.match(text, at, limit)
        cut = _NEXT_KEY.search(text, at, found.end()) if found is not None else None
        if cut is not None:
            return cut.start()
    return at if found is None else at + len(found[0].rstrip().rstrip(".,:"))

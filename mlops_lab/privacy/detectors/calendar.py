"""What dates and times look like, in files and in letters from a ward."""

from __future__ import annotations

import re

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?"
    # German, French, Spanish, Italian, Dutch, Portuguese
    r"|januar|februar|märz|maerz|mai|juni|juli|oktober|dezember"
    r"|janvier|février|fevrier|mars|avril|juin|juillet|août|aout|septembre|octobre|novembre|décembre|decembre"
    r"|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
    r"|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
    r"|januari|februari|maart|mei|augustus|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro)"
)
_YEAR = r"(?:18|19|20)\d\d"
_CLOCK = r"(?:[t_ ]?(?:[01]\d|2[0-3]):?[0-5]\d(?::?[0-5]\d)?(?:\.\d{1,6})?(?:z|[+-]\d\d:?\d\d)?)?"
_TWO = r"\d{1,2}"
COMPACT = rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_COMPACT_BRITISH = r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)\d\d"

DATE = re.compile(
    r"(?<![a-z0-9.])(?:"
    rf"(?:{COMPACT}|{_YEAR}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])){_CLOCK}"
    rf"|{_TWO}([-/.]){_TWO}\2(?:{_YEAR}|\d\d)"
    rf"|{_TWO}(?:st|nd|rd|th|er|\u00ba)?[ \-./]{{0,2}}(?:of |de |di )?{_MONTH}"
    rf"[ \-./,]{{0,2}}(?:de |del )?(?:{_YEAR}|\d\d)"
    rf"|{_MONTH}[ \-./]{{1,2}}{_TWO}(?:st|nd|rd|th)?,?[ \-./]{{1,2}}{_YEAR}"
    rf"|{_MONTH}[ \-]{_YEAR}"
    rf"|{_YEAR}[ \-./]{_MONTH}[ \-./]{_TWO}"
    r"|\d{1,2}(?:st|nd|rd|th)?(?: of)? (?:january|february|march|april|june|july|august|september|october"
    r"|november|december)"
    r"|(?:datetime\.)?date(?:time)?\(\d{4}, ?\d{1,2}, ?\d{1,2}(?:, ?\d{1,6}){0,4}\)"
    r")(?![a-z0-9]|[.-]\d)"
)
"""A date in a text in small letters."""

DATE_IN_PATH = re.compile(
    rf"(?<![a-z0-9])(?:{COMPACT}(?:t?\d{{4,6}})?|{_YEAR}([-_.]){_TWO}\1{_TWO}"
    rf"|{_TWO}([-_.]){_TWO}\2{_YEAR}|{_COMPACT_BRITISH}|{_TWO}[-_]?{_MONTH}[-_]?{_YEAR})(?![a-z0-9])"
)
"""A date in a path in small letters, where the parts of a name may be joined by ``_``."""

TIME = re.compile(r"(?:[01]\d|2[0-3])(?::[0-5]\d){1,2}(?:\.\d+)?|(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\.\d+)?")

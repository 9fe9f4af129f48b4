"""NHS numbers, which carry a check digit, and the hospital numbers whose patterns the project's policy gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..model import Hit, Kind
from .reading import Reading

_TEN = re.compile(
    r"(?<![0-9a-z])(?<![^a-z]\.)(?:nhs|id|no|mrn|pat|pt|patient|sub|subject"
    r"|case)?(\d{3})([ \-.]?)(\d{3})\2(\d{4})(?![0-9a-z]|\.\d)"
)
_SIZES = re.compile(
    r"(?:shape|size|dims?|dimensions?|spacing|patch|roi|grid|crop|voxels?|pixdim|counts?)\W{0,4}$|\[[\d\s.,]*$"
    r"|(?<![\w.])-?\d+(?:\.\d+)?[ ]$"
)
"""Before numbers in a row, such as a printed shape."""
_NUMBER_AFTER = re.compile(r"[ ]-?\d{1,4}(?:\.\d+)?(?=[\s\])]|$)")
_CLOCKS = re.compile(
    r"(?:\btime|timestamp|_ts|\bts|epoch|created|updated|modified|mtime|ctime|seed|random_state|unix|since|_time|_at"
    r"|_seed|random_seed|steps?|samples|params|parameters|bytes|flops|size|num_\w+|n_\w+)[\"']?\s?[:=(]?\s?$"
)


_SPELLED = re.compile(
    r"(?<![0-9a-z])nhs[ _]?(?:no|number|num|id|nr)?[\"']?[\s.:#=_\-]{0,4}(?P<called>(?:\d[ \-._/]{0,2}){9}\d)(?!\d)"
    r"|(?<![\w./])(?P<grouped>\d{3}(?P<sign>/|_|  )\d{3}(?P=sign)\d{4})(?![\w/])"
)


def find_nhs(reading: Reading) -> Iterator[Hit]:
    """Find NHS numbers: ten digits, alone or in the usual groups, with a valid check digit."""
    low = reading.low
    for found in _TEN.finditer(low):
        digits = found[1] + found[3] + found[4]
        if not is_nhs_number(digits):
            continue
        left, _ = reading.line(found.start(), 40)
        if "nhs" not in left:
            if not found[2] and _CLOCKS.search(left):
                continue
            if found[2] == " " and (_SIZES.search(left) or _NUMBER_AFTER.match(low, found.end())):
                continue
        yield Hit(found.start(1), found.end(), Kind.NHS_NUMBER, "<nhs number>", 1)
    for found in _SPELLED.finditer(low):
        group = "called" if found["called"] else "grouped"
        if is_nhs_number("".join(letter for letter in found[group] if letter.isdigit())):
            yield Hit(*found.span(group), Kind.NHS_NUMBER, "<nhs number>", 1)


_ALPHABET = "01234567890"
"""As programs and fonts have it."""


def is_nhs_number(digits: str) -> bool:
    """Tell whether ten digits are an NHS number.

    The last digit is 11 less the sum of the first nine, weighted 10 to 2, modulo 11 (NHS Data Dictionary, NHS NUMBER).
    """
    if len(digits) != 10 or len(set(digits)) == 1 or digits in _ALPHABET or digits in _ALPHABET[::-1]:
        return False
    rest = 11 - sum(int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return rest % 11 == int(digits[9]) if rest != 10 else False


def find_hospital(reading: Reading, patterns: Sequence[re.Pattern[str]]) -> Iterator[Hit]:
    """Find what the policy's patterns match, unless it is a part of a longer word."""
    text = reading.text
    for pattern in patterns:
        for found in pattern.finditer(text):
            start, stop = found.span()
            before, after = text[start - 1 : start] if start else "", text[stop : stop + 1]
            glued = (before.isalnum() and text[start].isalnum()) or (after.isalnum() and text[stop - 1].isalnum())
            if stop > start and not glued:
                yield Hit(start, stop, Kind.HOSPITAL_NUMBER, "<hospital number>", 2)

"""Post codes beside a person's name; one that stands alone is anybody's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..model import Hit, Kind
from .reading import Reading

_CODE = re.compile(
    r"(?<![\w.])(?:(?P<street>\d{1,4}[a-z]? [A-Z][a-z]+"
    r" (?:Road|Rd|Street|St|Lane|Avenue|Ave|Close|Drive|Way|Gardens),? )?"
    r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|(?:[A-Z]{1,2}-)?\d{4,5} [A-Z\u00c0-\u00de][^\W\d_]{2,}(?:[ \-][A-Z][^\W\d_]+)?"
    r"|[A-Z]{2} \d{5}(?:-\d{4})?)(?!\w)"
)
_PERSONS = frozenset({Kind.NAME, Kind.KNOWN, Kind.NHS_NUMBER, Kind.HOSPITAL_NUMBER, Kind.DICOM, Kind.DATE})
_NEAR = 70
_MOST = 500


def beside(reading: Reading, hits: Sequence[Hit]) -> Iterator[Hit]:
    """Find post codes on the line of somebody's name."""
    text = reading.text
    for hit in [hit for hit in hits if hit.kind in _PERSONS][:_MOST]:
        end = text.find("\n", hit.stop, hit.stop + _NEAR)
        stop = end if end >= 0 else min(len(text), hit.stop + _NEAR)
        for found in _CODE.finditer(text, hit.stop, stop):
            if hit.kind in (Kind.NAME, Kind.KNOWN) or hit.replacement == "<removed>" or found["street"]:
                yield Hit(*found.span(), Kind.ADDRESS, "<address>", 8)

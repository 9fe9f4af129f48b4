"""E-mail addresses and telephone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model import Hit, Kind
from .reading import Reading, listed

_EMAIL = re.compile(
    r"(?<![a-z0-9._%+\-])([a-z0-9_][a-z0-9._%+'\-]{0,63})(?:@|%40| ?\(at\) ?| ?\[at\] ?)"
    r"((?:[a-z0-9](?:[a-z0-9\-]{0,62})(?:\.| ?\[dot\] ?| ?\(dot\) ?)){1,8}([a-z]{2,24}))"
    r"(?![a-z0-9(]|-[a-z0-9]|\.[a-z0-9])"
)
_NOT_DOMAINS = listed(
    "png jpg jpeg gif svg bmp webp py ipynb pt pth nii gz json yaml yml txt csv tsv toml cfg ini zip tar whl h5"
    " hdf5 pkl npy npz onnx log html xml dcm nrrd mha mhd dvc git lock sh inverse transpose permute shape numpy cpu"
    " cuda view reshape data grad item mean sum mm float half detach flatten squeeze unsqueeze"
)
_VERSION = re.compile(r"v?\d+$|v?\d+\.\d")

_AT = ("@", "%40", "(at)", "[at]")
_CALLED = listed(
    "tel telephone phone mobile fax cell contact telefon telefoon tél téléphone telephone teléfono telefono handy"
    " mobil gsm natel móvil cellulare"
)
_FOUR = re.compile(r"\d{4}|\d[ \-.)]\d{3}|\d\d([ .])\d\d\1\d\d")
_LABELLED = re.compile(
    r"\b(?:tel|telephone|phone|mobile|fax|cell phone|contact number|phone number|telephone number|telefon|telefoon"
    r"|tél|téléphone|teléfono|telefono|handy|mobil|gsm|natel|móvil|cellulare)\b"
    r"\.?(?: ?(?:no\.?|number|num|nr\.?))?[\"']?[ \t]*[:=.#]?[ \t]*[\"']?(\+?\(?\d[\d ()./\-]{5,22}\d)(?![\w])"
)
_INTERNATIONAL = re.compile(
    r"(?<![\w+.)\]}])(?:\+|\b00(?=(?:44|1|3\d|4\d|353|61|64|91)[ \-.(]))[1-9]\d{0,2}"
    r"(?:[ \-.]?\(0?\d{0,5}\)[ \-.]?|[ \-./]?)\d{1,5}(?:[ \-./]?\d{2,5}){1,5}(?![\w]|[.,]\d)"
)
_BRITISH = re.compile(
    r"(?<![\w.+:\-/])(?:"
    r"\(?0(?:2\d\)?[ \-]\d{4}[ \-]?\d{4}|[1-9]\d{2}\)?[ \-]\d{3}[ \-]?\d{4}|[1-9]\d{3}\)?[ \-](?:\d{6}|\d{5}"
    r"|\d{3}[ \-]\d{3})"
    r"|[78]00[ \-]\d{3}[ \-]?\d{3,4})|0(?:7[1-9]\d{8}|[12]\d{9}|3[03]\d{8}|2[0-9]{9}|800\d{6,7})"
    r")(?![\w]|[.,\-]\d)"
)
_AMERICAN = re.compile(
    r"(?<![\w.+:\-/])(?:1[ \-.]\(?[2-9]\d{2}\)?[ \-.]\d{3}|\([2-9]\d{2}\)[ ]?\d{3}|555[\-.]\d{3}"
    r"|[2-9]\d{2}([\-.])[2-9]\d{2})"
    r"(?(1)\1|[ \-.])\d{4}(?![\w]|[.,\-]\d)"
)


_IN_PAIRS = re.compile(r"(?<![\w.+:\-/])0[1-9](?:([ .])\d\d)(?:\1\d\d){3}(?![\w]|[.,\-]\d)")
"""French and Belgian numbers."""


def find_emails(reading: Reading) -> Iterator[Hit]:
    """Find e-mail addresses, and not ``git@host:path``, ``name@version``, decorators or products of matrices."""
    if not any(sign in reading.low for sign in _AT):
        return
    for found in _EMAIL.finditer(reading.low):
        local, domain, last = found.groups()
        if last in _NOT_DOMAINS or _VERSION.match(domain) or set(local) <= set("._%+-'"):
            continue
        after = reading.low[found.end() : found.end() + 1]
        before = reading.low[max(0, found.start() - 3) : found.start()]
        if local in ("git", "root") and (after in (":", "/", "") or before == "://"):
            continue
        stop = found.end()
        yield Hit(found.start(), stop, Kind.EMAIL, "<email>", 3)


def find_phones(reading: Reading) -> Iterator[Hit]:
    """Find telephone numbers: international, British and American forms, and any that is called one."""
    low = reading.low
    for found in _LABELLED.finditer(low) if not _CALLED.isdisjoint(reading.vocabulary) else ():
        if 7 <= _digits(found[1]) <= 15:
            yield Hit(*found.span(1), Kind.PHONE, "<phone>", 4)
    for found in _INTERNATIONAL.finditer(low) if "+" in low or "00" in low else ():
        written = found[0]
        start = found.start()
        if not 9 <= _digits(written) <= 16 or _is_decimal(written):
            continue
        if reading.kind == "diff" and (start == 0 or low[start - 1] == "\n"):
            continue  # the mark of an added line
        yield Hit(*found.span(), Kind.PHONE, "<phone>", 4)
    for pattern in (_BRITISH, _AMERICAN, _IN_PAIRS):
        for found in pattern.finditer(low) if _FOUR.search(low) else ():
            yield Hit(*found.span(), Kind.PHONE, "<phone>", 4)


def _digits(text: str) -> int:
    return sum(letter.isdigit() for letter in text)


def _is_decimal(written: str) -> bool:
    return re.fullmatch(r"[+]?\d+\.\d+(?:[ ]\d+)?", written) is not None

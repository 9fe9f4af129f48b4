"""Numbers by which states and insurances know a person, told by their check digits or their form.

A number that has neither is found by its label only. Sources: the rules that the issuing authorities publish.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..model import Hit, Kind
from .reading import Reading

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_HETU_LETTERS = "0123456789ABCDEFHJKLMNPRSTUVWXY"


def _digits(text: str) -> list[int]:
    return [int(letter) for letter in text if letter.isdigit()]


def _is_day(day: int, month: int) -> bool:
    return 1 <= day <= 31 and 1 <= month <= 12


def _luhn(digits: list[int]) -> bool:
    doubled = [sum(divmod(2 * digit, 10)) if at % 2 == len(digits) % 2 else digit for at, digit in enumerate(digits)]
    return sum(doubled) % 10 == 0


def _kvnr(text: str) -> bool:
    """German health insurance (SGB V 290): the letter as two digits, weights 1 and 2, sums of digits, modulo 10."""
    digits = [*_digits(f"{ord(text[0]) - 64:02}"), *_digits(text)]
    total = sum(sum(divmod(digit * (1 + at % 2), 10)) for at, digit in enumerate(digits[:-1]))
    return total % 10 == digits[-1]


def _rvnr(text: str) -> bool:
    """German pension insurance: area, day of birth, letter, serial number."""
    digits = _digits(text)
    return _is_day(digits[2] * 10 + digits[3], digits[4] * 10 + digits[5])


def _svnr(text: str) -> bool:
    """Austrian social insurance: the fourth digit checks the others, modulo 11; the last six are the day of birth."""
    digits = _digits(text)
    rest = digits[:3] + digits[4:]
    total = sum(digit * weight for digit, weight in zip(rest, (3, 7, 9, 5, 8, 4, 2, 1, 6), strict=True))
    return total % 11 == digits[3] and digits[0] > 0 and _is_day(digits[4] * 10 + digits[5], digits[6] * 10 + digits[7])


def _ahv(text: str) -> bool:
    """Swiss social insurance: an EAN-13 that begins with 756."""
    digits = _digits(text)
    return sum(digit * (3 if at % 2 else 1) for at, digit in enumerate(digits)) % 10 == 0


def _nir(text: str) -> bool:
    """French social security: 97 less the number modulo 97; Corsica's departments 2A and 2B count as 19 and 18."""
    plain = re.sub(r"\W", "", text).upper()
    number = int(plain[:13].replace("2A", "19", 1).replace("2B", "18", 1))
    month = int(plain[3:5])
    return 97 - number % 97 == int(plain[13:15]) and (1 <= month <= 12 or 20 <= month <= 42)


def _dni(text: str) -> bool:
    """Spanish identity numbers of citizens and foreigners: the letter is the number modulo 23."""
    plain = text.replace("-", "").replace(" ", "").replace(".", "")
    number = plain[:-1].replace("X", "0", 1).replace("Y", "1", 1).replace("Z", "2", 1)
    return number.isdigit() and _DNI_LETTERS[int(number) % 23] == plain[-1]


def _rijksregister(text: str) -> bool:
    """Belgian national register: 97 less the first nine digits modulo 97, with a 2 before them from 2000 on."""
    plain = "".join(letter for letter in text if letter.isdigit())
    checks = {97 - int(plain[:9]) % 97, 97 - int(f"2{plain[:9]}") % 97}
    return int(plain[9:]) in checks and 1 <= int(plain[2:4]) <= 12 and 1 <= int(plain[4:6]) <= 31


def _personnummer(text: str) -> bool:
    """Swedish personal identity: Luhn over the last ten digits; a time of day behind a date of this century is none."""
    digits = _digits(text)
    last = digits[-10:]
    if not _luhn(last) or not _is_day(last[4] * 10 + last[5], last[2] * 10 + last[3]):
        return False
    clock = last[6] * 10 + last[7] < 24 and last[8] < 6
    return not (len(digits) == 12 and digits[0] == 2 and clock)


def _cpr(text: str) -> bool:
    """Danish civil registration: the day of birth and a serial number."""
    digits = _digits(text)
    return _is_day(digits[0] * 10 + digits[1], digits[2] * 10 + digits[3])


def _fodselsnummer(text: str) -> bool:
    """Norwegian birth number: two check digits modulo 11."""
    digits = _digits(text)
    for weights in ((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)):
        if sum(digit * weight for digit, weight in zip(digits, weights, strict=False)) % 11:
            return False
    return _is_day(digits[0] * 10 + digits[1], digits[2] * 10 + digits[3])


def _hetu(text: str) -> bool:
    """Finnish personal identity: the sign is the day of birth and serial number modulo 31."""
    return _HETU_LETTERS[int(text[:6] + text[7:10]) % 31] == text[10]


def _pesel(text: str) -> bool:
    """Polish PESEL: weights 1, 3, 7, 9; the month carries the century."""
    digits = _digits(text)
    total = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True))
    month = (digits[2] * 10 + digits[3]) % 20
    return total % 10 == 0 and _is_day(digits[4] * 10 + digits[5], month)


def _eleven(text: str) -> bool:
    """Eleven digits without signs between them: Norwegian, Polish or Belgian."""
    return _pesel(text) or _fodselsnummer(text) or _rijksregister(text)


def _cpf(text: str) -> bool:
    """Brazilian CPF: two check digits modulo 11."""
    digits = _digits(text)
    for size in (9, 10):
        rest = sum(digit * weight for digit, weight in zip(digits, range(size + 1, 1, -1), strict=False)) * 10 % 11
        if rest % 10 != digits[size]:
            return False
    return True


def _ssn(text: str) -> bool:
    """American social security: no area 000, 666 or 9xx."""
    return text[:3] not in ("000", "666") and text[0] != "9" and text[4:6] != "00" and text[7:] != "0000"


def _always(text: str) -> bool:
    return True


_B, _E = r"(?<![0-9A-Za-z.\-])", r"(?![0-9A-Za-z]|[.\-][0-9])"
_FORMS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = tuple(
    (re.compile(_B + pattern + _E), check)
    for pattern, check in (
        (r"[A-Z]\d{9}", _kvnr),
        (r"\d{2} ?\d{6} ?[A-Z] ?\d{3}", _rvnr),
        (r"\d{4} ?\d{6}", _svnr),
        (r"756\.?\d{4}\.?\d{4}\.?\d{2}", _ahv),
        (r"[1-478] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", _nir),
        (r"(?:\d{8}|\d{2}\.\d{3}\.\d{3}|[XYZ]-?\d{7})[\- ]?[A-Z]", _dni),
        (r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", _rijksregister),
        (r"(?:19|20)?\d{6}[\-+]\d{4}", _personnummer),
        (r"[0-3]\d[01]\d\d\d-\d{4}", _cpr),
        (r"[0-3]\d[01]\d{3}[\-+A]\d{3}[0-9A-FHJ-NPR-Y]", _hetu),
        (r"\d{11}", _eleven),
        (r"\d{3}\.\d{3}\.\d{3}-\d\d", _cpf),
        (r"\d{3}-\d{2}-\d{4}", _ssn),
        (
            r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-[AC-HJKMNP-RT-Y]{2}\d\d",
            _always,
        ),
        (r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]", _always),
        (r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", _always),
    )
)
_MAY = re.compile(r"\d{6}|\d[ .\-]\d\d|\d{2} ?[A-Z]\b|[A-Z]{6}\d\d|[A-Z]{2}\d-[A-Z]")
_LABELLED = re.compile(
    r"(?<![a-z])(?:mrn|acc|accession|chart|hosp|hospital|patient|pat|pt|case)[ ]?#[ ]?:?[ ]?"
    r"(?P<hash>[a-z]{0,3}\d[\d\-]{3,})"
    r"|(?<![a-z])(?:mrn|nhsno|hospno)[_\-]?(?P<glued>\d{4,})|(?<![a-z])(?:pat|patient|pt)[_\-]?(?P<number>\d{6,})(?![\d.])"
    r"|(?<![a-z])(?:ipp|nip|nhc|nir|insz|niss)[ .:#\u00b0]{1,3}(?P<french>\d{6,})"
)
_PID = re.compile(r"(?<![A-Za-z])PID[ :#=]{1,3}(?P<pid>[A-Z]{0,3}\d{6,})")


def may_hold(text: str, low: str) -> bool:
    """Tell cheaply whether a text may hold such a number."""
    if _LABELLED.search(low):
        return True
    return _MAY.search(text) is not None and any(
        pattern.search(text) for pattern in (_PID, *(pattern for pattern, _ in _FORMS))
    )


def find(reading: Reading) -> Iterator[Hit]:
    """Find the numbers whose form or check digit is right, and those that a short sign announces."""
    text = reading.text
    if _MAY.search(text):
        for pattern, check in _FORMS:
            for found in pattern.finditer(text):
                if check(found[0]):
                    yield Hit(*found.span(), Kind.NATIONAL_NUMBER, "<national number>", 3)
        for found in _PID.finditer(text):
            yield Hit(*found.span("pid"), Kind.DICOM, "<id>", 6)
    for found in _LABELLED.finditer(reading.low) if any(map(str.isdigit, text)) else ():
        group = found.lastgroup or ""
        yield Hit(*found.span(group), Kind.DICOM, "<id>", 6)

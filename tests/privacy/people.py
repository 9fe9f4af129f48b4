"""Invented persons and their numbers, spelled in the ways that files and letters spell them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_GIVEN = """
Jane John Mary Peter Siobhan Mohammed Aisha Wei Ananya Chloe Gareth Bronwyn Luca Zofia Ingrid Dmitri Fatima
Kwame Olu Priya Rhys Moira Hamish Anneliese Søren Zoë José Renée Björn Łukasz
"""
_FAMILY = """
Roberts O'Neill Smith-Jones Fitzgerald Okonkwo Patel Nguyen Kowalski Andersson Haddad Fernandez Mackenzie
Llewellyn Ramirez Petrov Abubakar Hutchinson Wadsworth Sutherland Müller Núñez Ångström Çelik Dvořák
"""
GIVEN = _GIVEN.split()
FAMILY = _FAMILY.split()


@dataclass(frozen=True)
class Person:
    """Somebody who does not exist."""

    given: str
    family: str
    nhs: str
    hospital: str
    born: tuple[int, int, int]
    scanned: tuple[int, int, int]


def nhs_number(source: random.Random) -> str:
    """Make a number with a valid check digit."""
    while True:
        digits = [source.randrange(10) for _ in range(9)]
        check = 11 - sum(digit * weight for digit, weight in zip(digits, range(10, 1, -1), strict=True)) % 11
        check %= 11
        if check != 10 and len({*digits, check}) > 2 and digits[0] > 2:
            return "".join(map(str, [*digits, check]))


def not_nhs_number(source: random.Random) -> str:
    """Make ten digits with a wrong check digit."""
    right = nhs_number(source)
    wrong = (int(right[-1]) + source.randrange(1, 10)) % 10
    return f"{right[:-1]}{wrong}"


def person(source: random.Random) -> Person:
    """Invent somebody."""
    return Person(
        source.choice(GIVEN),
        source.choice(FAMILY),
        nhs_number(source),
        f"RXH{source.randrange(10**6, 10**7)}",
        (source.randrange(1921, 2019), source.randrange(1, 13), source.randrange(1, 29)),
        (source.randrange(2008, 2026), source.randrange(1, 13), source.randrange(1, 29)),
    )


NAMES: dict[str, Callable[[Person], str]] = {
    "caret": lambda p: f"{p.family.upper()}^{p.given.upper()}",
    "caret, mixed": lambda p: f"{p.family}^{p.given}",
    "caret, full": lambda p: f"{p.family.upper()}^{p.given.upper()}^A^^Dr",
    "western": lambda p: f"{p.given} {p.family}",
    "comma": lambda p: f"{p.family}, {p.given}",
    "shouted": lambda p: f"{p.family.upper()}, {p.given.upper()}",
    "file": lambda p: f"{p.family}_{p.given}",
    "capital file": lambda p: f"{p.family.upper()}_{p.given.upper()}",
    "small file": lambda p: f"{p.given}-{p.family}".lower(),
    "small": lambda p: f"{p.given} {p.family}".lower(),
}

NUMBERS: dict[str, Callable[[str], str]] = {
    "plain": lambda n: n,
    "spaced": lambda n: f"{n[:3]} {n[3:6]} {n[6:]}",
    "dashed": lambda n: f"{n[:3]}-{n[3:6]}-{n[6:]}",
}

_YEAR = "January February March April May June July August September October November December"
_MONTHS = _YEAR.split()

DATES: dict[str, Callable[[tuple[int, int, int]], str]] = {
    "iso": lambda d: f"{d[0]}-{d[1]:02}-{d[2]:02}",
    "dicom": lambda d: f"{d[0]}{d[1]:02}{d[2]:02}",
    "british": lambda d: f"{d[2]:02}/{d[1]:02}/{d[0]}",
    "short": lambda d: f"{d[2]}/{d[1]}/{d[0] % 100:02}",
    "german": lambda d: f"{d[2]:02}.{d[1]:02}.{d[0]}",
    "letter": lambda d: f"{d[2]} {_MONTHS[d[1] - 1]} {d[0]}",
    "ordinal": lambda d: f"{d[2]}{'th' if d[2] > 3 else ('st', 'nd', 'rd')[d[2] - 1]} {_MONTHS[d[1] - 1]} {d[0]}",
    "american": lambda d: f"{_MONTHS[d[1] - 1]} {d[2]}, {d[0]}",
    "clinic": lambda d: f"{d[2]:02}-{_MONTHS[d[1] - 1][:3]}-{d[0]}",
}

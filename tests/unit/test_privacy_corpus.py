"""Of a corpus of planted identifiers none survives the guard, and of a corpus of look-alikes nothing is altered.

Both are composed by a seeded generator (`tests.privacy`): another seed gives other names, numbers and places.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from mlops_lab.privacy import Guard, Guarded, Known, Policy
from mlops_lab.privacy.source import parse
from tests.privacy import ward
from tests.privacy.harmless import harmless
from tests.privacy.people import nhs_number
from tests.privacy.planted import Planted, known, known_person, planted

SEEDS = (0, 1)
HOSPITAL = re.compile(r"RXH\d{7}")


def guard(seed: int) -> Guard:
    who = known_person(seed)
    return Guard(Policy(hospital_numbers=(HOSPITAL,)), Known(names=(f"{who.family}^{who.given}",)))


def screened(screen: Guard, kind: str, text: str) -> Guarded:
    return screen.name(text) if kind == "name" else screen.text(text, kind)


def letters(text: str) -> str:
    """What is left of a text when nobody cares how it is spelled."""
    return "".join(letter for letter in unicodedata.normalize("NFC", text).casefold() if letter.isalnum())


def corpus(seed: int) -> Iterator[Planted]:
    yield from planted(seed)
    yield from known(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_planted_identifier_survives(seed: int) -> None:
    screen = guard(seed)
    samples = list(corpus(seed))
    survived = []
    for sample in samples:
        text, findings, blocked = screened(screen, sample.kind, sample.text)
        if letters(sample.secret) in letters(text):
            survived.append((sample.kind, sample.text, text))
        assert findings or text != sample.text or blocked or letters(sample.secret) in letters(text)
        assert not any(letters(sample.secret) in letters(finding.sentence) for finding in findings)
    assert len(samples) >= 200
    assert survived == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_only_looks_like_an_identifier_is_left_alone(seed: int) -> None:
    screen = guard(seed)
    samples = list(harmless(seed))
    altered = [(s, screened(screen, s.kind, s.text).text) for s in samples]
    altered = [(sample, text) for sample, text in altered if text != sample.text]
    assert len(samples) >= 250
    assert altered == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_screened_once_is_not_changed_again(seed: int) -> None:
    screen = guard(seed)
    for sample in corpus(seed):
        once = screened(screen, sample.kind, sample.text).text
        assert screened(screen, sample.kind, once).text == once


def test_a_cell_that_parsed_parses_afterwards_and_keeps_its_lines() -> None:
    screen = guard(0)
    for sample in corpus(0):
        for cell in (
            f"x = {sample.text!r}\nprint(x)\n",
            f'"""{sample.text}"""\nlr = 0.1  # {sample.text.splitlines()[0]}\n',
            f"label = f'{{index}} {sample.secret}'\nvalues = [{nhs_number(random.Random(1))}, 3]\n",
        ):
            if parse(cell) is None:
                continue
            text = screen.source(cell).text
            assert parse(text) is not None, (cell, text)
            assert text.count("\n") == cell.count("\n")


def test_the_guard_never_raises_and_is_stable_on_anything() -> None:
    screen = guard(0)
    source = random.Random(7)
    pieces = [sample.text for sample in corpus(0)] + list("^|@:=\\/\"'<>(){}[]%&#\n\t\r\0 ü漢\ud800\x1b[0m")
    pieces += ["<name>", "<td>", "&lt;", "\\u00fc", "%5E", "PatientName", "0010|0010", "943 476 5919", '{"columns": [']
    for _ in range(600):
        text = "".join(source.choice(pieces)[: source.randrange(1, 60)] for _ in range(source.randrange(1, 12)))
        for kind in ("text", "json", "xml", "traceback", "source", "name"):
            once = screened(screen, kind, text).text
            if kind in ("text", "name"):
                assert screened(screen, kind, once).text == once, text
        screen.text(text, "param", name="PatientName")


def test_code_of_any_shape_is_screened_without_an_exception() -> None:
    screen = guard(0)
    source = random.Random(11)
    pieces = [
        "'",
        '"',
        '"""',
        "#",
        "\n",
        "(",
        "f'{",
        "}'",
        "943 476 5919",
        "DOE^JANE",
        "x = ",
        "%%bash\n",
        "\\",
        "r'",
        "0",
    ]
    for _ in range(1500):
        cell = "".join(source.choice(pieces) for _ in range(source.randrange(1, 14)))
        text = screen.source(cell).text
        assert parse(cell) is None or parse(text) is not None, (cell, text)


def on_the_ward(line: ward.Line) -> Guarded:
    screen = Guard()
    return screen.name(line.text) if line.kind == "name" else screen.text(line.text, line.kind, name=line.name)


def test_what_is_typed_on_a_ward_does_not_survive_a_guard_that_knows_nobody() -> None:
    lines = list(ward.planted())
    survived = []
    for line in lines:
        text = on_the_ward(line).text
        survived += [(line, text) for secret in line.secrets if letters(secret) in letters(unquote(text))]
    assert len(lines) >= 200
    assert survived == []


def test_what_a_lab_is_full_of_stays_as_it_is() -> None:
    lines = list(ward.harmless())
    altered = [(line, text) for line in lines if (text := on_the_ward(line).text) != line.text]
    assert len(lines) >= 200
    assert len(altered) <= 0.02 * len(lines), altered

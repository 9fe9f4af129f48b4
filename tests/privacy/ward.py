"""A second corpus, of another spirit than the first: what clinicians type and what labs are full of, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """One text under the name it is recorded with."""

    kind: str
    name: str
    text: str
    secrets: tuple[str, ...] = ()
    """What may not be found in what is recorded."""


def planted() -> Iterator[Line]:
    """Give the texts with something in them that identifies a person."""
    for kind, name, text, secrets in _lines("ward.txt"):
        yield Line(kind, name, text, tuple(secrets.split(";")))


def harmless() -> Iterator[Line]:
    """Give the texts that must stay as they are."""
    for kind, name, text in _lines("lab.txt"):
        yield Line(kind, name, text)


def _lines(name: str) -> Iterator[list[str]]:
    for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            fields = re.split(r"(?<!\\)\|", line)
            yield [field.strip().replace("\\|", "|").replace("\\n", "\n") for field in fields]

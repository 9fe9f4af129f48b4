"""GTO's git tags: ``name@v1.0.0`` registers a version, ``name#prod`` assigns a stage, ``=`` stands for a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TAG = re.compile(
    r"(?:(?P<folder>[A-Za-z0-9_./-]+)=)?(?P<name>[^@#=!]+)"
    r"(?:@(?P<version>v\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)|#(?P<stage>[A-Za-z][A-Za-z0-9/_-]*))"
    r"(?P<cancel>!?)(?:#(?P<counter>\d+))?"
)


@dataclass(frozen=True, slots=True)
class GtoTag:
    """One registration or assignment, or (`cancelled`) its withdrawal."""

    folder: str
    name: str
    version: str | None
    stage: str | None
    cancelled: bool
    counter: int
    """Order of repeated assignments of one stage; 0 when the tag has none."""


def parse(tag: str) -> GtoTag | None:
    """Read a tag's short name; None for a tag that is not GTO's."""
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    return GtoTag(
        folder=match["folder"] or "",
        name=match["name"],
        version=match["version"],
        stage=match["stage"],
        cancelled=bool(match["cancel"]),
        counter=int(match["counter"] or 0),
    )


def precedence(version: str) -> tuple[tuple[int, ...], bool, list[tuple[bool, int, str]]]:
    """Sort key of a version by semantic versioning: ``v1.0.0-rc.1`` comes before ``v1.0.0``."""
    core, _, pre = version.removeprefix("v").partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    parts = [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in pre.split(".")] if pre else []
    return numbers, not pre, parts

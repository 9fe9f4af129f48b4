"""How much room the journals of all runs may take: a quota in all, and what is left free on the disk."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from . import folders

QUOTA = 2 * 10**9
"""Bytes that all journals may take, unless ``MLOPS_LAB_QUOTA`` says otherwise."""
LARGEST_SEGMENT = 8 << 20
SMALLEST_SEGMENT = 32 << 10

_ENOUGH = 0.9
"""Part of the quota at which thinning ends, so that it does not begin again at once."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def allowed() -> int:
    """Give the bytes that all journals may take; what ``MLOPS_LAB_QUOTA`` says where that is a size."""
    text = os.environ.get("MLOPS_LAB_QUOTA", "")
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    return int(float(found[1]) * _UNITS[found[2]]) if found else QUOTA


def segment_size(folder: Path) -> int:
    """Give the bytes after which a journal begins a new segment: a small part of the room that there is."""
    room = min(allowed(), shutil.disk_usage(folder).total)
    return max(SMALLEST_SEGMENT, min(room // 32, LARGEST_SEGMENT))


def reserve_of(folder: Path) -> int:
    """Give the bytes that stay free on the disk of `folder`, room to thin a segment among them."""
    return 4 * segment_size(folder)


def missing(size: int, taken: int) -> int:
    """Give the bytes to be freed for `size` more where the journals have `taken`; not positive where there is room."""
    over = taken + size - allowed()
    if over > 0:
        over += int(allowed() * (1 - _ENOUGH))
    return max(over, missing_on_disk(size))


def missing_on_disk(size: int) -> int:
    """Give the bytes to be freed on the disk for `size` more; 0 where there is room."""
    place = folders.journals()
    short = size + reserve_of(place) - shutil.disk_usage(place).free
    return short + reserve_of(place) // 2 if short > 0 else 0


def counted(number: int, thing: str) -> str:
    """Give a number with its noun; empty where it is 0."""
    return "" if not number else f"1 {thing}" if number == 1 else f"{number} {thing}s"


def spelt(count: float) -> str:
    """Give a number of bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.3g} GB"

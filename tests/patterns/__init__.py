"""Training code as people write it, without a line about tracking; each file is cut into cells at ``# %%``."""

from __future__ import annotations

from pathlib import Path

CELLS = Path(__file__).parent / "cells"


def cells(name: str, magic: str = "") -> list[str]:
    """Give the cells of one pattern; `magic` stands above the one that is tracked."""
    found = []
    for cell in (CELLS / f"{name}.py").read_text().split("# %%")[1:]:
        mark, _, body = cell.partition("\n")
        found.append(f"{magic}\n{body}" if mark.strip() == "tracked" else body)
    return found

"""Reads the code of a cell, which need not be Python throughout."""

from __future__ import annotations

import ast
import re


def parse(source: str) -> ast.Module | None:
    """Parse a cell, its magic lines left out where need be (line numbers stay); None where that does not help."""
    for text in (source, re.sub(r"(?m)^([ \t]*)[%!].*$", r"\1pass", source)):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None

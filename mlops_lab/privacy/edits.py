"""Turns what several detectors found in one text into one list of changes that do not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .model import Hit


def merged(hits: Iterable[Hit]) -> list[Hit]:
    """Join hits that overlap: all that any of them covers goes, and the one of the lowest rank names what it was."""
    joined: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.stop, hit.rank)):
        last = joined[-1] if joined else None
        if last is None or hit.start >= last.stop:
            joined.append(hit)
            continue
        best = hit if hit.rank < last.rank else last
        joined[-1] = best._replace(start=last.start, stop=max(last.stop, hit.stop))
    return joined


def applied(text: str, hits: Sequence[Hit]) -> str:
    """Give `text` with each of the `hits`, in order and apart, replaced."""
    parts: list[str] = []
    at = 0
    for hit in hits:
        parts += [text[at : hit.start], hit.replacement]
        at = hit.stop
    parts.append(text[at:])
    return "".join(parts)

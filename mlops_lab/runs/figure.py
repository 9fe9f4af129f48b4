"""Lays out the curves of a comparison as plain geometry, so that SVG and matplotlib draw the same picture.

Runs are told apart by colour and line style and letter together: never by colour alone. The colours keep a contrast
of at least 3:1 on white and on a dark notebook.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..wire import Number, from_number
from .model import Comparison, Curve

COLOURS = ("#2a7fd4", "#cf6a00", "#16936a", "#b4509e", "#8a6f3c", "#6a6ee0")
DASHES = ((), (7, 3.5), (2, 2.5), (9, 3, 2, 3), (13, 4), (4, 2, 1.5, 2))

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 10, 34
MISSING = "\N{EN DASH}"
"""Stands where a run has no value."""
_MARKED = 40
"""Series of up to so many points show each of them."""


class Style(NamedTuple):
    """How one run is drawn, and the letter it is called by."""

    letter: str
    colour: str
    dash: tuple[float, ...]

    @property
    def dasharray(self) -> str:
        """The dash pattern as SVG writes it."""
        return " ".join(f"{length:g}" for length in self.dash) or "none"


class Tick(NamedTuple):
    """A place on an axis and what stands there."""

    at: float
    text: str


class Line(NamedTuple):
    """One series: its unbroken pieces, its marks, and where its letter stands."""

    style: Style
    pieces: list[str]
    marks: list[tuple[float, float]]
    broken: list[float]
    """Where a value is no finite number: x positions."""
    end: tuple[float, float] | None
    """Where its letter stands."""


class Panel(NamedTuple):
    """One metric's drawing, in SVG units with y downwards."""

    metric: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    summary: str
    """The drawing in words, for readers who cannot see it."""


def styles(count: int) -> list[Style]:
    """Give each of `count` runs a letter, a colour and a dash pattern, no two alike."""
    shift = len(COLOURS)
    return [Style(letter(i), COLOURS[i % shift], DASHES[(i + i // shift) % len(DASHES)]) for i in range(count)]


def letter(index: int) -> str:
    """Call run 0 A, run 25 Z, run 26 AA."""
    rest, last = divmod(index, 26)
    return (letter(rest - 1) if rest else "") + chr(ord("A") + last)


def panels(comparison: Comparison) -> list[Panel]:
    """Lay out every curve of the comparison."""
    order = {run.run_id: style for run, style in zip(comparison.runs, styles(len(comparison.runs)), strict=True)}
    return [_panel(curve, order) for curve in comparison.curves]


def show(value: Number | None) -> str:
    """Write a metric value for people: four significant digits, and a dash where there is none."""
    if value is None:
        return MISSING
    number = from_number(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if number == int(number) and abs(number) < 1e6:
        return str(int(number))
    return f"{number:.4g}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Choose round numbers within ``[low, high]``, at most about `most`."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low] if math.isfinite(low) else []
    raw = span / max(1, most - 1)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _panel(curve: Curve, order: dict[str, Style]) -> Panel:
    steps = [step for series in curve.series for step in series.steps]
    finite = [n for series in curve.series for n in map(from_number, series.values) if math.isfinite(n)]
    x_low, x_high = (min(steps), max(steps)) if steps else (0, 1)
    y_low, y_high = _padded(finite)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x_of(step: float) -> float:
        return round(LEFT + (step - x_low) / max(1, x_high - x_low) * (right - LEFT), 1)

    def y_of(value: float) -> float:
        # Halves first: the span of two huge values may itself be infinite.
        part = (value / 2 - y_low / 2) / (y_high / 2 - y_low / 2)
        return round(bottom - part * (bottom - TOP), 1)

    lines = []
    for series in curve.series:
        points = [(step, from_number(value)) for step, value in zip(series.steps, series.values, strict=True)]
        pieces = _pieces([(x_of(s), y_of(v)) if math.isfinite(v) else None for s, v in points])
        drawn = [point for piece in pieces for point in piece]
        lines.append(
            Line(
                style=order[series.run_id],
                pieces=[" ".join(f"{x:g},{y:g}" for x, y in piece) for piece in pieces if len(piece) > 1],
                marks=drawn if len(drawn) <= _MARKED else [piece[0] for piece in pieces if len(piece) == 1],
                broken=[x_of(s) for s, v in points if not math.isfinite(v)],
                end=drawn[-1] if drawn else None,
            )
        )
    whole = sorted({round(tick) for tick in ticks(x_low, x_high, 6)})
    return Panel(
        metric=curve.metric,
        lines=_apart(lines),
        x_ticks=[Tick(x_of(step), str(step)) for step in whole if x_low <= step <= x_high],
        y_ticks=[Tick(y_of(value), f"{value:.6g}") for value in ticks(y_low, y_high)],
        summary="; ".join(
            f"{order[one.run_id].letter} from {show(one.values[0])} at step {one.steps[0]} "
            f"to {show(one.values[-1])} at step {one.steps[-1]}"
            for one in curve.series
            if one.steps
        ),
    )


def _padded(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) * 0.1 or 1.0
        return max(low - margin, -1.7e308), min(high + margin, 1.7e308)
    margin = high / 20 - low / 20
    return max(low - margin, -1.7e308), min(high + margin, 1.7e308)


def _pieces(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Cut a series where a value is missing: no line is drawn across what is not known."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(point)
    return [piece for piece in pieces if piece]


def _apart(lines: Sequence[Line], gap: float = 12.0) -> list[Line]:
    """Place the letters beside the lines' right ends, apart from each other; above a line that ends earlier."""
    edge = WIDTH - RIGHT
    at_edge = sorted((line.end[1], i) for i, line in enumerate(lines) if line.end is not None and line.end[0] >= edge)
    placed: dict[int, float] = {}
    last = -math.inf
    for y, index in at_edge:
        last = placed[index] = max(y, last + gap)
    overflow = max(0.0, last - (HEIGHT - BOTTOM))
    moved = []
    for index, line in enumerate(lines):
        if line.end is None:
            moved.append(line)
        elif index in placed:
            moved.append(line._replace(end=(line.end[0] + 6, round(max(TOP, placed[index] - overflow) + 4, 1))))
        else:
            moved.append(line._replace(end=(line.end[0] - 3, max(TOP, line.end[1] - 7))))
    return moved

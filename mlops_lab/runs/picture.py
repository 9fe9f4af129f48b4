"""Draws a comparison with matplotlib, for places that show neither our view nor HTML: a PDF, a slide, a mail.

Loaded on demand: matplotlib is heavy. It is used without pyplot, so that the user's own figures and backend stay.
"""

from __future__ import annotations

import io
import math
import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..wire import from_number
from . import figure, words
from .model import Comparison, Curve, RunRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 9.0
_LINE = 0.21
_TOP = 0.3
_CURVE = 2.5
_INK = "#1c232b"
_QUIET = "#5b6670"
_TONES = {"good": "#12774c", "care": "#a35f00", "plain": "#5b6670"}
_MOST_ROWS = 14
_LARGEST = 1e290
_MOST_CURVES = 8


def draw(comparison: Comparison) -> bytes:
    """Give the picture as PNG: verdict, what differs, final metrics, curves, notes."""
    text = _lines(comparison)
    curves = comparison.curves[:_MOST_CURVES]
    rows = math.ceil(len(curves) / 2)
    head = _TOP + _LINE * len(text)
    height = head + _CURVE * rows + 0.15
    drawn = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(drawn)
    _write(drawn, text, height)
    styles = figure.styles(len(comparison.runs))
    by_run = {run.run_id: (style, run) for run, style in zip(comparison.runs, styles, strict=True)}
    for index, curve in enumerate(curves):
        row, column = divmod(index, 2)
        bottom = (height - head - _CURVE * (row + 1) + 0.5) / height
        axes = drawn.add_axes((0.075 + column * 0.49, bottom, 0.41, (_CURVE - 0.85) / height))
        _plot(axes, curve, by_run)
    written = io.BytesIO()
    drawn.savefig(written, format="png", dpi=110, metadata={"Software": "mlops_lab"})
    return written.getvalue()


def _lines(comparison: Comparison) -> list[list[tuple[float, str, dict[str, Any]]]]:
    """Give the text, line by line; a line is a list of (x from 0 to 1, text, font)."""
    from .render import title

    runs = comparison.runs
    bold, quiet = {"weight": "bold"}, {"color": _QUIET}
    lines: list[list[tuple[float, str, dict[str, Any]]]] = [
        [(0, _short(title(comparison), 80), {"size": 13, "weight": "bold"})],
        [(0, f"{comparison.server} · compared {words.created(comparison)}", quiet)],
        [],
    ]
    for verdict in comparison.shared:
        tone = {"color": _TONES[words.tone(verdict)], "weight": "bold"}
        # DejaVu, which matplotlib carries, has the signs.
        lines.append([(0, f"{words.mark(verdict)} {words.heading(verdict)}", tone)])
        lines += [[(0.02, part, {})] for part in textwrap.wrap(verdict.statement, 118)]
    first, width = 0.24, 0.74 / len(runs)
    places = [first + width * index for index in range(len(runs))]
    fits = max(6, int(118 * width))
    styles = figure.styles(len(runs))

    def row(name: str, values: list[str], font: dict[str, Any]) -> None:
        cells = [(x, _short(value, fits), font) for x, value in zip(places, values, strict=True)]
        lines.append([(0, _short(name, 29), font), *cells])

    lines.append([])
    lines.append(
        [
            (x, _short(f"{style.letter} · {run.name}", fits), bold | {"color": style.colour})
            for x, run, style in zip(places, runs, styles, strict=True)
        ]
    )
    for name, values in words.facts(runs):
        row(name, values, {})
    differing = [one for one in comparison.params if one.differs]
    if differing:
        lines += [[], [(0, "What differs", bold)]]
        for one in differing[:_MOST_ROWS]:
            row(one.name, [figure.MISSING if value is None else value for value in one.values], {})
        _and_more(lines, len(differing))
    if comparison.metrics:
        lines += [[], [(0, "Final metrics", bold)]]
        for metric in comparison.metrics[:_MOST_ROWS]:
            row(metric.name, [figure.show(value) for value in metric.values], {})
        _and_more(lines, len(comparison.metrics))
    if comparison.notes:
        lines += [[], [(0, "Before you conclude", bold)]]
        for note in comparison.notes:
            parts = textwrap.wrap(note, 116)
            lines += [[(0, ("• " if part is parts[0] else "   ") + part, {})] for part in parts]
    return lines


def _and_more(lines: list[list[tuple[float, str, dict[str, Any]]]], count: int) -> None:
    if count > _MOST_ROWS:
        lines.append([(0, f"and {count - _MOST_ROWS} more", {"color": _QUIET})])


def _write(drawn: Figure, lines: list[list[tuple[float, str, dict[str, Any]]]], height: float) -> None:
    for index, line in enumerate(lines):
        y = 1 - (_TOP + index * _LINE) / height
        for x, text, font in line:
            # A dollar sign would start a formula: names are shown as they are.
            style: dict[str, Any] = {"size": 8.5, "color": _INK, "parse_math": False} | font
            drawn.text(0.03 + x * 0.94, y, text, va="baseline", **style)


def _plot(axes: Axes, curve: Curve, by_run: dict[str, tuple[figure.Style, RunRow]]) -> None:
    for series in curve.series:
        style, _ = by_run[series.run_id]
        values = [from_number(value) for value in series.values]
        # matplotlib's axes overflow close to the largest double; nobody reads a difference out there.
        finite = [min(max(value, -_LARGEST), _LARGEST) if math.isfinite(value) else math.nan for value in values]
        dots = "o" if len(values) <= 40 else ""
        axes.plot(
            series.steps,
            finite,
            color=style.colour,
            linestyle=(0, tuple(part / 2 for part in style.dash)) if style.dash else "-",
            linewidth=1.7,
            marker=dots,
            markersize=3,
            label=style.letter,
        )
        broken = [step for step, value in zip(series.steps, values, strict=True) if not math.isfinite(value)]
        axes.plot(
            broken,
            [0.0] * len(broken),
            "x",
            color=style.colour,
            markersize=5,
            clip_on=False,
            transform=axes.get_xaxis_transform(),
        )
    axes.set_title(_short(curve.metric, 48), fontsize=9, loc="left", fontweight="bold", color=_INK, parse_math=False)
    axes.set_xlabel("step", fontsize=8, color=_QUIET, loc="right", labelpad=1)
    axes.tick_params(labelsize=8, colors=_QUIET, length=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#9aa4ad")
    axes.legend(fontsize=8, frameon=False, ncols=min(6, len(curve.series)), handlelength=2.6, loc="best")


def _short(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"

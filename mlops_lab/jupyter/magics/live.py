"""The live line under a tracked cell: the run, its state, its data and its last metrics.

It is redrawn by a background thread at most once a second and costs the training thread nothing. What stands there
at the end is saved with the notebook and reads without a kernel.
"""

from __future__ import annotations

import html
import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from IPython.display import display, update_display

if TYPE_CHECKING:
    from ...tracking.model import Progress
    from ...tracking.run import Run

MOST_METRICS = 6
_WORDS = {"RUNNING": "running", "FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}
_SIGNS = {"RUNNING": "●", "FINISHED": "✓", "FAILED": "✗", "KILLED": "■"}
_COLOURS = {
    "RUNNING": "var(--jp-brand-color1, #1976d2)",
    "FINISHED": "var(--jp-success-color1, #2e7d32)",
    "FAILED": "var(--jp-error-color1, #d32f2f)",
    "KILLED": "var(--jp-warn-color1, #b26a00)",
}


class LiveLine:
    """Shows one run under its cell; see :class:`mlops_lab.tracking.screen.Screen`."""

    def __init__(self) -> None:
        self._id = uuid4().hex
        self._shown: dict[str, str] = {}

    def opened(self, run: Run) -> None:
        """Draw the line."""
        self._shown = bundle(run.progress())
        display(self._shown, raw=True, display_id=self._id)

    def changed(self, run: Run) -> None:
        """Redraw it where something is new."""
        now = bundle(run.progress())
        if now != self._shown:
            self._shown = now
            update_display(now, raw=True, display_id=self._id)

    def closed(self, run: Run) -> None:
        """Draw what stays."""
        self.changed(run)


class TerminalLines:
    """The same in a terminal, which has no line to redraw: one at the start, one at the end."""

    def opened(self, run: Run) -> None:
        """Say that the run is open."""
        print(text(run.progress()))

    def changed(self, run: Run) -> None:
        """See :class:`mlops_lab.tracking.screen.Screen`."""

    def closed(self, run: Run) -> None:
        """Say how the run ended."""
        print(text(run.progress()))


def screen(shell: Any) -> type[LiveLine] | type[TerminalLines]:
    """Choose what fits `shell`."""
    return LiveLine if hasattr(shell, "kernel") else TerminalLines


def bundle(progress: Progress) -> dict[str, str]:
    """Give the line as HTML, with plain text for what shows no HTML."""
    return {"text/html": markup(progress), "text/plain": text(progress)}


def text(progress: Progress) -> str:
    """Give the line as plain text."""
    parts = [f"Run {progress.name} ({progress.experiment}): {_WORDS[progress.state]}, {_clock(progress.elapsed)}"]
    parts += [f"data {name}" for name in progress.data]
    parts += [f"{name} {value:.4g}" for name, value in _last(progress)]
    if progress.link:
        parts.append(progress.link)
    return "\n".join([" | ".join(parts), *progress.notices])


def _out_of_reach(link: str) -> bool:
    """Tell whether `link` leads to this very machine while the reader's browser runs on another, as on any hub."""
    on_hub = "JUPYTERHUB_SERVICE_PREFIX" in os.environ
    return on_hub and link.startswith(("http://127.0.0.1", "http://localhost"))


def markup(progress: Progress) -> str:
    """Give the line as HTML; colours follow the theme and never stand alone."""
    name = html.escape(progress.name)
    if progress.link and not _out_of_reach(progress.link):
        name = (
            f'<a href="{html.escape(progress.link)}" target="_blank" rel="noopener" '
            f'style="color:var(--jp-content-link-color, inherit)">{name}</a>'
        )
    state = (
        f'<span style="color:{_COLOURS[progress.state]}">{_SIGNS[progress.state]} {_WORDS[progress.state]}</span>'
        f' <span style="opacity:.7">{_clock(progress.elapsed)}</span>'
    )
    facts = [f"<b>{name}</b>", html.escape(progress.experiment), state]
    facts += [f"data <b>{html.escape(data)}</b>" for data in progress.data]
    facts += [f"{html.escape(metric)} <b>{value:.4g}</b>" for metric, value in _last(progress)]
    if progress.state == "RUNNING" and progress.waiting > 1000:
        facts.append(f'<span style="opacity:.7">{progress.waiting:,} records waiting</span>')
    notices = "".join(
        f'<div style="color:var(--jp-warn-color1, #b26a00)">⚠ {html.escape(notice)}</div>'
        for notice in progress.notices
    )
    return (
        '<div style="font-size:var(--jp-ui-font-size1, 13px);line-height:1.6;padding:4px 8px;'
        f"border-left:3px solid {_COLOURS[progress.state]};"
        'font-family:var(--jp-ui-font-family, sans-serif);color:var(--jp-ui-font-color1, inherit)">'
        f"<div>{' &middot; '.join(facts)}</div>{notices}</div>"
    )


def _last(progress: Progress) -> list[tuple[str, float]]:
    # Per-class values of a metric would crowd out the others.
    names = [name for name in progress.metrics if "_class_" not in name] or list(progress.metrics)
    return [(name, progress.metrics[name]) for name in names[:MOST_METRICS]]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

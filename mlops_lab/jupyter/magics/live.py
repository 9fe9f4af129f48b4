"""The live line under a tracked cell: the run, its state, where the training is, its data and its last metrics.

It is redrawn by a background thread, once a second at first and more and more rarely in a long run, and costs the
training thread nothing. What stands there at the end is saved with the notebook and reads without a kernel.
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
MOST_WAITING = 1000
"""Records that may be on their way to the server without a word about them; a second's worth of a fast training."""
_COUNTS = (("epoch", "epochs"), ("batch", "batches"))
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
        self._drawn = 0.0

    def opened(self, run: Run) -> None:
        """Draw the line."""
        self._shown = bundle(run.progress())
        display(self._shown, raw=True, display_id=self._id)

    def changed(self, run: Run) -> None:
        """Redraw it where something is new, and not too often: each time is a message to every open page."""
        progress = run.progress()
        if progress.state == "RUNNING" and progress.elapsed - self._drawn < _pause(progress.elapsed):
            return
        now = bundle(progress)
        if now != self._shown:
            self._shown, self._drawn = now, progress.elapsed
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
    parts += [f"{name} {value}" for name, value in _place(progress)]
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
    facts += [f"{name} <b>{html.escape(value)}</b>" for name, value in _place(progress)]
    facts += [f"data <b>{html.escape(data)}</b>" for data in progress.data]
    facts += [f"{html.escape(metric)} <b>{value:.4g}</b>" for metric, value in _last(progress)]
    if progress.state == "RUNNING" and progress.waiting > MOST_WAITING:
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


def _place(progress: Progress) -> list[tuple[str, str]]:
    """Tell where the training is, and how much of its time it waits for data."""
    facts = progress.facts
    found = [(what, _of(facts[what], facts.get(whole))) for what, whole in _COUNTS if what in facts]
    waited, worked = facts.get("data_seconds"), facts.get("step_seconds")
    if isinstance(waited, float) and isinstance(worked, float) and waited + worked > 1.0:
        found.append(("waiting for data", f"{waited / (waited + worked):.0%} of the time"))
    return found


def _of(count: object, whole: object) -> str:
    return f"{count}/{whole}" if whole else f"{count}"


def _pause(elapsed: float) -> float:
    """Seconds between two drawings, after so many seconds of a run."""
    return 0.5 if elapsed < 60 else 2.0 if elapsed < 600 else 5.0


def _last(progress: Progress) -> list[tuple[str, float]]:
    # Per-class values of a metric would crowd out the others.
    shown = [name for name in progress.metrics if not name.startswith("system/")]
    names = [name for name in shown if "_class_" not in name] or shown
    return [(name, progress.metrics[name]) for name in names[:MOST_METRICS]]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

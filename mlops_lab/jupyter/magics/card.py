"""How a run reads under its cell: one card in HTML that fits every theme, and the same as a line of plain text.

Styles stand in the elements, because GitHub, nbviewer and mail drop style sheets; where even those are dropped the
words still make sentences. State is a sign and a word, never a colour alone.
"""

from __future__ import annotations

import html
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...tracking.model import Progress

MOST_METRICS = 6
MOST_NOTICES = 4
"""Notices that are shown at once; the others are unfolded."""
SLOW_DATA = 0.5
"""Share of the time from which on the training is said to wait for its data."""

_WORDS = {"RUNNING": "running", "FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}
_SIGNS = {"RUNNING": "●", "FINISHED": "✓", "FAILED": "✗", "KILLED": "■"}
_COLOURS = {
    "RUNNING": "var(--jp-brand-color1, #1976d2)",
    "FINISHED": "var(--jp-success-color1, #2e7d32)",
    "FAILED": "var(--jp-error-color1, #d32f2f)",
    "KILLED": "var(--jp-warn-color1, #b26a00)",
}
_SAID = {"epoch", "epoch_seconds", "data_seconds", "step_seconds"}
"""Metrics that repeat what the line says of the epoch."""
_FONT = "var(--jp-ui-font-family, var(--vscode-font-family, sans-serif))"
_INK = "var(--jp-ui-font-color1, var(--vscode-foreground, inherit))"
_LINK = "var(--jp-content-link-color, var(--vscode-textLink-foreground, #1976d2))"
_WARN = "var(--jp-warn-color1, #b26a00)"
_GROUND = "var(--jp-layout-color3, rgba(128, 128, 128, .3))"
_SOFT = "opacity:.72"
_DIGITS = "font-variant-numeric:tabular-nums"
# What a reader looks for first. The pace and the settings of the optimizer come last, when there is room.
_WEIGHTS = (
    (re.compile("test", re.I), 8),
    (re.compile("val", re.I), 4),
    (re.compile("dice|auc|acc|f1|iou|score|hausdorff", re.I), 3),
    (re.compile("loss", re.I), 1),
    (re.compile("seconds|time|^lr|learning_rate|grad", re.I), -4),
)


def text(progress: Progress, offline: bool = False, left: float | None = None) -> str:
    """Give the card as plain text: one line, and one more for each notice.

    Parameters
    ----------
    progress
        The run at this moment.
    offline
        The user asked to keep the run on this computer.
    left
        Seconds that the training probably goes on; None where nobody knows.
    """
    parts = [f"Run {progress.name} ({progress.experiment}): {_WORDS[progress.state]}, {_clock(progress.elapsed)}"]
    parts += [f"{name} {value}" for name, value in _place(progress)]
    if left is not None:
        parts.append(_left(left))
    parts += [f"data {name}" for name in progress.data]
    shown, more = _last(progress)
    parts += [f"{name} {_number(value)}" for name, value in shown]
    if more:
        parts.append(f"{more} more")
    pace = _pace(progress)
    if pace is not None:
        parts.append(f"{_milliseconds(pace[0])} data + {_milliseconds(pace[1])} step per batch")
    waiting = _waiting(progress, offline)
    if waiting:
        parts.append(waiting)
    if progress.link:
        parts.append(progress.link)
    return "\n".join([" | ".join(parts), *progress.notices])


def markup(progress: Progress, offline: bool = False, left: float | None = None) -> str:
    """Give the card as HTML; see :func:`text`."""
    rows = [_head(progress, offline), _course(progress, left), _bar(progress), _figures(progress)]
    body = "".join(f"<div>{row}</div>" for row in rows if row)
    return (
        f'<div style="box-sizing:border-box;padding:4px 12px;border-left:3px solid {_COLOURS[progress.state]};'
        f'font-family:{_FONT};font-size:var(--jp-ui-font-size1, 13px);line-height:1.65;color:{_INK}">'
        f"{body}{_notices(progress.notices)}</div>"
    )


def share(progress: Progress) -> float | None:
    """Tell how much of the training is done, from 0 to 1; None where its length is not known."""
    facts = progress.facts
    epoch, epochs = facts.get("epoch"), facts.get("epochs")
    if not epoch or not epochs:
        return None
    batch, batches = facts.get("batch"), facts.get("batches")
    inner = min(batch / batches, 1.0) if batch and batches else 0.0
    done: float = (epoch - 1 + inner) / epochs
    return min(max(done, 0.0), 1.0)


def _head(progress: Progress, offline: bool) -> str:
    name = html.escape(progress.name)
    if progress.link and not _out_of_reach(progress.link):
        name = (
            f'<a href="{html.escape(progress.link)}" target="_blank" rel="noopener" title="Open the run in MLflow" '
            f'style="color:{_LINK}">{name}</a>'
        )
    state = (
        f'<span style="white-space:nowrap"><span style="color:{_COLOURS[progress.state]}">{_SIGNS[progress.state]}'
        f'</span> {_WORDS[progress.state]} <span style="{_DIGITS};{_SOFT}">{_clock(progress.elapsed)}</span></span>'
    )
    facts = [f"<b>{name}</b>", _soft(html.escape(progress.experiment)), state]
    if offline:
        facts.append("offline")
    facts += [f"{_soft('data')} <b>{html.escape(data)}</b>" for data in progress.data]
    waiting = _waiting(progress, offline)
    if waiting:
        facts.append(f'<span style="white-space:nowrap;{_DIGITS}">{waiting}</span>')
    return _joined(facts)


def _course(progress: Progress, left: float | None) -> str:
    facts = [_pair(name, value) for name, value in _place(progress)]
    pace = _pace(progress)
    if pace is not None:
        facts += _times(*pace)
    if left is not None:
        facts.append(_soft(_left(left)))
    return _joined(facts)


def _times(data: float, step: float) -> list[str]:
    part = data / (data + step)
    # The marks are empty: where styles are dropped, nothing is left of them.
    marks = "".join(
        f'<span style="display:inline-block;width:{width:.0f}px;height:6px;background:{colour}"></span>'
        for width, colour in ((60 * part, _WARN), (60 * (1 - part), _COLOURS["RUNNING"]))
    )
    facts = [
        f'<span style="white-space:nowrap">{_soft("per batch")} <span style="margin:0 2px">{marks}</span> '
        f'<b style="{_DIGITS}">{html.escape(_milliseconds(data))}</b> {_soft("data")} + '
        f'<b style="{_DIGITS}">{html.escape(_milliseconds(step))}</b> {_soft("step")}</span>'
    ]
    if part >= SLOW_DATA:
        facts.append(f'<span style="white-space:nowrap">waiting for data <b>{part:.0%}</b> of the time</span>')
    return facts


def _figures(progress: Progress) -> str:
    shown, more = _last(progress)
    facts = [_pair(html.escape(name), _number(value)) for name, value in shown]
    return _joined([*facts, _soft(f"{more} more")] if more else facts)


def _bar(progress: Progress) -> str:
    done = share(progress) if progress.state == "RUNNING" else None
    if done is None:
        return ""
    return (
        f'<div style="max-width:480px;height:3px;margin:3px 0;background:{_GROUND}">'
        f'<div style="width:{done:.1%};height:3px;background:{_COLOURS["RUNNING"]}"></div></div>'
    )


def _notices(notices: list[str]) -> str:
    lines = [
        '<div style="max-width:90ch;padding-left:1.4em;text-indent:-1.4em;overflow-wrap:anywhere">'
        f'<span style="display:inline-block;width:1.4em;text-indent:0;{_tone(notice)}</span>{_typed(notice)}</div>'
        for notice in notices
    ]
    shown, folded = lines[:MOST_NOTICES], lines[MOST_NOTICES:]
    if folded:
        count = "1 more notice" if len(folded) == 1 else f"{len(folded)} more notices"
        shown.append(f'<details><summary style="cursor:pointer;{_SOFT}">{count}</summary>{"".join(folded)}</details>')
    return "".join(shown)


def _tone(notice: str) -> str:
    # What the user asked for is no warning.
    return f'{_SOFT}">&#8505;&#65038;' if notice.startswith("Offline:") else f'color:{_WARN}">⚠︎'


def _typed(notice: str) -> str:
    """Set what is to be typed apart from the sentence around it."""
    safe = html.escape(notice, quote=False)
    return re.sub(r"(?<![\w%])(%{1,2}mlops_\w+(?: --\w+)*|mlops-lab sync(?: --\w+)*)", r"<code>\1</code>", safe)


def _place(progress: Progress) -> list[tuple[str, str]]:
    """Tell where the training is; the batch no longer matters when it is over."""
    facts = progress.facts
    counts = [("epoch", "epochs"), ("batch", "batches")][: 2 if progress.state == "RUNNING" else 1]
    return [(what, _of(facts[what], facts.get(whole))) for what, whole in counts if what in facts]


def _of(count: object, whole: object) -> str:
    return f"{count}/{whole}" if whole else f"{count}"


def _pace(progress: Progress) -> tuple[float, float] | None:
    """Give the seconds that a batch of this epoch waits for its data and is computed with, where they say anything."""
    facts = progress.facts
    batch, data, step = facts.get("batch"), facts.get("data_seconds"), facts.get("step_seconds")
    if not batch or not isinstance(data, float) or not isinstance(step, float) or data + step < 0.2:
        return None
    return data / batch, step / batch


def _waiting(progress: Progress, offline: bool) -> str:
    if not progress.waiting:
        return ""
    records = "1 record" if progress.waiting == 1 else f"{progress.waiting:,} records"
    return f"{records} kept here" if offline else f"{records} waiting"


def _last(progress: Progress) -> tuple[list[tuple[str, float]], int]:
    """Choose the metrics that are looked for first, and count the others."""
    names = [name for name in progress.metrics if not name.startswith("system/")]
    if "epoch" in progress.facts:
        names = [name for name in names if name not in _SAID]
    # Per-class values of a metric would crowd out the others.
    shown = [name for name in names if "_class_" not in name] or names
    shown = sorted(shown, key=lambda name: -sum(weight for sign, weight in _WEIGHTS if sign.search(name)))
    shown = shown[:MOST_METRICS]
    return [(name, progress.metrics[name]) for name in shown], len(names) - len(shown)


def _pair(name: str, value: str) -> str:
    return f'<span style="white-space:nowrap">{_soft(name)} <b style="{_DIGITS}">{value}</b></span>'


def _number(value: float) -> str:
    from ...runs.figure import show  # only where a run is shown: loading the magics is quick
    from ...wire import to_number

    return show(to_number(value))


def _soft(text: str) -> str:
    return f'<span style="white-space:nowrap;{_SOFT}">{text}</span>'


def _joined(facts: list[str]) -> str:
    return f' <span style="{_SOFT}">&middot;</span> '.join(facts)


def _left(seconds: float) -> str:
    if seconds < 60:
        return f"about {max(5, round(seconds / 5) * 5)} s left"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


def _milliseconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return "<1 ms" if seconds < 0.001 else f"{seconds * 1000:.0f} ms"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _out_of_reach(link: str) -> bool:
    """Tell whether `link` leads to this very machine while the reader's browser runs on another, as on any hub."""
    on_hub = "JUPYTERHUB_SERVICE_PREFIX" in os.environ
    return on_hub and link.startswith(("http://127.0.0.1", "http://localhost"))


def bundle(progress: Progress, offline: bool = False, left: float | None = None) -> dict[str, Any]:
    """Give the card as HTML, with plain text for what shows no HTML."""
    return {"text/html": markup(progress, offline, left), "text/plain": text(progress, offline, left)}

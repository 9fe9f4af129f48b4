"""`%mlops_sync --preview`: what would leave this computer, as tables to be read through before it does."""

from __future__ import annotations

import html
from collections.abc import Iterable

from IPython.display import display

from ...tracking.projection.unsent import Preview, counted, preview, readable, series

FEW = 30
"""Entries of a list that is open at first: what is to be read through must not hide."""
LONGEST = 300
"""Characters of one value that are shown at once; the rest is a tooltip's."""
MOST_ROWS = 200
_CELL = "text-align:left;vertical-align:top;padding:2px 16px 2px 0;overflow-wrap:anywhere"
_SOFT = "opacity:.72"


def show_preview(run: str = "") -> None:
    """Show what would be sent of one run, given by its name or the beginning of its key, or of every one that waits."""
    found = preview(run)
    if not found:
        print("Nothing waits on this computer.")
        return
    text = "\n\n".join(map(str, found))
    display({"text/html": "".join(map(markup, found)), "text/plain": text}, raw=True)


def markup(run: Preview) -> str:
    """Give one run as HTML: the short lists open, the long ones to be unfolded."""
    promise = "No server has heard of this run. This is all that would leave this computer:"
    if run.server:
        promise = f"{run.server} has the rest of this run already. This is still to be sent:"
    values = {"param": run.params, "tag": run.tags}
    sections = [_section(counted(len(found), kind), found.items()) for kind, found in values.items()]
    metrics = [(metric.name, series(metric)) for metric in run.metrics]
    title = f"{counted(len(metrics), 'metric')}, {counted(run.points, 'point')}" if metrics else "no metrics"
    sections.append(_section(title, metrics))
    sections.append(_section(counted(len(run.data), "dataset"), [(one, "") for one in run.data]))
    files = [(file.name, readable(file.size)) for file in sorted(run.files, key=lambda file: -file.size)]
    below = [f"{name} is looked through for identifiers before it is sent." for name in run.unscreened]
    if files:
        below.append(f"The copies are in {run.folder}.")
    sections.append(_section(f"{counted(len(files), 'file')}, {readable(run.size)}", files, " ".join(below)))
    return (
        '<div style="padding:4px 12px;margin-bottom:8px;border-left:3px solid var(--jp-border-color1, #999);'
        "font-family:var(--jp-ui-font-family, var(--vscode-font-family, sans-serif));"
        "font-size:var(--jp-ui-font-size1, 13px);line-height:1.6;"
        'color:var(--jp-ui-font-color1, var(--vscode-foreground, inherit))">'
        f'<div><b>{html.escape(run.name)}</b> <span style="{_SOFT}">{html.escape(run.summary())}</span></div>'
        f"<div>{html.escape(promise)}</div>{''.join(sections)}</div>"
    )


def _section(title: str, rows: Iterable[tuple[str, str]], below: str = "") -> str:
    entries = list(rows)
    if not entries:
        return f'<div style="{_SOFT}">{title}</div>'
    lines = "".join(_row(name, value) for name, value in entries[:MOST_ROWS])
    if len(entries) > MOST_ROWS:
        lines += _row(f"and {len(entries) - MOST_ROWS:,} more; mlops-lab sync --preview --json lists all", "")
    note = f'<div style="{_SOFT}">{html.escape(below)}</div>' if below else ""
    return (
        f'<details{" open" if len(entries) <= FEW else ""}><summary style="cursor:pointer">{title}</summary>'
        f'<table style="border-collapse:collapse;margin:2px 0 6px 14px;font-size:inherit">{lines}</table>'
        f"{note}</details>"
    )


def _row(name: str, value: str) -> str:
    shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}… ({len(value):,} characters)"
    title = "" if shown == value else f' title="{html.escape(value[:2000])}"'
    return (
        f'<tr style="background:none"><td style="{_CELL};{_SOFT};white-space:nowrap">{html.escape(name)}</td>'
        f'<td style="{_CELL};font-variant-numeric:tabular-nums"{title}>{html.escape(shown)}</td></tr>'
    )

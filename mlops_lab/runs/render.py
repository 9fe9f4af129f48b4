"""Renders a comparison where our own view is missing: HTML, a picture, plain text, and all as one bundle.

GitHub, nbviewer, nbconvert and mail show these; JupyterLab with our extension shows the JSON document itself.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

from .. import wire
from . import figure, words
from .model import Comparison, RunPage
from .shared import versions

if TYPE_CHECKING:
    import jinja2

MAX_ROWS = 200
"""Rows of one table in HTML: a notebook must stay small, and nobody reads thousands. The document keeps them all."""

MIME = "application/vnd.mlops-lab.comparison+json"


def to_html(comparison: Comparison, *, page: bool = False) -> str:
    """Render `comparison` as static HTML without script.

    Parameters
    ----------
    page
        Give a whole document that follows the reader's light or dark setting; otherwise a fragment for an output cell.
    """
    styles = figure.styles(len(comparison.runs))
    panels = figure.panels(comparison)
    differing = [row for row in comparison.params if row.differs]
    same = [row for row in comparison.params if not row.differs]
    fragment = _template("comparison.html").render(
        title=title(comparison),
        server=comparison.server,
        created=words.created(comparison),
        verdicts=[
            {
                "mark": words.mark(one),
                "heading": words.heading(one),
                "statement": one.statement,
                "tone": words.tone(one),
            }
            for one in comparison.shared
        ],
        runs=[
            {"name": run.name, "link": _web_link(run.link), "style": style}
            for run, style in zip(comparison.runs, styles, strict=True)
        ],
        two=len(comparison.runs) == 2,
        facts=words.facts(comparison.runs),
        differing=[_shown_param(row.name, row.values) for row in differing[:MAX_ROWS]],
        same=[{"name": row.name, "value": row.values[0]} for row in same[:MAX_ROWS]],
        same_count=len(same),
        metrics=[
            {"name": row.name, "values": [figure.show(v) for v in row.values], "gap": words.difference(row.values)}
            for row in comparison.metrics[:MAX_ROWS]
        ],
        left_out={
            "differing": _left_out(len(differing), "setting that differs", "settings that differ"),
            "metrics": _left_out(len(comparison.metrics), "metric", "metrics"),
            "same": _left_out(len(same), "setting", "settings"),
        },
        panels=panels,
        broken=any(line.broken for panel in panels for line in panel.lines),
        notes=comparison.notes,
        width=figure.WIDTH,
        height=figure.HEIGHT,
        left=figure.LEFT,
        right=figure.WIDTH - figure.RIGHT,
        bottom=figure.HEIGHT - figure.BOTTOM,
    )
    return _template("page.html").render(title=title(comparison), body=_safe(fragment)) if page else fragment


def to_text(comparison: Comparison) -> str:
    """Render `comparison` as a compact table for terminals and logs."""
    letters = [style.letter for style in figure.styles(len(comparison.runs))]
    lines = [words.terminal_safe(title(comparison)), ""]
    lines += [
        words.terminal_safe(f"{words.mark(one)} {words.heading(one)}: {one.statement}") for one in comparison.shared
    ]
    rows: list[list[str]] = [["", *(f"{a} {run.name}" for a, run in zip(letters, comparison.runs, strict=True))]]
    rows += [[name, *values] for name, values in words.facts(comparison.runs)]
    differing = [row for row in comparison.params if row.differs]
    if differing:
        rows += [
            [],
            *(
                [row.name, *(value if value is not None else figure.MISSING for value in row.values)]
                for row in differing
            ),
        ]
    if comparison.metrics:
        rows += [[], *([row.name, *(figure.show(value) for value in row.values)] for row in comparison.metrics)]
    lines += ["", *_columns(rows)]
    same = sum(not row.differs for row in comparison.params)
    if same:
        lines += ["", f"{same} setting{'' if same == 1 else 's'} the same."]
    if comparison.notes:
        lines += ["", *(words.terminal_safe(f"- {note}") for note in comparison.notes)]
    return "\n".join(lines)


def to_png(comparison: Comparison) -> bytes:
    """Render `comparison` as a picture; loads matplotlib, and leaves the reader's own figures alone."""
    from .picture import draw

    return draw(comparison)


def mimebundle(comparison: Comparison, *, png: bool = True) -> dict[str, Any]:
    """Give every form of `comparison` at once, as ``display(bundle, raw=True)`` takes it."""
    bundle: dict[str, Any] = {
        MIME: wire.plain(comparison),
        "text/html": to_html(comparison),
        "text/plain": to_text(comparison),
    }
    if png:
        bundle["image/png"] = base64.b64encode(to_png(comparison)).decode("ascii")
    return bundle


def page_html(page: RunPage) -> str:
    """Render a list of runs as a static table."""
    rows = [
        {
            "name": run.name,
            "run_id": run.run_id,
            "link": _web_link(run.link),
            "columns": {name: values[0] for name, values in words.facts([run])},
            "metrics": ", ".join(f"{name} {figure.show(value)}" for name, value in words.headline(run)),
        }
        for run in page.runs
    ]
    return _template("runs.html").render(rows=rows, more=page.next_page_token is not None)


def page_text(page: RunPage) -> str:
    """Render a list of runs as a plain table."""
    if not page.runs:
        return "No runs."
    rows = [["run", "name", "status", "started", "data", "metrics"]]
    for run in page.runs:
        shown = ", ".join(f"{name} {figure.show(value)}" for name, value in words.headline(run))
        data = versions(run) or figure.MISSING
        rows.append([run.run_id, run.name, words.STATES[run.status], words.started(run), data, shown])
    return "\n".join(_columns(rows))


def title(comparison: Comparison) -> str:
    """Give the comparison a heading."""
    names = [run.name for run in comparison.runs]
    return f"{names[0]} and {names[1]}" if len(names) == 2 else f"Comparison of {len(names)} runs"


def _shown_param(name: str, values: list[str | None]) -> dict[str, Any]:
    return {"name": name, "values": [figure.MISSING if value is None else value for value in values]}


def _left_out(count: int, one: str, many: str) -> str:
    more = count - MAX_ROWS
    where = "it is on the runs' MLflow pages" if more == 1 else "they are on the runs' MLflow pages"
    return f"{more} more {one if more == 1 else many}; {where}." if more > 0 else ""


def _columns(rows: list[list[str]], widest: int = 40) -> list[str]:
    cut = [[_cut(value, widest) for value in row] for row in rows]
    count = max(len(row) for row in cut)
    widths = [max((len(row[i]) for row in cut if i < len(row)), default=0) for i in range(count)]
    return ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=False)).rstrip() for row in cut]


def _cut(value: str, widest: int) -> str:
    flat = " ".join(words.terminal_safe(value).split())
    return flat if len(flat) <= widest else flat[: widest - 1] + "…"


def _web_link(link: str) -> str:
    # A stored comparison may come from anywhere; a link that is not a web address is not followed.
    return link if link.startswith(("http://", "https://")) else "#"


def _safe(html: str) -> Any:
    from markupsafe import Markup

    return Markup(html)


@cache
def _template(name: str) -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlops_lab.runs", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)

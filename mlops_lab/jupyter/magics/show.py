"""`%mlops_runs` and `%mlops_compare`: what the runs room gives, shown in the cell and saved with the notebook."""

from __future__ import annotations

from IPython.display import display


def show_runs(filter: str) -> None:
    """Show the newest runs that `filter` lets through."""
    from ...runs import render, search_runs

    page = search_runs(filter)
    display({"text/html": render.page_html(page), "text/plain": render.page_text(page)}, raw=True)


def show_comparison(runs: list[str]) -> None:
    """Compare `runs`, given by id, beginning of an id, or name, and show the comparison."""
    from ...runs import compare_runs, render

    display(render.mimebundle(compare_runs(runs)), raw=True)

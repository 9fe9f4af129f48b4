"""The whole journey, clicked: from an empty panel to a comparison that is read without a kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.pages import TRAINING_LIMIT, Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("journey")]

COMPARISON = "application/vnd.mlops-lab.comparison+json"


def train_on(lab: Lab, version: str) -> str:
    """Pick `version`, insert and run the recipe's cell, wait until its run has finished; give the run's id."""
    before = set(run_ids(lab))
    lab.part(f"version-brain@{version}").click()
    expect(lab.part("picked")).to_have_text(f"brain@{version}")
    lab.part("insert-run").click()
    fresh = lab.page.locator("[data-run-id]" + "".join(f":not([data-run-id='{run_id}'])" for run_id in before))
    expect(fresh).to_have_count(1, timeout=120_000)
    expect(fresh).to_have_attribute("data-status", "FINISHED", timeout=TRAINING_LIMIT)
    run_id = fresh.get_attribute("data-run-id")
    assert run_id
    return run_id


def run_ids(lab: Lab) -> list[str]:
    return [row.get_attribute("data-run-id") or "" for row in lab.page.locator("[data-run-id]").all()]


def test_the_whole_journey(lab: Lab, demo_project: Path) -> None:
    lab.open()
    lab.open_panel()
    expect(lab.part("disconnected")).to_be_visible()
    lab.picture("1-first-sight")

    lab.part("start-server").click()
    expect(lab.part("starting")).to_be_visible()
    lab.picture("2-server-starting")
    expect(lab.part("connected")).to_be_visible(timeout=120_000)

    lab.new_notebook()
    first = train_on(lab, "v1.0.0")
    lab.picture("3-first-run-finished")
    second = train_on(lab, "v2.0.0")

    cells = lab.notebook.locator(".jp-CodeCell")
    sources = [cell.inner_text() for cell in cells.all()]
    assert sum("%load_ext mlops_lab" in source for source in sources) == 1
    assert sum("%%mlops_track" in source for source in sources) == 2

    for run_id in (first, second):
        lab.page.locator(f"[data-run-id='{run_id}'] input[type=checkbox]").check()
    lab.part("compare").click()
    comparison = lab.notebook.get_by_test_id("mlops-comparison")
    expect(comparison).to_be_visible(timeout=60_000)
    read_comparison(lab)
    lab.picture("comparison")
    lab.save()

    saved = json.loads(next(demo_project.glob("Untitled*.ipynb")).read_text())
    [output] = [
        output for cell in saved["cells"] for output in cell.get("outputs", []) if COMPARISON in output.get("data", {})
    ]
    assert {"text/html", "image/png", "text/plain"} <= set(output["data"])
    assert {run["run_id"] for run in output["data"][COMPARISON]["runs"]} == {first, second}

    lab.shut_down_every_kernel()
    lab.page.goto("about:blank")
    lab.open(next(demo_project.glob("Untitled*.ipynb")).name)
    read_comparison(lab)
    lab.picture("4-read-without-a-kernel")


def read_comparison(lab: Lab) -> None:
    """What a reader must find in the comparison of the two demo runs."""
    comparison = lab.notebook.get_by_test_id("mlops-comparison")
    expect(comparison).to_be_visible(timeout=30_000)
    comparison.scroll_into_view_if_needed()
    verdict = comparison.get_by_test_id("mlops-verdict")
    expect(verdict).to_contain_text("same")
    expect(verdict).to_contain_text(re.compile("test", re.IGNORECASE))
    expect(comparison.get_by_test_id("mlops-params")).to_contain_text("v1.0.0")
    expect(comparison.get_by_test_id("mlops-params")).to_contain_text("v2.0.0")
    expect(comparison.get_by_test_id("mlops-metrics")).to_contain_text("test_dice")
    expect(comparison.get_by_test_id("mlops-chart-val_dice").locator("canvas")).to_be_visible(timeout=20_000)

"""Comparisons of runs that went wrong, in a tab, in the dark, in a narrow panel, and in a stranger's notebook."""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import expect

from mlops_lab.connection.rest import TrackingServer
from tests.browser.pages import Lab
from tests.jupyter_servers import JupyterServer
from tests.mlflow_servers import MlflowServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("states")]

COMPARISON = "application/vnd.mlops-lab.comparison+json"
NOTHING = "\N{EN DASH}"
BEGAN = 1_780_000_000_000
"""Milliseconds since 1970 at which the first run began."""


@pytest.fixture(scope="module")
def three_runs(group_server: MlflowServer) -> dict[str, str]:
    """One run that finished, one that failed, one whose loss became NaN; ids by name."""
    server = TrackingServer(group_server.uri)
    experiment = server.create_experiment("liver lesions")
    made = {}
    for minute, (name, status, losses, dice) in enumerate(
        (
            ("sound", "FINISHED", [0.9, 0.5, 0.3], [0.4, 0.7, 0.8125]),
            ("out-of-memory", "FAILED", [0.95], []),
            ("diverged", "FINISHED", [0.9, 40.0, float("nan")], [0.4, 0.0, float("nan")]),
        )
    ):
        start = BEGAN + minute * 60_000
        run = server.create_run(experiment, start_time=start, run_name=name)["info"]["run_id"]
        points = [("train_loss", losses), ("val_dice", dice)]
        metrics = [
            {"key": key, "value": value, "step": step, "timestamp": start + step * 1000}
            for key, values in points
            for step, value in enumerate(values)
        ]
        server.log_batch(run, metrics, params={"learning_rate": "0.1" if name == "diverged" else "0.002", "seed": "0"})
        server.update_run(run, status, end_time=start + 30_000)
        made[name] = run
    return made


@pytest.fixture
def connected_lab(shared_lab: Lab, group_server: MlflowServer) -> Lab:
    assert shared_lab.server.request("POST", "connection", json={"uri": group_server.uri}).is_success
    return shared_lab


def open_comparison(lab: Lab, runs: dict[str, str]) -> None:
    """Tick all the runs and open their comparison in a tab."""
    lab.open("demo", fresh=True)
    lab.open_panel()
    lab.part("experiment").select_option("liver lesions")
    for run in runs.values():
        lab.part(f"run-{run}").get_by_role("checkbox").check()
    lab.part("compare-tab").click()
    expect(lab.part("comparison")).to_be_visible(timeout=30_000)


def test_three_runs_are_told_apart_though_one_failed_and_one_diverged(
    connected_lab: Lab, three_runs: dict[str, str]
) -> None:
    lab = connected_lab
    open_comparison(lab, three_runs)
    for name, status in (("sound", "FINISHED"), ("out-of-memory", "FAILED"), ("diverged", "FINISHED")):
        expect(lab.part(f"run-{three_runs[name]}")).to_have_attribute("data-status", status)
    read_table(lab)
    lab.picture("comparison-of-three")

    lab.page.reload()
    expect(lab.part("comparison")).to_be_visible(timeout=60_000)
    expect(lab.page.get_by_role("tab", name="Comparison of 3 runs")).to_be_visible()
    read_table(lab)


def read_table(lab: Lab) -> None:
    """What a reader must find about the three runs."""
    comparison = lab.part("comparison")
    expect(comparison.get_by_role("columnheader").filter(has_text=re.compile("sound|memory|diverged"))).to_have_count(
        9, timeout=20_000
    )
    status = comparison.get_by_role("row", name=re.compile("^Status"))
    expect(status.get_by_role("cell")).to_have_text(["Finished", "Failed", "Finished"])
    dice = lab.part("metrics").get_by_role("row", name=re.compile("^val_dice"))
    expect(dice.get_by_role("cell")).to_have_text(["0.8125", NOTHING, "NaN"])
    loss = lab.part("metrics").get_by_role("row", name=re.compile("^train_loss"))
    expect(loss.get_by_role("cell")).to_have_text(["0.3000", "0.9500", "NaN"])
    rate = lab.part("params").get_by_role("row", name=re.compile("^learning_rate"))
    expect(rate.get_by_role("cell")).to_have_text(["0.002", "0.002", "0.1"])
    expect(lab.part("chart-train_loss").locator("canvas")).to_be_visible(timeout=20_000)
    expect(lab.part("chart-train_loss")).to_contain_text("diverged: NaN at step 2")


def test_it_is_readable_in_the_dark_and_in_a_narrow_panel(connected_lab: Lab, three_runs: dict[str, str]) -> None:
    lab = connected_lab
    lab.use_theme("JupyterLab Dark")
    try:
        open_comparison(lab, three_runs)
        expect(lab.page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
        lab.part("chart-train_loss").scroll_into_view_if_needed()
        expect(lab.part("chart-train_loss").locator("canvas")).to_be_visible(timeout=20_000)
        lab.picture("dark-curves")
        lab.make_panel_wide(250)
        lab.part("comparison").locator("h3").first.scroll_into_view_if_needed()
        lab.picture("dark-and-narrow")
        assert lab.panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth"), "nothing is cut off"
        lab.section("connection").scroll_into_view_if_needed()
        lab.picture("dark-and-narrow-top")
    finally:
        lab.use_theme("JupyterLab Light")


def test_a_strangers_notebook_shows_its_comparison_without_kernel_server_or_trust(
    shared_lab: Lab, group_server: MlflowServer, three_runs: dict[str, str], shared_jupyter: JupyterServer
) -> None:
    lab = shared_lab
    shared_jupyter.request("POST", "connection", json={"uri": group_server.uri})
    document = shared_jupyter.json("POST", "comparison", json={"run_ids": list(three_runs.values())})
    shared_jupyter.request("DELETE", "connection")
    trap = "<img src=x onerror='window.trapped = true'>"
    document["runs"][2]["name"] = trap
    document["notes"] = [trap]
    document["runs"][0]["link"] = "javascript:window.trapped=true"
    output = nbformat.v4.new_output(
        "display_data", {COMPARISON: document, "text/html": f"fallback {trap}", "text/plain": "fallback"}
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%mlops_compare a b c", outputs=[output])])
    notebook.metadata["kernelspec"] = {"name": "no-such-kernel", "display_name": "Gone", "language": "python"}
    nbformat.write(notebook, shared_jupyter.root / "demo" / "strange.ipynb")

    lab.open("demo/strange.ipynb", fresh=True)
    dialog = lab.page.locator(".jp-Dialog")
    expect(dialog).to_be_visible(timeout=30_000)
    dialog.get_by_role("button", name="No Kernel").click()
    comparison = lab.notebook.get_by_test_id("mlops-comparison")
    expect(comparison).to_be_visible(timeout=30_000)
    expect(comparison).to_contain_text(trap)
    expect(comparison.get_by_test_id("mlops-chart-train_loss").locator("canvas")).to_be_visible(timeout=20_000)
    comparison.get_by_test_id("mlops-chart-train_loss").locator("canvas").hover(position={"x": 100, "y": 100})
    expect(comparison.get_by_test_id("mlops-chart-train_loss")).to_contain_text(trap)
    expect(comparison.locator("img")).to_have_count(0)
    expect(comparison.locator("a[href^=javascript]")).to_have_count(0)
    expect(lab.notebook).not_to_contain_text("fallback")
    assert lab.page.evaluate("window.trapped") is None
    lab.picture("stranger-s-notebook")

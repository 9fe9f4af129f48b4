"""Notebook 7: the same tracked training under its own page, its live line, and the panel in its left sidebar."""

from __future__ import annotations

import importlib.util
import re
import time
from pathlib import Path

import httpx
import nbformat
import pytest
from playwright.sync_api import Browser, Locator, expect

from mlops_lab.connection.rest import TrackingServer
from tests.browser.pages import HAS_RUN, PATIENCE, WAITS, pictures_folder
from tests.conftest import missing
from tests.jupyter_servers import JupyterServer, StartJupyter
from tests.notebook.notebooks import pairs, runs_by_name
from tests.notebook.test_everywhere import TRAINING, assert_trained, statuses, track

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("waiting")]


def wait_for_kernel(server: JupyterServer) -> None:
    """Wait until the page is connected to an idle kernel; nothing on the page tells that for sure."""
    limit = time.monotonic() + 90
    while time.monotonic() < limit:
        sessions = httpx.get(f"{server.url}api/sessions?token={server.token}").json()
        if any(one["kernel"]["execution_state"] == "idle" and one["kernel"]["connections"] for one in sessions):
            return
        time.sleep(0.2)
    pytest.fail("The notebook's kernel did not start.")


def test_in_notebook_7(
    browser: Browser, start_jupyter: StartJupyter, mlflow_server: str, mlops_home: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("notebook") is None:
        missing("Notebook 7", "pip install notebook")
    root = tmp_path / "work"
    root.mkdir()
    cells = [
        "%load_ext mlops_lab",
        track("notebook-7", "trained") + TRAINING + "epoch + 41",
        track("notebook-7", "stopped") + "import time\ntime.sleep(100)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, root / "study.ipynb")
    server = start_jupyter(root, home=mlops_home, environment={"MLFLOW_TRACKING_URI": mlflow_server})

    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}notebooks/study.ipynb?token={server.token}")
    load, trained, stopped = (page.locator(".jp-CodeCell").nth(index) for index in range(3))

    def run(cell: Locator) -> None:
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")

    wait_for_kernel(server)
    run(load)
    expect(load.locator(".jp-InputPrompt")).to_have_text(HAS_RUN, timeout=60_000)
    run(trained)
    expect(trained.locator(".jp-InputPrompt")).to_have_text(HAS_RUN, timeout=60_000)
    outputs = trained.locator(".jp-OutputArea-output")
    expect(outputs).to_have_count(2)
    expect(outputs.first).to_contain_text("finished")
    expect(outputs.first).to_contain_text("epoch 2/2")
    expect(outputs.first.get_by_role("link", name="trained")).to_have_attribute("href", re.compile(mlflow_server))
    expect(outputs.last).to_have_text("42")
    run(stopped)
    expect(stopped.locator(".jp-InputPrompt")).to_have_text(WAITS)
    expect(stopped.locator(".jp-OutputArea")).to_contain_text("running", timeout=60_000)
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    page.keyboard.press("i")
    expect(stopped.locator(".jp-OutputArea")).to_contain_text("stopped", timeout=60_000)
    expect(stopped.locator(".jp-OutputArea")).to_contain_text("KeyboardInterrupt")

    page.get_by_role("menuitem", name="View").click()
    page.get_by_text("Left Sidebar", exact=True).hover()
    page.get_by_text("Show MLOps Lab").click()
    expect(page.get_by_test_id("mlops-connected")).to_be_visible()
    pictures = pictures_folder(tmp_path / "pictures")
    pictures.mkdir(exist_ok=True)
    page.screenshot(path=pictures / "notebook-7.png")
    page.close()

    client = TrackingServer(mlflow_server)
    runs = runs_by_name(client, "notebook-7")
    client.close()
    assert statuses(runs) == {"trained": "FINISHED", "stopped": "KILLED"}
    assert_trained(runs["trained"])
    assert pairs(runs["trained"], "tags")["mlops_lab.notebook"] == "study.ipynb"

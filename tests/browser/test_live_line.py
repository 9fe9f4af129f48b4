"""The live line under a tracked cell in JupyterLab, in every state that a run can be in, and what stays of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from mlops_lab.connection.rest import TrackingServer
from tests.browser.pages import HAS_RUN, PATIENCE, Lab, pictures_folder
from tests.jupyter_servers import StartJupyter, free_port
from tests.notebook.notebooks import runs_by_name
from tests.notebook.test_everywhere import TRAINING, assert_trained, statuses, track

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("waiting")]

EXPERIMENT = "live-line"
SLOW = TRAINING.replace("    for (batch,)", "    import time; time.sleep(1.5)\n    for (batch,)")


@pytest.fixture
def notebook_lab(
    browser: Browser, start_jupyter: StartJupyter, mlflow_server: str, mlops_home: Path, tmp_path: Path
) -> Iterator[Lab]:
    """A new notebook whose kernel sends its runs to a real server."""
    (tmp_path / "work").mkdir()
    server = start_jupyter(tmp_path / "work", home=mlops_home, environment={"MLFLOW_TRACKING_URI": mlflow_server})
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE)
    lab = Lab(page, server, pictures_folder(tmp_path / "pictures"))
    lab.open(fresh=True)
    lab.new_notebook()
    yield lab
    page.close()


def begin(lab: Lab, source: str) -> tuple[Locator, Locator]:
    """Run a cell at the notebook's end; gives its prompt and its outputs."""
    prompt = lab.begin_cell(source)
    cell = lab.notebook.locator(".jp-CodeCell").nth(lab.notebook.locator(".jp-CodeCell").count() - 1)
    return prompt, cell.locator(".jp-OutputArea-output")


def test_the_line_tells_how_the_run_is_doing(notebook_lab: Lab, mlflow_server: str, tmp_path: Path) -> None:
    lab = notebook_lab
    lab.run_cell("%load_ext mlops_lab")

    _, line = begin(lab, track(EXPERIMENT, "trained") + SLOW + "time.sleep(1)\nepoch + 41")
    expect(line.first).to_contain_text("running", timeout=60_000)
    expect(line.first).to_contain_text(re.compile(r"epoch [12]/2"))
    lab.picture("line-running")
    expect(line.first).to_contain_text("finished", timeout=60_000)
    expect(line.first).to_contain_text("epoch 2/2")
    expect(line.first).to_contain_text("train_loss")
    expect(line.first).not_to_contain_text("waiting")
    expect(line.first.get_by_role("link", name="trained")).to_have_attribute("href", re.compile(mlflow_server))
    expect(line).to_have_count(2)
    expect(line.last).to_have_text("42")

    prompt, line = begin(lab, track(EXPERIMENT, "bad") + "1 / 0")
    expect(prompt).to_have_text(HAS_RUN, timeout=60_000)  # a cell that waits behind one that fails is not run
    expect(line.first).to_contain_text("failed")
    expect(line.last).to_contain_text("ZeroDivisionError")

    prompt, line = begin(lab, track(EXPERIMENT, "stopped") + "time.sleep(100)")
    expect(line.first).to_contain_text("running", timeout=60_000)
    lab.page.get_by_role("button", name="Interrupt the kernel").click()
    expect(prompt).to_have_text(HAS_RUN, timeout=60_000)
    expect(line.first).to_contain_text("stopped")

    prompt, line = begin(lab, track(EXPERIMENT, "kept", "--offline") + "dropout = 0.1")
    expect(prompt).to_have_text(HAS_RUN, timeout=60_000)
    expect(line.first).to_contain_text("offline")
    expect(line.first).to_contain_text(re.compile(r"[\d,]+ records kept here"))
    expect(line.first.get_by_role("link")).to_have_count(0)

    _, shown = begin(lab, "%mlops_sync --preview kept")
    expect(shown.get_by_role("row", name="dropout 0.1")).to_be_visible()
    lab.picture("line-preview")

    away = f"http://127.0.0.1:{free_port()}"
    lab.run_cell(f"import os; del os.environ['MLOPS_LAB_SESSION']; os.environ['MLFLOW_TRACKING_URI'] = {away!r}")
    prompt, line = begin(lab, track(EXPERIMENT, "away") + "mlops_loss = 1.0")
    expect(prompt).to_have_text(HAS_RUN, timeout=60_000)
    expect(line.first).to_contain_text(re.compile(r"[\d,]+ records waiting"))
    expect(line.first).to_contain_text(away.removeprefix("http://"))
    expect(line.first).to_contain_text("kept on this computer")
    lab.picture("line-server-away")

    client = TrackingServer(mlflow_server)
    runs = runs_by_name(client, EXPERIMENT)
    client.close()
    assert statuses(runs) == {"trained": "FINISHED", "bad": "FAILED", "stopped": "KILLED"}
    assert_trained(runs["trained"])

    # What was saved reads without a kernel, in another theme and in a narrow window.
    lab.save()
    lab.shut_down_every_kernel()
    lab.use_theme("JupyterLab Dark")
    lab.page.set_viewport_size({"width": 560, "height": 900})
    lab.page.goto("about:blank")
    lab.open("Untitled.ipynb")
    lab.page.keyboard.press("Control+b")
    first = lab.notebook.locator(".jp-OutputArea-output", has_text="finished").first
    first.scroll_into_view_if_needed()
    expect(first).to_contain_text("epoch 2/2")
    lab.picture("line-saved-dark-narrow")

"""Runs that wait on this computer, in the panel: why they wait, what would be sent of them, and sending them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from mlops_lab.connection.rest import TrackingServer
from tests.browser.pages import PATIENCE, Lab, pictures_folder
from tests.jupyter_servers import JupyterServer, StartJupyter

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("waiting")]

KEPT = """
import mlops_lab, pathlib
pathlib.Path("weights.bin").write_bytes(bytes(1_500_000))
with mlops_lab.track("ward-7", "evening", offline=True, params={"lr": 0.1, "network": "UNet"}) as run:
    for step in range(200):
        run.log_metric("train_loss", 1 / (step + 1))
    run.log_artifact("weights.bin", "models")
"""
LOST = """
import mlops_lab, os, signal
with mlops_lab.track("ward-8", "night") as run:
    run.log_metric("train_loss", 0.5)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "mlops-home"


@pytest.fixture
def jupyter(start_jupyter: StartJupyter, home: Path, tmp_path: Path) -> JupyterServer:
    """JupyterLab on an empty folder, nobody logged in."""
    (tmp_path / "work").mkdir()
    return start_jupyter(tmp_path / "work", home=home)


@pytest.fixture
def waiting_lab(browser: Browser, jupyter: JupyterServer, tmp_path: Path) -> Iterator[Lab]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE)
    yield Lab(page, jupyter, pictures_folder(tmp_path / "pictures"))
    page.close()


@pytest.fixture
def server(mlflow_server: str) -> Iterator[TrackingServer]:
    client = TrackingServer(mlflow_server)
    yield client
    client.close()


def leave(script: str, home: Path, folder: Path) -> None:
    """Run a training script that leaves its run on this computer."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "MLOPS_LAB_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, -9), done.stderr


def test_what_waits_is_shown_looked_at_and_sent(
    waiting_lab: Lab, server: TrackingServer, home: Path, tmp_path: Path
) -> None:
    lab = waiting_lab
    waiting = lab.part("waiting")
    lab.open(fresh=True)
    lab.open_panel()
    expect(lab.part("runs-offline")).to_be_visible()
    expect(waiting).to_have_count(0)
    lab.picture("waiting-nothing")

    leave(KEPT, home, tmp_path / "kept")
    leave(LOST, home, tmp_path / "lost")
    lab.part("refresh-runs").click()
    expect(waiting).to_contain_text("2 runs wait on this computer.")
    evening, night = (waiting.locator(f"[data-name='{name}']") for name in ("evening", "night"))
    expect(evening).to_contain_text("--offline")
    expect(night).to_contain_text("went away")
    expect(waiting).to_contain_text("Connect to an MLflow server")
    expect(night.get_by_role("button", name="Send night now")).to_be_disabled()
    waiting.scroll_into_view_if_needed()
    lab.picture("waiting-disconnected")

    evening.get_by_role("button", name="See what would be sent").click()
    preview = lab.part("preview")
    expect(preview).to_contain_text("No server has heard of this run.")
    for text in ("network", "UNet", "train_loss", "200 points", "models/weights.bin", "1.5 MB"):
        expect(preview).to_contain_text(text)
    expect(lab.page.locator(".jp-Dialog").get_by_role("button", name="Send now")).to_have_count(0)
    lab.picture("waiting-preview-disconnected")
    lab.page.keyboard.press("Escape")
    expect(preview).to_have_count(0)

    lab.log_in(server.uri)
    expect(lab.part("connected")).to_be_visible()
    expect(night.get_by_role("button", name="Send night now")).to_be_enabled()
    waiting.scroll_into_view_if_needed()
    lab.picture("waiting")
    night.get_by_role("button", name="See what would be sent").click()
    expect(preview).to_contain_text("lost")
    lab.page.locator(".jp-Dialog").get_by_role("button", name="Send now").click()
    expect(waiting).to_contain_text("Sending what waits")
    lab.picture("waiting-sending")
    expect(lab.part("sent")).to_have_text("1 run sent.", timeout=60_000)
    expect(waiting).to_contain_text("1 run waits on this computer.")
    lab.picture("waiting-sent")
    [run] = runs_of(server, "ward-8")
    assert run["info"]["status"] == "KILLED"
    assert server.experiment_by_name("ward-7") is None, "what was not asked for stays here"

    experiment = server.create_experiment("ward-7")
    server.post("experiments/delete", {"experiment_id": experiment})
    evening.get_by_role("button", name="Send evening now").click()
    expect(lab.part("sent")).to_contain_text("Not sent: evening.", timeout=60_000)
    expect(lab.part("sent")).to_contain_text("ward-7")
    lab.picture("waiting-refused")

    lab.use_theme("JupyterLab Dark")
    lab.open(fresh=True)
    lab.open_panel()
    lab.make_panel_wide(200)
    expect(evening).to_contain_text("--offline")
    evening.scroll_into_view_if_needed()
    lab.picture("waiting-dark-narrow")
    evening.get_by_role("button", name="See what would be sent").click()
    expect(preview).to_be_visible()
    lab.picture("waiting-preview-dark")
    lab.page.keyboard.press("Escape")

    server.post("experiments/restore", {"experiment_id": experiment})
    evening.get_by_role("button", name="Send evening now").click()
    expect(lab.part("sent")).to_have_text("1 run sent.", timeout=60_000)
    expect(waiting).to_have_count(0)
    [run] = runs_of(server, "ward-7")
    assert {file["path"] for file in server.list_artifacts(run["info"]["run_id"])} >= {"models"}


def runs_of(server: TrackingServer, experiment: str) -> list[dict[str, Any]]:
    found = server.experiment_by_name(experiment)
    assert found is not None
    runs: list[dict[str, Any]] = server.search_runs([found["experiment_id"]])["runs"]
    return runs

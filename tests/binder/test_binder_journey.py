"""A visitor on Binder: one processor, two gigabytes, a browser on another computer, and ten minutes of patience."""

from __future__ import annotations

import subprocess
import time
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.binder.conftest import PUBLIC_NAME, Image
from tests.binder.memory import MemoryWatch
from tests.browser.pages import TRAINING_LIMIT, Lab
from tests.browser.test_journey import read_comparison, run_ids
from tests.jupyter_servers import JupyterServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("binder")]

LIMIT, GOAL = 2.0e9, 1.5e9
"""Bytes: what Binder gives, and what the demo shall take."""


def test_the_image_is_whole_and_built_within_binders_memory(image: Image) -> None:
    assert "No broken requirements" in image.run("python", "-m", "pip", "check")
    prefix = image.programs.parent
    size = int(subprocess.run(["du", "-sm", prefix], capture_output=True, text=True, check=True).stdout.split()[0])
    print(f"\nBinder image: postBuild took {image.seconds:.0f} s; the environment has {size} MB")
    assert image.memory
    print(f"Binder: peak memory of the build {image.memory}")
    assert image.memory.peak < LIMIT
    assert not list(prefix.rglob("node_modules"))
    assert not (image.programs / "uv").exists()
    assert {path.name for path in image.home.iterdir()} <= {
        ".cache",
        ".config",
        ".ipython",
        ".jupyter",
        "mlops-lab-demo",
    }


def test_a_visitor_does_the_demo_within_binders_memory(lab: Lab, visit: tuple[JupyterServer, MemoryWatch]) -> None:
    server, watch = visit
    address = urlsplit(server.url)
    # Without any path, as from the shortest link.
    lab.page.goto(f"http://{PUBLIC_NAME}:{address.port}{address.path}?token={server.token}")
    expect(lab.notebook.get_by_role("heading", name="Quickstart")).to_be_visible(timeout=60_000)
    expect(lab.panel).to_be_visible()
    expect(lab.part("connected")).to_be_visible(timeout=120_000)
    expect(lab.page.locator(".jp-toastContainer button")).to_have_count(0)
    lab.wait_for_kernel()
    lab.picture("1-quickstart")

    begin = time.monotonic()
    lab.page.get_by_role("menuitem", name="Run", exact=True).click()
    lab.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    finished = lab.page.locator("[data-run-id][data-status='FINISHED']")
    expect(finished).to_have_count(2, timeout=2 * TRAINING_LIMIT)
    print(f"\nBinder: two trainings on one processor took {time.monotonic() - begin:.0f} s, imports included")
    read_comparison(lab)

    for run_id in run_ids(lab):
        lab.page.locator(f"[data-run-id='{run_id}'] input[type=checkbox]").check()
    lab.part("compare").click()
    expect(lab.notebook.get_by_test_id("mlops-comparison")).to_have_count(2, timeout=60_000)
    lab.picture("2-compared")
    # MLflow listens on the container's own address, which is not the visitor's.
    expect(lab.page.locator("a[href*='127.0.0.1']")).to_have_count(0)

    watch.stop()
    print(f"Binder: peak memory {watch} (goal: at most {GOAL / 1e9:.1f} GB)")
    assert watch.peak < LIMIT

"""A real Chromium in front of a real JupyterLab."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.pages import CHROMIUM_FLAGS, PATIENCE, Lab, pictures_folder
from tests.jupyter_servers import JupyterServer, StartJupyter


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium without a screen."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield running
        running.close()


@pytest.fixture
def lab(
    browser: Browser, start_jupyter: StartJupyter, demo_project: Path, mlops_home: Path, tmp_path: Path
) -> Iterator[Lab]:
    """JupyterLab on the demo project, nothing started and nobody logged in."""
    from mlops_lab.connection import embedded

    server = start_jupyter(demo_project, home=mlops_home)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE)
    shown = Lab(page, server, pictures_folder(tmp_path / "pictures"))
    yield shown
    page.close()
    server.stop()
    embedded.stop()


@pytest.fixture(scope="module")
def shared_jupyter(
    start_jupyter_once: StartJupyter, demo_original: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JupyterServer]:
    """One JupyterLab for the tests of a module; the demo project is its folder `demo`."""
    from mlops_lab.connection import embedded

    root, home = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("home")
    shutil.copytree(demo_original, root / "demo", symlinks=True)
    yield start_jupyter_once(root, home=home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_LAB_HOME", str(home))
        embedded.stop()


@pytest.fixture
def shared_lab(browser: Browser, shared_jupyter: JupyterServer, tmp_path: Path) -> Iterator[Lab]:
    """A new browser in front of the shared JupyterLab: nobody logged in, no kernel running."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    shown = Lab(page, shared_jupyter, pictures_folder(tmp_path / "pictures"))
    yield shown
    context.close()
    shown.shut_down_every_kernel()
    shared_jupyter.request("DELETE", "connection")

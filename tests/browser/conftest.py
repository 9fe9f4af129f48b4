"""A real Chromium in front of a real JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.pages import CHROMIUM_FLAGS, Lab, pictures_folder
from tests.jupyter_servers import StartJupyter


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium without a screen."""
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
    page.set_default_timeout(20_000)
    shown = Lab(page, server, pictures_folder(tmp_path / "pictures"))
    yield shown
    page.close()
    server.stop()
    embedded.stop()

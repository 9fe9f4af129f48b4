"""JupyterLab as a person uses it: the few gestures that the browser tests are told in."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.jupyter_servers import JupyterServer

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PICTURES = Path(__file__).parent / "pictures"
TRAINING_LIMIT = 300_000
"""Milliseconds for one demo training on a machine that is busy with other tests."""


class Lab:
    """One JupyterLab page with the MLOps Lab panel."""

    def __init__(self, page: Page, server: JupyterServer, pictures: Path) -> None:
        self.page = page
        self.server = server
        self.pictures = pictures

    def open(self, path: str = "") -> None:
        """Load JupyterLab, on a file when one is given, and wait until its shell is there."""
        where = f"lab/tree/{path}" if path else "lab"
        self.page.goto(f"{self.server.url}{where}?token={self.server.token}")
        expect(self.page.locator(".jp-LabShell")).to_be_visible(timeout=60_000)

    def open_panel(self) -> None:
        """Click the panel's tab in the left side bar, unless the panel is shown already."""
        if not self.panel.is_visible():
            self.page.locator(".jp-SideBar.jp-mod-left").get_by_role("tab", name="MLOps Lab").click()
        expect(self.panel).to_be_visible()

    @property
    def panel(self) -> Locator:
        """The sidebar's panel."""
        return self.page.locator("#mlops-lab-panel")

    def part(self, name: str) -> Locator:
        """Find an element of ours by its test id."""
        return self.page.get_by_test_id(f"mlops-{name}")

    @property
    def notebook(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def new_notebook(self) -> None:
        """Make a notebook with the default kernel, and wait for the kernel."""
        self.page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
        expect(self.notebook).to_be_visible(timeout=30_000)
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the notebook's kernel is idle."""
        idle = self.notebook.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")
        expect(idle).to_be_attached(timeout=60_000)

    def save(self) -> None:
        """Save the notebook in front, under the name it has, and wait until it is saved."""
        self.page.keyboard.press("Control+s")
        name_asked = self.page.locator(".jp-Dialog .jp-mod-accept")
        saved = self.page.locator(".jp-LabShell:not(:has(.jp-mod-dirty))")
        expect(name_asked.or_(saved).first).to_be_visible(timeout=20_000)
        if name_asked.is_visible():
            name_asked.click()
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0, timeout=20_000)

    def picture(self, name: str) -> None:
        """Take a screenshot; `make screenshots` keeps them beside the tests, other runs in a temporary folder."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.mouse.move(700, 5)
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.pictures / f"{name}.png")


def pictures_folder(fallback: Path) -> Path:
    """Where screenshots go."""
    return PICTURES if os.environ.get("MLOPS_LAB_PICTURES") == "keep" else fallback

"""JupyterLab as a person uses it: the few gestures that the browser tests are told in."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import httpx
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
PATIENCE = 20_000
"""Milliseconds for what should happen at once, on a machine that is busy with other tests."""
HAS_RUN = re.compile(r"\[\d+\]")
"""The prompt of a cell that has run."""
WAITS = re.compile(r"\[\*\]")
"""The prompt of a cell that runs, or waits for its turn."""
TRAINING_LIMIT = 300_000
"""Milliseconds for one demo training on a machine that is busy with other tests."""


class Lab:
    """One JupyterLab page with the MLOps Lab panel."""

    def __init__(self, page: Page, server: JupyterServer, pictures: Path) -> None:
        self.page = page
        self.server = server
        self.pictures = pictures

    def open(self, path: str = "", *, fresh: bool = False) -> None:
        """Load JupyterLab, on a file or folder when one is given, and wait until its shell is there.

        `fresh` forgets the layout and all that the panel remembers.
        """
        where = f"lab/tree/{path}" if path else "lab"
        self.page.goto(f"{self.server.url}{where}?token={self.server.token}{'&reset' if fresh else ''}")
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

    def section(self, name: str) -> Locator:
        """One section of the panel: connection, datasets, training or runs."""
        return self.part(f"section-{name}")

    def log_in(self, uri: str, username: str = "", password: str = "", authority: str = "") -> None:
        """Fill the log-in form, with name, password and the certificate file of an authority where given; send it."""
        form = self.part("login")
        if not form.is_visible():
            self.part("open-login").click()
        form.get_by_label("Server address").fill(uri)
        form.get_by_label("Authentication").select_option("basic" if username else "none")
        if username:
            form.get_by_label("User name", exact=True).fill(username)
            form.get_by_label("Password", exact=True).fill(password)
        file = form.get_by_label("Path of its certificate file")
        if authority and not file.is_visible():
            form.get_by_text("Private certificate authority").click()
        if file.is_visible():
            file.fill(authority)
        self.part("login-submit").click()

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
        # The indicator says so before there is a kernel; the status bar does not.
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)

    @property
    def active_cell(self) -> Locator:
        """The cell that has the frame."""
        return self.notebook.locator(".jp-Cell.jp-mod-active")

    def sources(self) -> list[str]:
        """What stands in the notebook's cells, top to bottom."""
        return [cell.inner_text().strip() for cell in self.notebook.locator(".jp-Cell .cm-content").all()]

    def begin_cell(self, source: str) -> Locator:
        """Put a cell at the notebook's end and run it; gives its prompt without waiting for its end."""
        self.notebook.locator(".jp-Notebook-footer").click()
        self.active_cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(source)
        self.page.keyboard.press("Control+Enter")
        return self.active_cell.locator(".jp-InputPrompt")

    def run_cell(self, source: str) -> str:
        """Put a cell at the notebook's end, run it, and give what it shows."""
        expect(self.begin_cell(source)).to_have_text(HAS_RUN, timeout=120_000)
        return self.active_cell.locator(".jp-OutputArea").first.inner_text()

    def save(self) -> None:
        """Save the notebook in front, under the name it has, and wait until it is saved."""
        self.page.keyboard.press("Control+s")
        name_asked = self.page.locator(".jp-Dialog .jp-mod-accept")
        saved = self.page.locator(".jp-LabShell:not(:has(.jp-mod-dirty))")
        expect(name_asked.or_(saved).first).to_be_visible(timeout=20_000)
        if name_asked.is_visible():
            name_asked.click()
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0)

    def shut_down_every_kernel(self) -> None:
        """End all sessions, so that nothing but saved files can draw what is shown afterwards."""
        headers = {"Authorization": f"token {self.server.token}"}
        for session in httpx.get(f"{self.server.url}api/sessions", headers=headers).json():
            answer = httpx.delete(f"{self.server.url}api/sessions/{session['id']}", headers=headers)
            assert answer.status_code == 204

    def use_theme(self, name: str) -> None:
        """Choose a theme, as the settings do; it shows at the next load."""
        answer = httpx.put(
            f"{self.server.url}lab/api/settings/@jupyterlab/apputils-extension:themes",
            headers={"Authorization": f"token {self.server.token}"},
            content=json.dumps({"raw": json.dumps({"theme": name})}),
        )
        assert answer.is_success, answer.text

    def make_panel_wide(self, pixels: int) -> None:
        """Drag the panel's edge until it is about `pixels` wide."""
        box, handle = self.panel.bounding_box(), self.page.locator("#jp-main-split-panel > .lm-SplitPanel-handle").first
        edge = handle.bounding_box()
        assert box
        assert edge
        self.page.mouse.move(edge["x"] + edge["width"] / 2, 500)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + pixels, 500, steps=5)
        self.page.mouse.up()

    def picture(self, name: str) -> None:
        """Take a screenshot; `make screenshots` keeps them beside the tests, other runs in a temporary folder."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.mouse.move(700, 5)
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.pictures / f"{name}.png")


def pictures_folder(fallback: Path) -> Path:
    """Where screenshots go."""
    return PICTURES if os.environ.get("MLOPS_LAB_PICTURES") == "keep" else fallback

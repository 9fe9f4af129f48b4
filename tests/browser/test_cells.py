"""How cells get into a notebook: updated or added, in the right order, and never into the wrong notebook."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.pages import HAS_RUN, WAITS, Lab
from tests.jupyter_servers import JupyterServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("states")]

CELL_REQUEST = re.compile(r"/mlops-lab/cell\b")


def begin(lab: Lab) -> None:
    """An empty notebook in the demo project, with version 1 picked."""
    lab.open("demo", fresh=True)
    lab.open_panel()
    lab.new_notebook()
    lab.part("version-brain@v1.0.0").click()
    expect(lab.part("picked")).to_have_text("brain@v1.0.0")


def test_inserting_the_same_version_twice_updates_its_cell_and_another_version_gets_its_own(shared_lab: Lab) -> None:
    lab = shared_lab
    begin(lab)
    lab.part("insert").click()
    expect(lab.part("insert")).to_have_text("Update cell")
    first = lab.sources()
    assert len(first) == 2
    assert first[0] == "%load_ext mlops_lab"

    lab.section("training").get_by_label("Epochs").fill("3")
    lab.part("insert").click()
    expect(lab.active_cell).to_contain_text("max_epochs = 3")
    second = lab.sources()
    assert len(second) == 2
    assert second != first
    lab.picture("cell-updated")

    lab.part("version-brain@v2.0.0").click()
    expect(lab.part("target-new")).to_be_checked()
    lab.part("insert").click()
    expect(lab.notebook.locator(".jp-CodeCell")).to_have_count(3)
    third = lab.sources()
    assert third[:2] == second
    assert "brain@v2.0.0" in third[2]


def test_a_field_that_was_emptied_is_marked_and_not_quietly_filled_in(shared_lab: Lab) -> None:
    lab = shared_lab
    begin(lab)
    epochs = lab.section("training").get_by_label("Epochs")
    expect(epochs).not_to_have_value("")
    expect(lab.part("insert")).to_be_enabled()
    epochs.fill("")
    expect(lab.part("insert")).to_be_disabled()
    expect(lab.part("insert-run")).to_be_disabled()
    expect(lab.section("training").get_by_role("alert").first).to_have_text("Give a value.")
    lab.picture("field-emptied")
    epochs.fill("3")
    expect(lab.part("insert")).to_be_enabled()
    assert lab.sources() == [""]


def test_a_cell_that_was_edited_by_hand_is_replaced_only_after_asking(shared_lab: Lab) -> None:
    lab = shared_lab
    begin(lab)
    lab.part("insert").click()
    expect(lab.part("insert")).to_have_text("Update cell")
    lab.active_cell.locator(".cm-content").click()
    lab.page.keyboard.press("Control+End")
    lab.page.keyboard.insert_text("\n# my own note")
    edited = lab.sources()
    dialog = lab.page.locator(".jp-Dialog")

    lab.part("insert").click()
    expect(dialog).to_contain_text("Replace your changes?")
    lab.picture("cell-edited-by-hand")
    dialog.get_by_role("button", name="Cancel").click()
    expect(lab.part("insert")).to_be_enabled()
    assert lab.sources() == edited

    lab.part("insert").click()
    dialog.get_by_role("button", name="Insert a new cell").click()
    expect(lab.notebook.locator(".jp-CodeCell")).to_have_count(3)
    assert lab.sources()[:2] == edited

    lab.notebook.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt").click()
    lab.part("insert").click()
    dialog.get_by_role("button", name="Replace", exact=True).click()
    expect(lab.notebook.locator(".jp-CodeCell").nth(1)).not_to_contain_text("my own note")
    expect(lab.notebook.locator(".jp-CodeCell")).to_have_count(3)


def test_a_busy_kernel_takes_the_cells_in_their_order(shared_lab: Lab, shared_jupyter: JupyterServer) -> None:
    lab = shared_lab
    begin(lab)
    go = shared_jupyter.root / "demo" / "go"
    busy = lab.begin_cell("import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.1)")
    expect(busy).to_have_text(WAITS)
    lab.part("insert-run").click()
    setup, training = (lab.notebook.locator(".jp-CodeCell").nth(index).locator(".jp-InputPrompt") for index in (2, 3))
    expect(training).to_have_text(WAITS)
    expect(setup).to_have_text(WAITS)
    lab.picture("kernel-busy")
    go.touch()
    expect(setup).to_have_text("[2]:", timeout=60_000)
    lab.page.get_by_role("button", name="Interrupt the kernel").click()
    expect(training).to_have_text("[3]:", timeout=120_000)
    assert lab.sources()[2] == "%load_ext mlops_lab"
    go.unlink()


def test_a_notebook_that_is_closed_meanwhile_gets_no_cell_and_no_other_one_gets_it(shared_lab: Lab) -> None:
    lab = shared_lab
    begin(lab)
    lab.save()
    lab.page.keyboard.press("Control+Shift+l")
    lab.page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(lab.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text=".ipynb")).to_have_count(2)
    lab.wait_for_kernel()
    lab.save()
    expect(lab.part("picked")).to_have_text("brain@v1.0.0")

    held: list[Route] = []
    lab.page.route(CELL_REQUEST, lambda route: held.append(route))
    with lab.page.expect_request(CELL_REQUEST):
        lab.part("insert-run").click()
    lab.page.locator(".lm-DockPanel-tabBar .lm-mod-current .lm-TabBar-tabCloseIcon").click()
    expect(lab.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text=".ipynb")).to_have_count(1)
    held[0].continue_()
    expect(lab.section("training").get_by_test_id("mlops-error")).to_contain_text("was closed before")
    assert lab.sources() == [""]
    expect(lab.notebook.locator(".jp-InputPrompt").first).not_to_have_text(HAS_RUN)
    lab.picture("notebook-closed-meanwhile")

"""What the panel says where something is missing: no git, no DVC, no notebook, no package in the kernel."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.pages import Lab
from tests.jupyter_servers import JupyterServer, StartJupyter

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("states")]


@pytest.fixture(scope="module")
def bare_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernelspec whose Python has nothing of ours; the kernel itself borrows Jupyter's own packages to start."""
    place = tmp_path_factory.mktemp("bare")
    venv.create(place / "environment", with_pip=False)
    start = (
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r});"
        "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
    )
    spec = place / "kernels" / "bare"
    spec.mkdir(parents=True)
    argv = [str(place / "environment" / "bin" / "python"), "-c", start, "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Bare", "language": "python"}))
    return place


@pytest.fixture(scope="module")
def shared_jupyter(
    start_jupyter_once: StartJupyter, demo_original: Path, bare_kernel: Path, tmp_path_factory: pytest.TempPathFactory
) -> JupyterServer:
    """JupyterLab over the demo project, a folder of no project and a project without DVC."""
    root = tmp_path_factory.mktemp("work")
    (root / "demo").symlink_to(demo_original)
    (root / "loose files").mkdir()
    (root / "only-git").mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=root / "only-git", check=True)
    home = tmp_path_factory.mktemp("home")
    return start_jupyter_once(root, home=home, environment={"JUPYTER_PATH": str(bare_kernel)})


def test_a_folder_without_a_project_says_what_is_missing_and_what_to_do(shared_lab: Lab) -> None:
    lab = shared_lab
    section = lab.section("datasets")
    for folder, missing, step in (
        ("loose files", "git", "git init"),
        ("only-git", "DVC", "dvc init"),
    ):
        lab.open(folder, fresh=True)
        lab.open_panel()
        expect(section.get_by_test_id("mlops-no-datasets")).to_contain_text(folder)
        expect(section.get_by_test_id("mlops-no-datasets")).to_contain_text(missing)
        expect(section.get_by_test_id("mlops-no-datasets")).to_contain_text(step)
        expect(section.get_by_role("button", name="Refresh")).to_be_enabled()
        lab.picture(f"datasets-without-{missing.lower()}")


def test_without_a_notebook_training_offers_to_make_one(shared_lab: Lab) -> None:
    lab = shared_lab
    lab.open("only-git", fresh=True)
    lab.open_panel()
    expect(lab.part("no-notebook")).to_contain_text("Open a notebook")
    expect(lab.part("insert-run")).to_have_count(0)
    lab.picture("training-without-a-notebook")
    lab.part("no-notebook").get_by_role("button", name="New notebook").click()
    expect(lab.notebook).to_be_visible(timeout=30_000)
    expect(lab.part("insert-run")).to_be_disabled()  # no dataset version is picked
    lab.wait_for_kernel()


def test_a_kernel_without_the_package_cannot_run_a_training_cell(shared_lab: Lab, demo_original: Path) -> None:
    lab = shared_lab
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "bare", "display_name": "Bare", "language": "python"}
    file = demo_original / "bare.ipynb"
    nbformat.write(notebook, file)
    try:
        lab.open("demo/bare.ipynb", fresh=True)
        lab.open_panel()
        lab.wait_for_kernel()
        lab.part("version-brain@v1.0.0").click()
        warning = lab.part("kernel-warning")
        expect(warning).to_contain_text("lacks")
        expect(warning).to_contain_text("pip install")
        expect(lab.part("insert-run")).to_be_disabled()
        expect(lab.part("insert")).to_be_enabled()
        warning.scroll_into_view_if_needed()
        lab.picture("kernel-without-the-package")
    finally:
        file.unlink()


def test_a_kernel_that_gets_the_package_is_noticed(shared_lab: Lab, bare_kernel: Path, demo_original: Path) -> None:
    lab = shared_lab
    [packages] = (bare_kernel / "environment" / "lib").glob("python*/site-packages")
    ours = Path(sysconfig.get_path("purelib"))
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "bare", "display_name": "Bare", "language": "python"}
    file = demo_original / "later.ipynb"
    nbformat.write(notebook, file)
    try:
        lab.open("demo/later.ipynb", fresh=True)
        lab.open_panel()
        lab.wait_for_kernel()
        lab.part("version-brain@v1.0.0").click()
        expect(lab.part("kernel-warning")).to_be_visible()
        (packages / "ours.pth").write_text(f"{ours}\nimport site; site.addsitedir({str(ours)!r})\n")
        lab.part("kernel-warning").get_by_role("button", name="Check again").click()
        expect(lab.part("kernel-warning")).to_have_count(0)
        expect(lab.part("insert-run")).to_be_enabled()
    finally:
        file.unlink()
        (packages / "ours.pth").unlink(missing_ok=True)

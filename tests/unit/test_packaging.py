"""The wheel alone gives a working lab extension, server extension and widgets; building it needs no Node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import mlops_lab

ROOT = Path(mlops_lab.__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging")]


def path_without_node(folder: Path) -> str:
    """Link every program on PATH but Node's into `folder`, as on a machine that never had Node."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / program.name
            if program.name not in ("node", "nodejs", "npm", "npx", "yarn", "corepack"):
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    return str(folder)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / "source" / name)
    environment = {**os.environ, "PATH": path_without_node(place / "bin")}
    assert shutil.which("node", path=environment["PATH"]) is None
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", place / "dist", place / "source"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    [built] = (place / "dist").iterdir()
    return built


def test_the_wheel_holds_what_jupyter_looks_for_and_no_build_leftovers(wheel: Path) -> None:
    assert wheel.name.startswith(f"mlops_lab-{mlops_lab.__version__}-py3-none-any")
    names = zipfile.ZipFile(wheel).namelist()
    data = f"mlops_lab-{mlops_lab.__version__}.data/data"
    assert f"{data}/etc/jupyter/jupyter_server_config.d/mlops_lab.json" in names
    assert f"{data}/share/jupyter/labextensions/mlops-lab/install.json" in names
    assert any(name.startswith(f"{data}/share/jupyter/labextensions/mlops-lab/static/remoteEntry.") for name in names)
    assert "mlops_lab/demo/notebooks/quickstart.ipynb" in names
    assert "mlops_lab/training/recipes/segmentation_2d/configs/train.yaml" in names
    assert not [name for name in names if "node_modules" in name or name.startswith("tests/")]


def test_an_empty_environment_needs_nothing_but_the_wheel(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    programs = tmp_path / "empty" / "bin"

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [programs / command[0], *command[1:]], capture_output=True, text=True, cwd=tmp_path, timeout=900
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)

    run("python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
    lab = run("jupyter", "labextension", "list")
    [line] = [line for line in lab.splitlines() if "mlops-lab" in line]
    assert f"v{mlops_lab.__version__}" in line
    assert "enabled" in line
    assert "OK" in line
    server = run("jupyter", "server", "extension", "list")
    assert "mlops_lab enabled" in server
    assert f"mlops_lab {mlops_lab.__version__} OK" in " ".join(server.split())
    widgets = (
        "import mlops_lab; print(*(getattr(mlops_lab.widgets, n).__name__ for n in sorted(mlops_lab.widgets.__all__)))"
    )
    assert run("python", "-c", widgets).split() == ["Datasets", "Login", "Runs", "Training"]
    assert run("mlops-lab", "--version").split() == ["mlops-lab", mlops_lab.__version__]

"""What Binder makes of binder/: the Dockerfile that repo2docker writes, the list of packages, the scripts."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.binder.conftest import ROOT, clone
from tests.conftest import missing

BINDER = ROOT / "binder"


@pytest.fixture(scope="module")
def dockerfile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What repo2docker would build from a clone, on Binder's kind of machine."""
    done = subprocess.run(
        [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "--user-id=1000", "--user-name=jovyan", "."],
        cwd=clone(tmp_path_factory.mktemp("clone")),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_image_has_the_pinned_python(dockerfile: str) -> None:
    pinned = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    assert re.findall(r"conda environment for python=([\d.]+)", dockerfile) == [pinned]


def test_binder_runs_our_two_scripts_and_installs_nothing_by_itself(dockerfile: str) -> None:
    assert "RUN ./binder/postBuild" in dockerfile
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in dockerfile
    # The package at the top of the repository would bring PyTorch with CUDA.
    assert "pip install" not in dockerfile


def pins() -> dict[str, str]:
    """Give the version of each package in the list."""
    lines = [line for line in (BINDER / "packages.txt").read_text().splitlines() if not line.startswith("#")]
    listed = dict(line.split("==") for line in lines)
    assert len(listed) == len(lines)
    return listed


def test_every_requirement_of_the_demo_is_met_by_a_pinned_version() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    wanted = f"{setup['options']['install_requires']}\n{extras['monai']}\n{extras['demo']}"
    pinned = pins()
    for requirement in map(Requirement, filter(None, wanted.splitlines())):
        name = canonicalize_name(requirement.name)
        if name != "mlops-lab":
            assert requirement.specifier.contains(pinned[name]), f"{requirement}, but {name}=={pinned[name]} is listed"


def test_there_is_one_pytorch_and_no_cuda() -> None:
    pinned = pins()
    assert f"torch=={pinned['torch']}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert not [name for name in pinned if name.startswith(("nvidia-", "cuda-", "triton"))]


@pytest.mark.parametrize("script", ["postBuild", "start", "environment.sh"])
def test_the_scripts_are_sound(script: str) -> None:
    if not shutil.which("shellcheck"):
        missing("shellcheck", "install the package shellcheck")
    done = subprocess.run(
        ["shellcheck", "--external-sources", Path("binder") / script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert script == "environment.sh" or os.access(BINDER / script, os.X_OK)

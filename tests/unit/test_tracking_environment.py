"""What a run was computed with: the real environment of these tests, and packages as pip records them."""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import monai
import pytest
import torch

from mlops_lab.connection import tags as names
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import track
from mlops_lab.tracking.lineage import environment, machine, packages
from mlops_lab.tracking.lineage.packages import Package
from tests.unit.test_tracking_block import tags


def test_the_packages_are_those_that_pip_would_list() -> None:
    listed = {package.name: package.version for package in packages.installed()}
    known: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        known.setdefault(re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution.version)
    assert listed == known


def install(folder: Path, name: str, version: str, source: dict[str, Any] | None = None) -> None:
    """What pip leaves of a package's metadata (PEP 376, PEP 610)."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if source is not None:
        (place / "direct_url.json").write_text(json.dumps(source))


def test_sources_are_listed_without_credentials_and_local_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site"
    git = {"vcs_info": {"vcs": "git", "commit_id": "a" * 40}, "url": "https://ada:tok123@git.example.org/g/brain.git"}
    local = {"dir_info": {"editable": True}, "url": "file:///home/ada/Patient%20Meyer/mine"}
    archive = {"archive_info": {"hash": "sha256=abc"}, "url": "https://files.example.org/a-1.0.whl?token=tok123"}
    install(place, "from-git", "1.0", git)
    install(place, "from-folder", "2.0", local)
    install(place, "from-archive", "3.0", archive)
    install(place, "from.index", "4.0")
    (place / "broken-5.0.dist-info").mkdir()
    (place / "broken-5.0.dist-info" / "direct_url.json").write_text("{")
    source = tmp_path / "source"
    (source / "beside.egg-info").mkdir(parents=True)
    (source / "beside.egg-info" / "PKG-INFO").write_text("Name: Beside_Me\nVersion: 6.0\n")
    monkeypatch.setattr(sys, "path", [str(place), str(source), str(tmp_path / "nothing")])
    found = {package.name: package for package in packages.installed()}
    assert found == {
        "beside-me": Package("beside-me", "6.0"),
        "broken": Package("broken", "5.0"),
        "from-archive": Package("from-archive", "3.0", "https://files.example.org/a-1.0.whl", "sha256=abc"),
        "from-folder": Package("from-folder", "2.0", "mine", editable=True),
        "from-git": Package("from-git", "1.0", "https://git.example.org/g/brain.git", "a" * 40),
        "from-index": Package("from-index", "4.0"),
    }
    text = " ".join(map(str, found.values()))
    assert "tok123" not in text
    assert "ada" not in text
    assert "Meyer" not in text


def test_the_list_and_its_fingerprint_follow_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site"
    install(place, "one", "1.0")
    monkeypatch.setattr(sys, "path", [str(place)])
    before = packages.fingerprint(packages.installed())
    assert packages.fingerprint(packages.installed()) == before
    install(place, "two", "1.0")
    os.utime(place, ns=(time.time_ns(), time.time_ns() + 1))  # an installation takes longer than a tick of the disk
    assert [package.name for package in packages.installed()] == ["one", "two"]
    assert packages.fingerprint(packages.installed()) != before


def test_the_run_has_its_environment(server: TrackingServer, experiment: str, tmp_path: Path) -> None:
    with track(experiment=experiment) as run:
        environment.watch(run)
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.use_deterministic_algorithms(False)
    assert run.run_id
    found = tags(server.get_run(run.run_id))
    assert found[names.PYTHON] == platform.python_version()
    assert found[names.TORCH] == str(torch.__version__)
    assert found[names.MONAI] == monai.__version__
    assert found[names.PACKAGES] == packages.fingerprint(packages.installed())
    assert found[names.GPU] == "none"
    text = server.download_artifact(run.run_id, environment.DOCUMENT, tmp_path / "environment.json").read_text()
    document = json.loads(text)
    assert document["packages"]["monai"] == monai.__version__
    assert document["processor"]["cores"] == os.cpu_count()
    assert document["memory"]["bytes"] > 0
    assert document["determinism"]["deterministic_algorithms"] is True
    assert document["determinism"]["deterministic_warn_only"] is True
    assert document["torch"]["num_threads"] == torch.get_num_threads()
    assert document["platform"]["system"] == platform.system()
    assert platform.node() not in text
    assert str(Path.home()) not in text
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in text
    lines = server.download_artifact(run.run_id, environment.PACKAGES, tmp_path / "packages.txt").read_text()
    assert f"\nmonai=={monai.__version__}\n" in lines


def test_a_run_that_is_still_open_has_its_environment_already(server: TrackingServer, experiment: str) -> None:
    with track(experiment=experiment) as run:
        environment.watch(run)
        assert run.run_id
        deadline = time.monotonic() + 60
        while names.PACKAGES not in tags(server.get_run(run.run_id)):
            assert time.monotonic() < deadline, "a kernel that is killed now would leave no environment"
            time.sleep(0.1)


QUIET = """
import sys
import mlops_lab
from mlops_lab.tracking.lineage import environment, seen, system
with mlops_lab.track(offline=True) as run:
    environment.watch(run)
    seen.watch(run)
    metrics = system.SystemMetrics()
    metrics.look(run)
heavy = {"torch", "monai", "mlflow", "numpy", "pandas", "nibabel", "dvc"} & set(sys.modules)
print("HEAVY", sorted(heavy))
"""


def test_nothing_heavy_is_imported_for_it(mlops_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", QUIET],
        env={**os.environ, "MLOPS_LAB_HOME": str(mlops_home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "HEAVY []" in done.stdout


def test_an_environment_is_named_and_not_located(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "/home/ada/envs/brain")
    monkeypatch.setenv("APPTAINER_NAME", "/images/monai.sif")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    found = machine.describe()
    assert found["python"]["environment"] == {"conda": "brain"}
    assert found["container"] == {"kind": "apptainer", "image": "monai.sif", "scheduler": "slurm"}


def test_a_library_that_is_half_imported_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Half:
        __version__ = "9.0"

    monkeypatch.setitem(sys.modules, "torch", Half())  # type: ignore[arg-type]
    found = environment.loaded()
    assert found["libraries"]["torch"] == "9.0"
    assert found["torch"] == {}

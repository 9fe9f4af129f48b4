"""Fixtures that every kind of test shares. All of them build the real thing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

pytest_plugins = [
    "tests.dvc_repositories",
    "tests.jupyter_servers",
    "tests.mlflow_servers",
    "tests.production_stack",
    "tests.web_sites",
    "tests.stack.nginx_alone",
    "tests.stack.services",
]

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Ada Researcher",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada Researcher",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}
POINTERS = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLOPS_LAB_SESSION",
)


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> None:
    """Neither the developer's git identity nor a server that the shell points at may colour a test."""
    os.environ.update(QUIET)
    for name in POINTERS:
        os.environ.pop(name, None)


def missing(component: str, how: str) -> None:
    """Skip a test that lacks `component`; in CI, where nothing may be skipped, fail it."""
    sentence = f"{component} is missing: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium that can be driven."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        missing("Chromium", "install it, or give its path in the variable CHROMIUM")
    assert found
    return found


@pytest.fixture
def mlops_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for mlops_lab's own state."""
    home = tmp_path / "mlops-home"
    monkeypatch.setenv("MLOPS_LAB_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every worker of this test session shares."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server without accounts, started as users start theirs; yields its URI."""
    from mlops_lab.connection import embedded

    home = tmp_path_factory.mktemp("server-home")
    before = os.environ.get("MLOPS_LAB_HOME")
    os.environ["MLOPS_LAB_HOME"] = str(home)
    try:
        server = embedded.start()
        assert server.uri
        os.environ["MLOPS_LAB_HOME"] = before or str(home)
        yield server.uri
        os.environ["MLOPS_LAB_HOME"] = str(home)
        embedded.stop()
    finally:
        if before is None:
            os.environ.pop("MLOPS_LAB_HOME", None)
        else:
            os.environ["MLOPS_LAB_HOME"] = before


@pytest.fixture(scope="session")
def demo_original(shared_tmp: Path) -> Path:
    """The demo project, built once for all workers. Copy it before changing it."""
    from mlops_lab.demo import build_demo

    with FileLock(str(shared_tmp / "demo.lock")):
        return build_demo(shared_tmp / "demo-project", report=print)


@pytest.fixture
def demo_project(demo_original: Path, tmp_path: Path) -> Path:
    """A copy of the demo project that a test may change."""
    return Path(shutil.copytree(demo_original, tmp_path / "demo-project", symlinks=True))

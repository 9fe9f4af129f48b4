"""The Binder demo without a container: binder/'s own files, run in a clone and an environment like Binder's."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

import mlops_lab
from tests.binder.memory import MemoryWatch, processes_of
from tests.browser.pages import CHROMIUM_FLAGS, PATIENCE, Lab
from tests.conftest import missing
from tests.jupyter_servers import START_LIMIT, JupyterServer, free_port

ROOT = Path(mlops_lab.__file__).parents[1]
PUBLIC_NAME = "hub.example.org"
"""Where the visitor's browser finds the demo: another computer, as far as the browser knows."""
NETWORK = re.compile(r"(PIP|UV|SSL)_\w+|\w+_CA_(BUNDLE|CERTS)|\w+_proxy", re.IGNORECASE)
"""Variables that say how this machine reaches the package registry; nothing else of ours gets into the demo."""
LAUNCH = "import os, sys; os.execvp('jupyter-lab', sys.argv)"
"""What BinderHub runs, in short: it looks for JupyterLab, then becomes it."""


def clone(target: Path) -> Path:
    """Copy what git tracks, or would track, as Binder gets it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@dataclass
class Image:
    """What postBuild has filled: the environment, the home, and the clone that the files lie in."""

    repository: Path
    home: Path
    programs: Path
    seconds: float = 0.0
    memory: MemoryWatch | None = None
    """What postBuild took."""

    def environment(self) -> dict[str, str]:
        """Give a process of the image what it sees there, and nothing of this machine."""
        kept = {name: value for name, value in os.environ.items() if NETWORK.fullmatch(name)}
        path = os.pathsep.join([str(self.programs), os.defpath, "/usr/local/bin"])
        return kept | {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8"}

    def run(self, *command: str | Path) -> str:
        """Run a program of the image in the clone's top folder, and give what it says."""
        log = self.home.parent / "log.txt"
        with log.open("wb") as sink:
            done = subprocess.run(
                command, cwd=self.repository, env=self.environment(), stdout=sink, stderr=sink, timeout=1800
            )
        said = log.read_text(errors="replace")
        assert done.returncode == 0, said[-5000:]
        return said


def pinned_python() -> str:
    """Find the Python that runtime.txt names."""
    minor = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    if sys.version_info[:2] == tuple(map(int, minor.split("."))):
        return sys.executable
    found = shutil.which(f"python{minor}")
    if not found:
        missing(f"Python {minor}", "binder/runtime.txt names it, so the Binder demo is tested with it")
    assert found
    return found


def base_packages() -> list[str]:
    """Give the Jupyter that repo2docker's own environment brings, older than ours, as pip knows it."""
    import repo2docker

    minor = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    lock = Path(repo2docker.__file__).parent / "buildpacks" / "conda" / f"environment.py-{minor}-linux-64.lock"
    pinned = dict(re.findall(r"/([a-z_-]+)-(\d[^/-]*)-[^/]*\.conda", lock.read_text()))
    names = {"jupyterlab": "jupyterlab", "notebook": "notebook", "ipywidgets": "ipywidgets"}
    names |= {"jupyterhub": "jupyterhub-base", "jupyter-resource-usage": "jupyter-resource-usage"}
    return [f"{name}=={pinned[in_conda]}" for name, in_conda in names.items()]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Do what the Dockerfile does: an environment with the base's Jupyter, then binder/postBuild in the clone."""
    place = tmp_path_factory.mktemp("binder")
    subprocess.run([pinned_python(), "-m", "venv", place / "environment"], check=True)
    home = place / "home of a visitor"
    home.mkdir()
    made = Image(clone(place / "a clone"), home, place / "environment" / "bin")
    made.run(sys.executable, "-m", "uv", "pip", "install", "--python", made.programs / "python", *base_packages())
    if version("torch").endswith("+cpu"):
        # Where pip itself is offered PyTorch's build for processors, the site that uv takes it from may be out of
        # reach; postBuild then finds it done. Elsewhere postBuild does it.
        constraint = ("--constraint", made.repository / "constraints.txt")
        made.run("python", "-m", "pip", "install", "--quiet", "--no-deps", *constraint, "torch")
    before = set(made.repository.rglob("*"))
    made.memory, begin = MemoryWatch(home), time.monotonic()
    made.memory.start()
    try:
        made.run(made.repository / "binder" / "postBuild")
    finally:
        made.memory.stop()
    made.seconds = time.monotonic() - begin
    assert set(made.repository.rglob("*")) == before
    return made


@pytest.fixture
def visit(image: Image, tmp_path: Path) -> Iterator[tuple[JupyterServer, MemoryWatch]]:
    """Start the demo as BinderHub does, on one processor, and watch how much memory all of it takes."""
    port, token, base = free_port(), secrets.token_hex(16), "/user/mlops_lab-1a2b3c4d/"
    arguments = ["--ip=127.0.0.1", f"--port={port}"]
    for application in ("NotebookApp", "ServerApp"):
        arguments += [f"--{application}.base_url={base}", f"--{application}.token={token}"]
        arguments += [f"--{application}.trust_xheaders=True"]
    # Binder listens on all addresses and is not root; here it is the other way round.
    arguments += ["--ServerApp.allow_remote_access=True", "--ServerApp.allow_root=True"]
    log = tmp_path / "log.txt"
    with log.open("wb") as sink:
        started = subprocess.Popen(
            [image.repository / "binder" / "start", "python3", "-c", LAUNCH, *arguments],
            cwd=image.repository,
            env=image.environment() | {"JUPYTERHUB_SERVICE_PREFIX": base},
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
        )
    server = JupyterServer(
        f"http://127.0.0.1:{port}{base}", token, image.home / "mlops-lab-demo", tmp_path, log, started
    )
    watch = MemoryWatch(image.home)
    watch.start()
    try:
        wait_for(server)
        yield server, watch
    finally:
        watch.stop()
        server.stop()
        end_all_of(image.home)


def wait_for(server: JupyterServer) -> None:
    """Wait until JupyterLab answers."""
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}api/status?token={server.token}", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{server.log.read_text()[-3000:]}")


def end_all_of(home: Path) -> None:
    """End what lives on, as the end of the container would."""
    for pid in processes_of(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def lab(chromium: str, visit: tuple[JupyterServer, MemoryWatch], tmp_path: Path) -> Iterator[Lab]:
    """The visitor's browser, on another computer as far as it knows."""
    expect.set_options(timeout=PATIENCE)
    elsewhere = f"--host-resolver-rules=MAP {PUBLIC_NAME} 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS, elsewhere])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        yield Lab(page, visit[0], tmp_path / "pictures")
        browser.close()

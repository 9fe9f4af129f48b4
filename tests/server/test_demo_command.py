"""`mlops-lab demo`: JupyterLab opens on the quickstart, connected to the server that the command started."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops_lab.connection import embedded
from tests.jupyter_servers import START_LIMIT, free_port
from tests.server.test_cli import MLOPS_LAB


def test_jupyterlab_opens_on_the_quickstart_and_is_connected(
    demo_project: Path, mlops_home: Path, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "MLOPS_LAB_HOME": str(mlops_home),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "JUPYTER_PORT": str(port),
        "JUPYTER_TOKEN": "open-sesame",
        "BROWSER": "true",
    }
    log = tmp_path / "log.txt"
    with log.open("wb") as sink:
        demo = subprocess.Popen(
            [MLOPS_LAB, "demo", "--dir", demo_project], env=environment, stdout=sink, stderr=sink, cwd=tmp_path
        )
    try:
        connection = ask(demo, log, f"{url}/mlops-lab/connection")
        assert connection["status"] == "connected"
        assert connection["uri"] == embedded.status().uri
        assert ask(demo, log, f"{url}/api/contents/quickstart.ipynb?content=0")["type"] == "notebook"
        said = log.read_text()
        assert "quickstart.ipynb" in said
        assert "mlops-lab server stop" in said
    finally:
        demo.terminate()
        demo.wait(30)
        embedded.stop()


def ask(demo: subprocess.Popen[bytes], log: Path, address: str) -> Any:
    """Ask JupyterLab until it answers."""
    limit = time.monotonic() + 2 * START_LIMIT
    while time.monotonic() < limit and demo.poll() is None:
        try:
            answer = httpx.get(address, headers={"Authorization": "token open-sesame"}, timeout=10)
            if answer.is_success:
                return answer.json()
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    return pytest.fail(f"No answer from {address}:\n{log.read_text()[-3000:]}")

"""Importing mlops_lab, loading the extension and serving the panel load nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "monai", "mlflow", "dvc", "matplotlib", "numpy", "scipy", "pandas")

PUBLIC = "import mlops_lab; [getattr(mlops_lab, name) for name in mlops_lab.__all__ if name != 'widgets']"

EXTENSION = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "mlops_lab")
assert "mlops_track" in shell.magics_manager.magics["line"], "the magics are not there"
assert shell.run_cell("1 + 1").result == 2
"""

SERVER = """
import asyncio, httpx, sys
from jupyterlab.labapp import LabApp

lab = LabApp.initialize_server(argv=[
    "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
    "--IdentityProvider.token=letmein", f"--ServerApp.root_dir={sys.argv[1]}",
])
answers = {}

async def visit():
    headers = {"Authorization": "token letmein"}
    async with httpx.AsyncClient(base_url=lab.connection_url + "mlops-lab/", headers=headers, timeout=60) as client:
        for path in (
            *("connection", "datasets?path=", "recipes", "environment?kernel=python3"),
            *("experiments", "runs", "waiting"),
        ):
            answers[path] = (await client.get(path)).status_code
        answers["login"] = (await client.post("connection", json={"uri": "http://127.0.0.1:9"})).status_code
        answers["comparison"] = (await client.post("comparison", json={"run_ids": ["a", "b"]})).status_code
    lab.stop(from_signal=True)

lab.io_loop.call_later(0.1, lambda: asyncio.ensure_future(visit()))
lab.start()
assert answers["recipes"] == 200 and answers["datasets?path="] == 200, answers
assert 404 not in answers.values(), answers
"""

TELL = f"""
import json, sys
print("LOADED", json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def loaded_by(program: str, *arguments: str, home: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program + TELL, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "MLOPS_LAB_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[str] = json.loads(done.stdout.split("LOADED ")[1])
    return found


@pytest.mark.parametrize("program", [PUBLIC, EXTENSION], ids=["import", "load_ext"])
def test_nothing_heavy_is_loaded_by(program: str, mlops_home: Path) -> None:
    assert loaded_by(program, home=mlops_home) == []


def test_nothing_heavy_is_loaded_by_the_server_process(demo_project: Path, mlops_home: Path) -> None:
    assert loaded_by(SERVER, str(demo_project), home=mlops_home) == []


def test_the_check_itself_notices_a_heavy_import(mlops_home: Path) -> None:
    assert loaded_by("import numpy", home=mlops_home) == ["numpy"]

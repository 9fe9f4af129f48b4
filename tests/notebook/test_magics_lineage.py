"""Which cell of which notebook a run comes from, as JupyterLab, nbclient and a plain kernel tell it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import Run, pairs, runs_by_name
from tests.notebook.test_magics_kernel import Kernel, start_kernel

__all__ = ["start_kernel"]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A saved notebook in a repository: a title, a cell that loads us, one that trains."""
    place = tmp_path / "study" / "notebooks" / "train.ipynb"
    place.parent.mkdir(parents=True)
    cells = [
        nbformat.v4.new_markdown_cell("# Title"),
        nbformat.v4.new_code_cell("%load_ext mlops_lab"),
        nbformat.v4.new_code_cell(f"%%mlops_track --experiment {tmp_path.name} --run-name it\nx = 1"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), place)
    top = place.parents[1]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=top, check=True)
    return place


def execute(kernel: Kernel, code: str, metadata: dict[str, Any]) -> None:
    """Send a cell as JupyterLab does: its id goes with the request."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = kernel.client.session.msg("execute_request", content, metadata=metadata)
    kernel.client.shell_channel.send(message)
    assert kernel.reply(message["header"]["msg_id"])["status"] == "ok"


def test_jupyterlab_tells_the_cell_and_the_saved_notebook_its_place(
    start_kernel: Callable[..., Kernel], server: TrackingServer, notebook: Path, tmp_path: Path
) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    kernel = start_kernel(MLFLOW_TRACKING_URI=server.uri, JPY_SESSION_NAME=str(notebook))
    kernel.run(f"%cd {notebook.parent}")
    execute(kernel, cells[2].source, {"cellId": cells[2].id, "trusted": True})
    found = pairs(runs_by_name(server, tmp_path.name)["it"], "tags")
    assert found["mlops_lab.notebook"] == "notebooks/train.ipynb"
    assert found["mlflow.source.name"] == "notebooks/train.ipynb"
    assert found["mlflow.source.type"] == "NOTEBOOK"
    assert found["mlops_lab.cell.id"] == cells[2].id
    assert found["mlops_lab.cell.index"] == "3"
    assert found["mlops_lab.cell"] == "3"
    assert found["mlops_lab.command"] == "jupyter kernel"
    assert len(found["mlflow.source.git.commit"]) == 40


def test_an_address_that_holds_a_path_is_no_cell_id(
    start_kernel: Callable[..., Kernel], server: TrackingServer, notebook: Path, tmp_path: Path
) -> None:
    # As VS Code tells it.
    address = "vscode-notebook-cell:/home/ada/patients/train.ipynb#W2sZmlsZQ%3D%3D"
    kernel = start_kernel(MLFLOW_TRACKING_URI=server.uri)
    execute(kernel, f"__vsc_ipynb_file__ = {str(notebook)!r}", {"cellId": address})
    code = nbformat.read(notebook, as_version=4).cells[2].source
    execute(kernel, code, {"cellId": address})
    found = pairs(runs_by_name(server, tmp_path.name)["it"], "tags")
    assert found["mlops_lab.notebook"] == "notebooks/train.ipynb"
    assert found["mlops_lab.cell.index"] == "3", "the only cell with this source"
    assert "ada" not in json.dumps(found).replace(os.environ["GIT_AUTHOR_NAME"], "")


def test_nbclient_tells_no_cell_and_its_source_does(
    run_notebook: Run, server: TrackingServer, notebook: Path, tmp_path: Path
) -> None:
    sources = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    run_notebook(*sources, where=notebook.parent, MLOPS_LAB_NOTEBOOK=str(notebook))
    found = pairs(runs_by_name(server, tmp_path.name)["it"], "tags")
    assert (found["mlops_lab.cell"], found["mlops_lab.cell.index"]) == ("2", "3")


PLAIN = """
import mlflow
from mlflow.tracking.context import registry
from mlops_lab.tracking.lineage import context

context.LONGEST_WAIT = 60  # however busy this machine is
known = list(registry._run_context_provider_registry)
if not any(isinstance(provider, context.CodeContext) for provider in known):
    registry._run_context_provider_registry.register(context.CodeContext)
mlflow.set_experiment({experiment!r})
with mlflow.start_run(run_name="plain"):
    mlflow.log_metric("m", 1.0)
"""


def test_a_plain_mlflow_run_in_a_notebook_names_its_commit(
    run_notebook: Run, server: TrackingServer, notebook: Path, tmp_path: Path
) -> None:
    run_notebook(PLAIN.format(experiment=tmp_path.name), where=notebook.parent, MLOPS_LAB_NOTEBOOK=str(notebook))
    found = pairs(runs_by_name(server, tmp_path.name)["plain"], "tags")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=notebook.parent, capture_output=True, text=True, check=True
    )
    assert found["mlflow.source.git.commit"] == commit.stdout.strip()
    assert found["mlflow.source.git.branch"] == "main"
    assert found["mlops_lab.git.dirty"] == "false"
    assert found["mlops_lab.notebook"] == "notebooks/train.ipynb"
    assert found["mlflow.source.name"] == "notebooks/train.ipynb"

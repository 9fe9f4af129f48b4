"""A server, and notebooks that are run as Run All would."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import Run


@pytest.fixture
def server(mlflow_server: str) -> Iterator[TrackingServer]:
    client = TrackingServer(mlflow_server)
    yield client
    client.close()


@pytest.fixture
def run_notebook(mlflow_server: str, mlops_home: Path, tmp_path: Path) -> Run:
    """Executes cells in a fresh kernel, in a folder of the test's own."""

    def execute(*cells: str, allow_errors: bool = False, where: Path | None = None, **variables: str) -> Any:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=180,
            allow_errors=allow_errors,
            resources={"metadata": {"path": str(where or tmp_path)}},
        )
        environment = {"MLFLOW_TRACKING_URI": mlflow_server, "MLOPS_LAB_HOME": str(mlops_home), **variables}
        try:
            client.execute(env={**os.environ, **environment})
        finally:
            execute.last = notebook  # type: ignore[attr-defined]
        return notebook

    return execute

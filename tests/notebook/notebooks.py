"""Reads executed notebooks, and the runs that their cells left on the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat

from mlops_lab.connection.rest import TrackingServer

Run = Callable[..., nbformat.NotebookNode]


def text(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


def results(cell: nbformat.NotebookNode) -> list[str]:
    return [output.data["text/plain"] for output in cell.outputs if output.output_type == "execute_result"]


def errors(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for output in cell.outputs if output.output_type == "error"]


def runs_by_name(server: TrackingServer, experiment: str) -> dict[str, dict[str, Any]]:
    found = server.experiment_by_name(experiment)
    assert found is not None
    return {run["info"]["run_name"]: run for run in server.search_runs([found["experiment_id"]])["runs"]}


def pairs(run: dict[str, Any], kind: str) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in run["data"].get(kind, [])}

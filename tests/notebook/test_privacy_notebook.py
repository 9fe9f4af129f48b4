"""What the saved notebook holds of us, the live line and its notices, names nobody; the user's own output is theirs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import Run, pairs, runs_by_name

LOAD = "%load_ext mlops_lab"


def shown(cell: nbformat.NotebookNode) -> str:
    """All that a cell shows, in every form in which it is saved."""
    return json.dumps(cell.outputs, ensure_ascii=False)


def test_a_cell_full_of_identifiers_shows_and_sends_none_of_them(
    run_notebook: Run, server: TrackingServer, tmp_path: Path
) -> None:
    (tmp_path / "mlops.toml").write_text("[privacy]\nprinted_output = true\n")
    cell = f"""%%mlops_track --experiment {tmp_path.name} --run-name Quabadee^Maria --tag note=MRN-4471234
import mlops_lab
path = "/mnt/pacs/7654321_Quibedoo_Maria/ct.nii.gz"
run = mlops_lab.active_run()
run.log_param("patient", "Quafagoo, Maria")
run.log_metric("dice/Quagaduu_Maria_19560312", 0.5)
run.log_text("NHS 943 476 5919", "Quakalee^Maria.txt")
run.notice("No label for /mnt/pacs/8812345_Qualamoo_Maria/ct.nii.gz.")
"""
    notebook = run_notebook(LOAD, cell, where=tmp_path)
    names = ("Quabadee", "Quibedoo", "Quafagoo", "Quagaduu", "Quakalee", "Qualamoo")
    secrets = (*names, "7654321", "8812345", "4471234", "19560312", "943 476")
    outputs = shown(notebook.cells[1])
    assert "replaced in what this run records" in outputs  # the person reads that something was changed
    assert "No label for /mnt/pacs/" in outputs
    assert [secret for secret in secrets if secret in outputs] == []
    (run,) = runs_by_name(server, tmp_path.name).values()
    assert [secret for secret in secrets if secret in json.dumps(run)] == []
    assert pairs(run, "params")["patient"] == "<name>"
    code = server.download_artifact(run["info"]["run_id"], "cell.py", tmp_path / "cell.py").read_text()
    assert [secret for secret in secrets if secret in code] == []


def test_an_ordinary_cell_is_told_nothing_of_privacy(run_notebook: Run, server: TrackingServer, tmp_path: Path) -> None:
    cell = f"%%mlops_track --experiment {tmp_path.name} --run-name plain\nmax_epochs = 4\nlr = 1e-3\n"
    notebook = run_notebook(LOAD, cell, where=tmp_path)
    assert "replaced" not in shown(notebook.cells[1])
    assert "mlops_lab.privacy" not in pairs(runs_by_name(server, tmp_path.name)["plain"], "tags")

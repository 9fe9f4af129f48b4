"""The quickstart notebook, executed for real: two trainings, tracked, on two versions of the data, and compared."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mlops_lab.connection import tags
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.demo.errors import DemoError, NotebookFailed
from mlops_lab.demo.execute import EXECUTED, run_quickstart
from mlops_lab.demo.project import notebook_source
from mlops_lab.training import make_cell
from mlops_lab.training.model import CellRequest

VERSIONS = ["v1.0.0", "v2.0.0"]
COMPARISON = "application/vnd.mlops-lab.comparison+json"


def code_cells(notebook: Path) -> list[Any]:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


def test_the_notebook_is_stored_without_outputs_for_any_python_3() -> None:
    notebook = nbformat.read(notebook_source(), as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(notebook_source()):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_its_training_cells_are_those_that_the_form_inserts() -> None:
    sources = [cell.source for cell in code_cells(notebook_source())]
    for version in VERSIONS:
        made = make_cell(CellRequest(recipe="segmentation_2d", data=f"brain@{version}"))
        assert made.source in sources
        assert sources.index(made.setup) < sources.index(made.source)


@pytest.fixture
def connected(mlflow_server: str, mlops_home: Path, monkeypatch: pytest.MonkeyPatch) -> TrackingServer:
    """This process, and the kernels it starts, are pointed at a real MLflow server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    return TrackingServer(mlflow_server)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_and_corrected_labels_raise_dice(
    demo_project: Path, connected: TrackingServer
) -> None:
    said: list[str] = []
    runs = run_quickstart(demo_project, report=said.append)

    commit = _git(demo_project, "rev-parse", "HEAD")
    assert [run["status"] for run in runs] == ["FINISHED", "FINISHED"]
    assert [run["experiment"] for run in runs] == ["brain", "brain"]
    assert [run["commit"] for run in runs] == [commit, commit]
    assert [run["dirty"] for run in runs] == [False, False]
    assert [[used["version"] for used in run["data"]] for run in runs] == [["v1.0.0"], ["v2.0.0"]]
    for run, version in zip(runs, VERSIONS, strict=True):
        assert run["data"][0]["md5"] == _recorded_md5(demo_project, f"brain@{version}")
        _check_on_server(connected, run, version)
    first, second = (run["metrics"]["test_dice"] for run in runs)
    assert 0.6 < first < second - 0.03
    assert second > 0.75

    cells = code_cells(demo_project / EXECUTED)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    (compared,) = [output for output in outputs if COMPARISON in output.get("data", {})]
    assert {"text/html", "image/png", "text/plain"} <= set(compared.data)
    assert {row["run_id"] for row in compared.data[COMPARISON]["runs"]} == {run["run_id"] for run in runs}
    assert {verdict["role"]: verdict["same"] for verdict in compared.data[COMPARISON]["shared"]}["test"] is True

    assert _git(demo_project, "status", "--porcelain") == ""
    assert any("Executing" in sentence for sentence in said)


def _check_on_server(server: TrackingServer, run: dict[str, Any], version: str) -> None:
    found = server.get_run(run["run_id"])
    tagged = {tag["key"]: tag["value"] for tag in found["data"]["tags"]}
    params = {param["key"]: param["value"] for param in found["data"]["params"]}
    assert tagged[tags.data_version("brain")] == version
    assert tagged[tags.data_md5("brain")] == run["data"][0]["md5"]
    assert tagged[tags.NOTEBOOK] == "quickstart.ipynb"
    assert (params["network"], params["seed"]) == ("UNet", "0")
    (dataset,) = found["inputs"]["dataset_inputs"]
    assert dataset["dataset"]["digest"] == run["data"][0]["md5"]
    history = server.get("metrics/get-history", {"run_id": run["run_id"], "metric_key": "val_dice"})["metrics"]
    assert len(history) == int(params["max_epochs"])
    kept = server.get("artifacts/list", {"run_id": run["run_id"], "path": "checkpoints"})["files"]
    assert "checkpoints/model.pt" in [file["path"] for file in kept]


def test_a_failing_cell_is_named_in_one_sentence(demo_project: Path, connected: TrackingServer) -> None:
    notebook = nbformat.read(demo_project / "quickstart.ipynb", as_version=4)
    notebook.cells = [nbformat.v4.new_code_cell("print('before')"), nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(notebook, demo_project / "quickstart.ipynb")
    with pytest.raises(NotebookFailed, match="ZeroDivisionError: division by zero") as failure:
        run_quickstart(demo_project, report=lambda sentence: None)
    assert "\n" not in str(failure.value)
    first, second = code_cells(demo_project / EXECUTED)
    assert first.outputs[0].text == "before\n"
    assert second.outputs[0].ename == "ZeroDivisionError"


def test_a_folder_without_the_notebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"holds no quickstart\.ipynb"):
        run_quickstart(tmp_path)


def _git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _recorded_md5(project: Path, revision: str) -> str:
    import yaml

    recorded: str = yaml.safe_load(_git(project, "show", f"{revision}:data/brain.dvc"))["outs"][0]["md5"]
    return recorded

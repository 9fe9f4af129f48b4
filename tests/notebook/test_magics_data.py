"""Which data a tracked cell reads: recorded also where an earlier cell has fetched it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import Run, errors, pairs, results, runs_by_name, text


def recorded_data(run: dict[str, Any]) -> list[str]:
    found = json.loads(pairs(run, "tags").get("mlops_lab.data", "[]"))
    return [f"{data['name']}@{data['version']}" for data in found]


def test_a_cell_records_the_data_that_an_earlier_cell_gave_its_variables(
    run_notebook: Run, server: TrackingServer, dvc_repo: Any, tmp_path: Path
) -> None:
    repository = dvc_repo()
    for version in ("v1", "v2"):
        repository.save(version, "scans", {"a.txt": version, "b.txt": "same"})
        repository.git("tag", version)
    track = f"%%mlops_track --experiment {tmp_path.name} --run-name"
    notebook = run_notebook(
        "%load_ext mlops_lab\nimport mlops_lab",
        "%mlops_use scans@v1 --as folder",
        "files = [{'image': str(path)} for path in sorted(folder.iterdir())]\ndef read():\n    return files",
        f"{track} reads\nlen(list(folder.iterdir()))",
        f"{track} list\n%time len(files)",
        f"{track} called\nlen(read())",
        f"{track} two --data scans@v2\nopen(folder / 'a.txt').read()",
        f"{track} other\nx = 'folder'",
        f"{track} again\nfolder = mlops_lab.use_dataset('scans@v2')\nopen(folder / 'a.txt').read()",
        f"%mlops_track on --experiment {tmp_path.name} --run-name standing",
        "len(list(folder.iterdir()))",
        "%mlops_track off",
        where=repository.path,
    )
    runs = runs_by_name(server, tmp_path.name)
    assert {name: recorded_data(run) for name, run in runs.items()} == {
        "reads": ["scans@v1"],
        "list": ["scans@v1"],
        "called": ["scans@v1"],
        "two": ["scans@v2", "scans@v1"],
        "other": [],
        "again": ["scans@v2"],
        "standing": ["scans@v2"],
    }
    assert "the variable folder of this cell leads to scans@v1" in text(notebook.cells[6])
    assert "leads to" not in text(notebook.cells[3])
    assert len(server.get_run(runs["reads"]["info"]["run_id"])["inputs"]["dataset_inputs"]) == 1


def test_the_data_of_an_earlier_cell_is_verified_again_before_the_body(
    run_notebook: Run, server: TrackingServer, dvc_repo: Any, tmp_path: Path
) -> None:
    repository = dvc_repo()
    repository.save("first", "scans", {"a.txt": "one", "b.txt": "two"})
    repository.git("tag", "v1")
    notebook = run_notebook(
        "%load_ext mlops_lab\nran = []",
        "%mlops_use scans@v1 --as folder",
        "import os\nos.chmod(folder / 'b.txt', 0o644)\n(folder / 'b.txt').write_text('twO')",
        f"%%mlops_track --experiment {tmp_path.name}\nran.append(folder)",
        "ran",
        where=repository.path,
        allow_errors=True,
    )
    (error,) = errors(notebook.cells[3])
    assert "b.txt" in error.evalue
    assert results(notebook.cells[4]) == ["[]"]
    assert server.experiment_by_name(tmp_path.name) is None

"""`%%mlops_track` in a real kernel, run by nbclient as Run All would: the cell stays what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nbclient.exceptions import CellExecutionError

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import Run, errors, pairs, results, runs_by_name, text


def test_await_last_expression_losses_and_literals_of_an_untouched_cell(
    run_notebook: Run, server: TrackingServer, tmp_path: Path
) -> None:
    experiment = tmp_path.name
    (tmp_path / "study.ipynb").write_text("{}")
    notebook = run_notebook(
        "%load_ext mlops_lab",
        f"""
# A comment may stand above.

%%mlops_track --experiment {experiment} --run-name first --tag team=neuro ward=7#b --seed 3  # isn't it "plain
import asyncio, torch
max_epochs = 3
learning_rate = 0.1
api_key = "s3cret-value"
await asyncio.sleep(0)
weight = torch.ones(1, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=learning_rate)
for epoch in range(max_epochs):
    optimizer.zero_grad()
    (weight * 2).sum().backward()
    optimizer.step()
epoch + 40
""",
        f"%%mlops_track --experiment {experiment} --run-name second\n%%time\nx = 3",
        "(x, epoch)",
        MLOPS_LAB_NOTEBOOK=str(tmp_path / "study.ipynb"),
    )
    _, first, second, after = notebook.cells
    assert results(first) == ["42"]
    assert "Wall time" in text(second)
    assert results(after) == ["(3, 2)"]

    runs = runs_by_name(server, experiment)
    assert {name: run["info"]["status"] for name, run in runs.items()} == {"first": "FINISHED", "second": "FINISHED"}
    params = pairs(runs["first"], "params")
    assert (params["max_epochs"], params["learning_rate"], params["seed"]) == ("3", "0.1", "3")
    assert "api_key" not in params
    tags = pairs(runs["first"], "tags")
    assert (tags["team"], tags["ward"]) == ("neuro", "7#b")
    assert (tags["mlflow.source.type"], tags["mlops_lab.notebook"]) == ("NOTEBOOK", "study.ipynb")
    points = server.get("metrics/get-history", {"run_id": runs["first"]["info"]["run_id"], "metric_key": "train_loss"})[
        "metrics"
    ]
    assert [round(float(point["value"]), 6) for point in points] == [2.0, 1.6, 1.2]
    source = server.download_artifact(runs["first"]["info"]["run_id"], "cell.py", tmp_path / "cell.py").read_text()
    assert source.startswith("import asyncio, torch\nmax_epochs = 3")


def test_the_live_line_stays_in_the_saved_notebook(run_notebook: Run, tmp_path: Path) -> None:
    notebook = run_notebook(
        "%load_ext mlops_lab",
        f"""%%mlops_track --experiment {tmp_path.name} --run-name shown
import time, mlops_lab
for step in range(3):
    mlops_lab.active_run().log_metric("<b>odd", step)
    time.sleep(0.8)
""",
    )
    shown = [output for output in notebook.cells[1].outputs if output.output_type == "display_data"]
    assert len(shown) == 1, "one line, redrawn, not many"
    assert "finished" in shown[0].data["text/plain"]
    assert "<b>odd" in shown[0].data["text/plain"]
    assert "&lt;b&gt;odd" in shown[0].data["text/html"]
    assert '<a href="http' in shown[0].data["text/html"]


def test_an_exception_stops_run_all_and_fails_the_run(
    run_notebook: Run, server: TrackingServer, tmp_path: Path
) -> None:
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run_notebook(
            "%load_ext mlops_lab",
            f"%%mlops_track --experiment {tmp_path.name} --run-name bad\n# above\n1 / 0",
            "never = True",
        )
    bad, never = run_notebook.last.cells[1:]  # type: ignore[attr-defined]
    assert never.outputs == []
    assert never.execution_count is None
    (error,) = errors(bad)
    assert "----> 3" in "".join(error.traceback).replace("\x1b[32m", "").replace("\x1b[39m", ""), (
        "the line number in the traceback is the one that the user sees"
    )
    run = runs_by_name(server, tmp_path.name)["bad"]
    assert run["info"]["status"] == "FAILED"
    assert "traceback.txt" in {file["path"] for file in server.list_artifacts(run["info"]["run_id"])}


def test_bad_cells_are_refused_in_one_sentence_and_nothing_of_them_runs(
    run_notebook: Run, server: TrackingServer, dvc_repo: Any, tmp_path: Path
) -> None:
    repository = dvc_repo()
    repository.save("first", "scans", {"a.txt": "one", "b.txt": "two"})
    experiment = tmp_path.name
    refused = {
        "--experimnt x": "unrecognized arguments",
        "--seed many": "invalid int value",
        "--tag novalue": "NAME=VALUE",
        "--data nothing@v1": "nothing",
        "--run-name 'open": "quotation",
    }
    notebook = run_notebook(
        "%load_ext mlops_lab\nran = []",
        *[f"%%mlops_track --experiment {experiment} {options}\nran.append(1)" for options in refused],
        f"%%mlops_track --experiment {experiment}\n# only a comment",
        f"%%mlops_track --experiment {experiment}\nthis is no python",
        "ran",
        where=repository.path,
        allow_errors=True,
    )
    cells = notebook.cells[1:-1]
    for cell, words in zip(cells, [*refused.values(), "nothing to track"], strict=False):
        (error,) = errors(cell)
        assert words in error.evalue
        assert error.traceback == [error.evalue], "one sentence, no traceback"
        assert "\n" not in error.evalue
    assert errors(cells[-1])[0].ename == "SyntaxError"
    assert results(notebook.cells[-1]) == ["[]"]
    assert server.experiment_by_name(experiment) is None, "a refused cell leaves no trace on the server"


def test_corrupt_data_is_refused_before_the_body(
    run_notebook: Run, server: TrackingServer, dvc_repo: Any, tmp_path: Path
) -> None:
    repository = dvc_repo()
    repository.save("first", "scans", {"a.txt": "one", "b.txt": "two"})
    repository.git("tag", "v1")
    victim = next(
        path
        for path in (repository.path / ".dvc" / "cache" / "files" / "md5").rglob("*")
        if path.is_file() and path.read_bytes() == b"two"
    )
    victim.chmod(0o644)
    victim.write_bytes(b"twO")
    victim.chmod(0o444)
    notebook = run_notebook(
        "%load_ext mlops_lab\nran = []",
        f"%%mlops_track --experiment {tmp_path.name} --data scans@v1\nran.append(1)",
        "ran",
        where=repository.path,
        allow_errors=True,
    )
    (error,) = errors(notebook.cells[1])
    assert "b.txt" in error.evalue
    assert results(notebook.cells[2]) == ["[]"]
    assert server.experiment_by_name(tmp_path.name) is None


def test_a_cell_may_leave_its_folder_and_call_exit(run_notebook: Run, server: TrackingServer, tmp_path: Path) -> None:
    run_notebook(
        "%load_ext mlops_lab",
        f"""%%mlops_track --experiment {tmp_path.name} --run-name moves
import os, pathlib, mlops_lab
pathlib.Path("result.txt").write_text("here")
mlops_lab.active_run().log_artifact("result.txt")
os.chdir("/")
mlops_lab.active_run().log_text("there", "more.txt")
""",
        f"%%mlops_track --experiment {tmp_path.name} --run-name leaves\nraise SystemExit(2)",
        f"%%mlops_track --experiment {tmp_path.name} --run-name nested\n"
        "get_ipython().run_cell('inner = 1')\nmlops_lab.active_run().log_metric('after', inner)",
        allow_errors=True,
    )
    runs = runs_by_name(server, tmp_path.name)
    assert {name: run["info"]["status"] for name, run in runs.items()} == {
        "moves": "FINISHED",
        "leaves": "FAILED",
        "nested": "FINISHED",
    }
    files = {file["path"] for file in server.list_artifacts(runs["moves"]["info"]["run_id"])}
    assert {"result.txt", "more.txt"} <= files
    assert pairs(runs["nested"], "metrics") == {"after": 1.0}


@pytest.mark.parametrize("above", ["%%time", "%%timeit -n1 -r1", "%%prun -q"])
def test_under_a_magic_that_watches_the_cell_it_is_tracked_all_the_same(
    run_notebook: Run, server: TrackingServer, tmp_path: Path, above: str
) -> None:
    run_notebook(
        "%load_ext mlops_lab\nimport mlops_lab",
        f"{above}\n%%mlops_track --experiment {tmp_path.name} --run-name watched\n"
        "lr = 0.5\nmlops_lab.active_run().log_metric('seen', 1)",
    )
    run = runs_by_name(server, tmp_path.name)["watched"]
    assert run["info"]["status"] == "FINISHED"
    assert pairs(run, "metrics") == {"seen": 1.0}
    assert pairs(run, "params") == {"lr": "0.5"}


def test_the_magic_below_code_is_refused_in_one_sentence(run_notebook: Run, tmp_path: Path) -> None:
    notebook = run_notebook(
        "%load_ext mlops_lab\nran = []",
        f"ran.append(1)\n%%mlops_track --experiment {tmp_path.name}\nran.append(2)",
        'text = """\n%%mlops_track\n"""\nran',
        allow_errors=True,
    )
    (error,) = errors(notebook.cells[1])
    assert "Write it in the cell's first line" in error.evalue
    assert error.traceback == [error.evalue]
    assert results(notebook.cells[2]) == ["[]"]


def test_unloading_inside_a_tracked_cell_ends_its_run(
    run_notebook: Run, server: TrackingServer, tmp_path: Path
) -> None:
    run_notebook(
        "%load_ext mlops_lab",
        f"%%mlops_track --experiment {tmp_path.name} --run-name left\n%unload_ext mlops_lab\nafter = 1",
        "assert after == 1",
    )
    assert runs_by_name(server, tmp_path.name)["left"]["info"]["status"] == "FINISHED"


def test_between_on_and_off_all_cells_are_one_run(run_notebook: Run, server: TrackingServer, tmp_path: Path) -> None:
    run_notebook(
        "%load_ext mlops_lab",
        f"%mlops_track on --experiment {tmp_path.name} --run-name standing",
        "import mlops_lab\nmlops_lab.active_run().log_metric('a', 1)\ndepth = 4",
        "mlops_lab.active_run().log_metric('a', 2)",
        "%mlops_track off",
        "assert mlops_lab.active_run() is None",
    )
    run = runs_by_name(server, tmp_path.name)["standing"]
    assert run["info"]["status"] == "FINISHED"
    assert pairs(run, "metrics") == {"a": 2.0}
    assert pairs(run, "params")["depth"] == "4"


def test_use_runs_compare_status_and_sync_from_the_notebook(run_notebook: Run, dvc_repo: Any, tmp_path: Path) -> None:
    repository = dvc_repo()
    repository.save("first", "scans", {"a.txt": "one"})
    repository.git("tag", "v1")
    track = f"%%mlops_track --experiment {tmp_path.name} --run-name"
    notebook = run_notebook(
        "%load_ext mlops_lab",
        "%mlops_use scans@v1 --as folder",
        "(folder / 'a.txt').read_text()",
        f"{track} one --data scans@v1\nlr = 0.1\nimport mlops_lab\nmlops_lab.active_run().log_metric('dice', 0.5)",
        f"{track} two --data scans@v1\nlr = 0.2\nmlops_lab.active_run().log_metric('dice', float('nan'))",
        f"{track} three --offline\nlr = 0.3",
        "%mlops_status",
        "%mlops_sync",
        "%mlops_runs params.lr = '0.2'",
        "%mlops_compare one two",
        "%mlops_compare one nobody",
        where=repository.path,
        allow_errors=True,
    )
    use, read, _, _, _, status, sync, runs, compare, unknown = notebook.cells[1:]
    assert "folder = " in text(use)
    assert results(read) == ["'one'"]
    assert "Connected to http://127.0.0.1" in text(status)
    assert "1 run waits" in text(status)
    assert "1 of 1 runs sent" in text(sync)
    assert "two" in text(runs)
    assert "three" not in text(runs)
    (shown,) = compare.outputs
    assert set(shown.data) >= {
        "application/vnd.mlops-lab.comparison+json",
        "text/html",
        "image/png",
        "text/plain",
    }
    document = shown.data["application/vnd.mlops-lab.comparison+json"]
    assert [run["name"] for run in document["runs"]] == ["one", "two"]
    assert "NaN" in json.dumps(document["metrics"])
    (error,) = errors(unknown)
    assert error.traceback == [error.evalue]
    assert "nobody" in error.evalue


def test_a_kernel_without_a_server_still_trains_and_says_so_once(run_notebook: Run, tmp_path: Path) -> None:
    notebook = run_notebook(
        "%load_ext mlops_lab",
        "%%mlops_track --experiment none\n40 + 2",
        "%mlops_status",
        MLFLOW_TRACKING_URI="",
        MLOPS_LAB_SESSION=str(tmp_path / "nobody-logged-in.json"),
    )
    _, cell, status = notebook.cells
    assert results(cell) == ["42"]
    assert text(cell).count("No MLflow server is connected; the run is kept on this computer") == 1
    assert "1 run waits" in text(status)


def test_unloading_takes_everything_out_again(run_notebook: Run) -> None:
    run_notebook(
        "ip = get_ipython()\n"
        "def state():\n"
        "    return (list(ip.input_transformers_cleanup), list(ip.ast_transformers),\n"
        "            [list(hooks) for hooks in ip.events.callbacks.values()],\n"
        "            sorted(ip.magics_manager.magics['line']), sorted(ip.magics_manager.magics['cell']))\n"
        "before = state()",
        "%load_ext mlops_lab",
        "assert state() != before",
        "%unload_ext mlops_lab",
        "assert state() == before",
    )

"""The user's own `mlflow.*` calls in a block: they land in its run, or in one of their own; they never end the cell."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_lab import wire
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import Run, recording, sync, track
from mlops_lab.tracking.fluent import bindings as fluent
from mlops_lab.tracking.journal import folders, segments
from mlops_lab.tracking.model import Artifact, Metric, Param, Tag
from tests.jupyter_servers import free_port
from tests.mlflow_servers import MlflowServer
from tests.unit.test_tracking_block import history, params, tags


def run_program(program: str, experiment: str, **environment: str) -> list[str]:
    """Run `program` in a process of its own and give the words it printed behind RUN."""
    text = f"import os, mlops_lab\nEXPERIMENT = {experiment!r}\n{program}"
    env = {name: value for name, value in {**os.environ, **environment}.items() if value}
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=False, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [word for line in done.stdout.splitlines() if line.startswith("RUN ") for word in line.split()[1:]]


def runs_in(server: TrackingServer, experiment: str) -> list[dict[str, Any]]:
    found = server.experiment_by_name(experiment)
    assert found is not None
    return list(server.search_runs([found["experiment_id"]])["runs"])


@pytest.mark.parametrize("before", ["", "import mlflow"])
def test_mlflow_finds_the_server_that_only_mlops_lab_knows_of(
    server: TrackingServer, experiment: str, tmp_path: Path, before: str
) -> None:
    # As with the embedded server under nbclient or VS Code: no variable names it, a session file does.
    from mlops_lab.connection.session import Session, write_session

    session = tmp_path / "session.json"
    write_session(session, Session(uri=server.uri))
    program = f"""
{before}
with mlops_lab.track(experiment=EXPERIMENT) as run:
    import mlflow
    mlflow.log_metric("mine", 3.0)
assert mlflow.active_run() is None
left = [name for name in os.environ if name.startswith("MLFLOW_") and name != "MLFLOW_DISABLE_TELEMETRY"]
assert left == [], left
print("RUN", run.run_id)
"""
    (run_id,) = run_program(program, experiment, MLFLOW_TRACKING_URI="", MLOPS_LAB_SESSION=str(session))
    assert history(server, run_id, "mine") == [(0, 3.0)]


def test_mlflow_is_as_it_was_after_the_block(server: TrackingServer, experiment: str) -> None:
    program = """
import mlflow, mlflow.tracking.fluent as fluent
from mlflow.tracking._tracking_service import utils
def state():
    names = ("start_run", "active_run", "_get_or_start_run", "log_metric", "log_metrics")
    held = [vars(module).get(name) for module in (mlflow, fluent) for name in names]
    client = (mlflow.MlflowClient.list_artifacts, mlflow.MlflowClient.download_artifacts)
    return [*held, *client, utils._artifact_repos_cache, vars(utils._tracking_store_registry).get("get_store")]
before = state()
with mlops_lab.track(experiment=EXPERIMENT) as outer:
    with mlops_lab.track(experiment=EXPERIMENT) as inner:
        mlflow.log_metric("in", 1.0)
    mlflow.log_metric("out", 2.0)
assert all(one is other for one, other in zip(state(), before, strict=True))
assert "MLFLOW_RUN_ID" not in os.environ
print("RUN", outer.run_id, inner.run_id)
"""
    outer, inner = run_program(program, experiment)
    assert history(server, inner, "in") == [(0, 1.0)]
    assert history(server, outer, "out") == [(0, 2.0)]


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow in this process, which nobody has told of an experiment or a server, in a folder of its own."""
    import mlflow
    from mlflow.tracking import fluent

    monkeypatch.chdir(tmp_path)
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(None)
    fluent._active_experiment_id = None
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes every connection and answers none."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def journaled(run: Run) -> tuple[list[tuple[str, int, float]], dict[str, str], dict[str, str], list[str]]:
    """Points, params, tags and artifacts as they stand in the run's journal."""
    records = [record for record, _ in segments.read(run.folder)]
    points = [(r.key, r.step, wire.from_number(r.value)) for r in records if isinstance(r, Metric)]
    files = [f"{r.folder}/{r.name}".lstrip("/") for r in records if isinstance(r, Artifact)]
    settings = {r.key: r.value for r in records if isinstance(r, Param)}
    return points, settings, {r.key: r.value for r in records if isinstance(r, Tag)}, files


def artifacts(server: TrackingServer, run_id: str, path: str = "") -> set[str]:
    found: set[str] = set()
    for entry in server.list_artifacts(run_id, path):
        found |= artifacts(server, run_id, entry["path"]) if entry["is_dir"] else {entry["path"]}
    return found


def test_a_run_that_is_begun_in_another_experiment_is_a_child_of_ours_and_ends_nothing(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    with track(experiment=experiment) as run:
        chosen = mlflow.set_experiment(f"{experiment}-own")
        with mlflow.start_run(run_name="mine", experiment_id=chosen.experiment_id) as own:
            mlflow.log_metric("a", 1.0)
        run.log_metric("b", 2.0)
    assert any("another experiment" in notice for notice in run.notices)
    assert run.run_id
    assert history(server, own.info.run_id, "a") == [(0, 1.0)]
    assert tags(server.get_run(own.info.run_id))["mlflow.parentRunId"] == run.run_id
    assert server.get_run(run.run_id)["info"]["status"] == "FINISHED"
    assert history(server, run.run_id, "b") == [(1, 2.0)]
    assert [item["info"]["run_id"] for item in runs_in(server, f"{experiment}-own")] == [own.info.run_id]


def test_an_experiment_that_is_set_moves_nothing_and_the_person_reads_how_to_choose_it(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    mine = f"{experiment}-mine"
    sentence = (
        f"mlflow.set_experiment('{mine}') is not followed inside a tracked block, whose run is in the experiment "
        f"'{experiment}'; use --experiment {mine}."
    )
    with track(experiment=experiment, run_name="a") as first:
        mlflow.set_experiment(mine)
        with mlflow.start_run(run_name="b") as started:
            mlflow.log_metric("a", 1.0)
        mlflow.log_metric("after", 2.0)
    assert started.info.run_id == first.run_id
    assert first.notices.count(sentence) == 1
    assert first.run_id
    assert history(server, first.run_id, "a") == [(0, 1.0)]
    assert history(server, first.run_id, "after") == [(0, 2.0)]
    assert server.get_run(first.run_id)["info"]["run_name"] == first.name == first.progress().name == "b"

    assert fluent.chosen_experiment(ask=False) == mine  # known without asking, for a block that has no other choice
    with track(experiment=experiment) as second:
        mlflow.log_metric("a", 3.0)
    assert second.notices == [sentence]
    with track(experiment=mine) as third, mlflow.start_run() as started:
        mlflow.log_metric("a", 4.0)
    assert (started.info.run_id, third.notices) == (third.run_id, [])
    with track(experiment=experiment) as fourth:
        mlflow.set_experiment(f"{mine}-2")  # and MLflow is told nothing else
    assert any(f"set_experiment('{mine}-2') is not followed" in notice for notice in fourth.notices)
    assert len(runs_in(server, experiment)) == 3
    assert len(runs_in(server, mine)) == 1


def test_the_experiment_that_was_set_before_a_block_has_a_name_unless_its_server_is_silent(
    server: TrackingServer, experiment: str, mlflow: Any, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    assert fluent.chosen_experiment() is None
    mlflow.set_experiment(experiment)
    assert fluent.chosen_experiment(ask=False) is None
    assert fluent.chosen_experiment() == experiment == fluent.chosen_experiment(ask=False)
    monkeypatch.setattr(fluent, "NAME_ANSWER", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server)
    assert fluent.chosen_experiment() is None


def test_the_runs_of_a_search_are_numbered_and_say_where_their_code_is(
    server: TrackingServer, experiment: str, mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with track(experiment=experiment, run_name="grid") as run:
        # What MLflow by itself calls the source in a notebook.
        monkeypatch.setattr(sys, "argv", ["/opt/conda/ipykernel_launcher.py"])
        for _ in range(2):
            with mlflow.start_run(nested=True):
                pass
        own = {"mlflow.source.name": "search.py"}
        with mlflow.start_run(nested=True, run_name="named", tags=own):
            pass
        # As MLflow's autologging begins the trials of scikit-learn's searches.
        client, place = mlflow.MlflowClient(), runs_in(server, experiment)[0]["info"]["experiment_id"]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: client.create_run(place), range(4)))
    stored = {item["info"]["run_name"]: tags(item) for item in runs_in(server, experiment)}
    assert set(stored) == {"grid", "named", *(f"grid-{number}" for number in range(1, 7))}
    assert stored["named"]["mlflow.source.name"] == "search.py"
    ours = stored["grid"]["mlflow.source.name"]
    assert {stored[f"grid-{number}"]["mlflow.source.name"] for number in range(1, 7)} == {ours}
    assert run.status == "FINISHED"


def test_calls_after_a_finished_start_run_still_land_in_our_run_and_the_next_block_is_clean(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    with track(experiment=experiment) as first:
        with mlflow.start_run():
            mlflow.log_metric("a", 1.0)
        mlflow.log_metric("b", 2.0)
    assert mlflow.active_run() is None
    with track(experiment=experiment) as second:
        mlflow.log_metric("c", 3.0)
    assert first.run_id
    assert second.run_id
    assert (history(server, first.run_id, "a"), history(server, first.run_id, "b")) == ([(0, 1.0)], [(0, 2.0)])
    assert history(server, second.run_id, "c") == [(0, 3.0)]
    assert len(runs_in(server, experiment)) == 2


def test_every_further_start_run_of_a_block_is_a_run_of_its_own(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    with track(experiment=experiment) as run:
        for lr in (0.1, 0.01, 0.001):
            with mlflow.start_run():
                mlflow.log_param("lr", lr)
    stored = {item["info"]["run_id"]: item for item in runs_in(server, experiment)}
    assert params(stored.pop(run.run_id or ""))["lr"] == "0.1"
    assert {params(item)["lr"] for item in stored.values()} == {"0.01", "0.001"}


def test_a_nested_run_left_open_ends_with_the_block(server: TrackingServer, experiment: str, mlflow: Any) -> None:
    with track(experiment=experiment):
        mlflow.log_metric("a", 1.0)
        nested = mlflow.start_run(nested=True)
        mlflow.log_metric("n", 2.0)
        mlflow.log_text("of the nested run", "note.txt")
    assert mlflow.active_run() is None
    assert history(server, nested.info.run_id, "n") == [(0, 2.0)]
    assert artifacts(server, nested.info.run_id) >= {"note.txt"}
    assert server.get_run(nested.info.run_id)["info"]["status"] == "FINISHED"


def test_a_run_that_the_user_opened_before_the_block_stays_theirs_and_open(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    mlflow.set_experiment(experiment)
    own = mlflow.start_run()
    with track(experiment=experiment) as run:
        mlflow.log_metric("a", 1.0)
    assert mlflow.active_run().info.run_id == own.info.run_id != run.run_id
    assert history(server, own.info.run_id, "a") == [(0, 1.0)]


def test_a_store_of_the_users_choice_is_left_alone(
    server: TrackingServer, experiment: str, mlflow: Any, tmp_path: Path
) -> None:
    with track(experiment=experiment) as run:
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/own.db")
        mlflow.log_metric("a", 1.0)
    assert any("another server" in notice for notice in run.notices)
    assert run.run_id
    stored = server.get_run(run.run_id)
    assert stored["info"]["status"] == "FINISHED"
    assert "a" not in {metric["key"] for metric in stored["data"].get("metrics", [])}


def test_every_kind_of_call_lands_once_in_the_blocks_run(
    server: TrackingServer, experiment: str, mlflow: Any, tmp_path: Path
) -> None:
    import matplotlib.figure
    import numpy as np

    client = mlflow.MlflowClient()
    note = tmp_path / "note.txt"
    note.write_text("by hand")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "deep.txt").write_text("deep")
    with track(experiment=experiment) as run:
        active = mlflow.active_run()
        assert active.info.run_id == run.run_id
        mlflow.log_metric("a", 1.0)
        mlflow.log_metric("a", np.float32(0.5), step=7)
        mlflow.log_metrics({"b": 2.0, "c": float("nan")}, step=3)
        assert mlflow.log_metric("d", 4.0, synchronous=False).wait() is None
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"epochs": 4, "loss": "dice"})
        mlflow.set_tag("site", "north")
        mlflow.set_tags({"phase": "pilot"})
        mlflow.log_text("free text", "texts/free.txt")
        mlflow.log_dict({"k": [1]}, "config.json")
        mlflow.log_figure(matplotlib.figure.Figure(), "figure.png")
        mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "image.png")
        mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), key="slice", step=2, synchronous=False)
        mlflow.log_artifact(str(note), "notes")
        mlflow.log_artifacts(str(tmp_path / "folder"), "all")
        mlflow.log_table({"case": ["a"], "dice": [0.8]}, "cases/table.json")
        mlflow.log_table({"case": ["b"], "dice": [0.9]}, "cases/table.json")
        mlflow.log_input(mlflow.data.from_numpy(np.zeros(3), name="zeros"), context="training")
        client.log_metric(run.run_id, "e", 5.0, step=1)
        client.log_batch(run.run_id, metrics=[mlflow.entities.Metric("f", 6.0, 0, 2)])
        client.set_terminated(run.run_id)  # the block's run ends with the block
        with mlflow.start_run(run_name="renamed", tags={"who": "me"}, description="why") as started:
            assert started.info.run_id == run.run_id
            mlflow.log_metric("g", 7.0)
    assert run.run_id
    assert run.progress().waiting == 0
    stored = server.get_run(run.run_id)
    assert stored["info"]["status"] == "FINISHED"
    assert stored["info"]["run_name"] == "renamed"
    assert [history(server, run.run_id, key) for key in "abdefg"] == [
        [(0, 1.0), (7, 0.5)],
        [(3, 2.0)],
        [(0, 4.0)],
        [(1, 5.0)],
        [(2, 6.0)],
        [(0, 7.0)],
    ]
    assert [step for step, _ in history(server, run.run_id, "c")] == [3]
    assert {key: params(stored)[key] for key in ("lr", "epochs", "loss")} == {
        "lr": "0.1",
        "epochs": "4",
        "loss": "dice",
    }
    kept = tags(stored)
    assert (kept["site"], kept["phase"], kept["who"], kept["mlflow.note.content"]) == ("north", "pilot", "me", "why")
    assert stored["inputs"]["dataset_inputs"][0]["dataset"]["name"] == "zeros"
    found = artifacts(server, run.run_id)
    wanted = {"texts/free.txt", "config.json", "figure.png", "image.png", "notes/note.txt", "all/inner/deep.txt"}
    assert wanted <= found
    assert sum(name.startswith("images/slice") for name in found) == 2
    table = tmp_path / "table.json"
    server.download_artifact(run.run_id, "cases/table.json", table)
    assert json.loads(table.read_text())["data"] == [["a", 0.8], ["b", 0.9]]
    assert len(runs_in(server, experiment)) == 1


def test_what_was_just_logged_can_be_read_in_the_same_cell(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    with track(experiment=experiment) as run:
        for step in range(30):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        client = mlflow.MlflowClient()
        assert len(client.get_metric_history(run.run_id, "loss")) == 30
        assert mlflow.get_run(run.run_id).data.metrics["loss"] == 1.0 / 30
        assert mlflow.get_artifact_uri().startswith("mlflow-artifacts:")


def test_offline_a_cell_full_of_mlflow_runs_through_and_everything_waits_here(
    server: TrackingServer, experiment: str, mlflow: Any, tmp_path: Path
) -> None:
    with track(experiment=experiment, offline=True) as run:
        mlflow.set_experiment(experiment)
        with mlflow.start_run() as started:
            assert started.info.run_id == run.key == mlflow.active_run().info.run_id
            mlflow.log_metric("a", 1.0, step=1)
            mlflow.log_param("lr", 0.1)
            mlflow.log_text("free", "free.txt")
            mlflow.log_table({"case": ["a"]}, "table.json")
            mlflow.log_table({"case": ["b"]}, "table.json")
        assert [point.value for point in mlflow.MlflowClient().get_metric_history(run.key, "a")] == [1.0]
        assert mlflow.get_run(run.key).info.run_name == run.name
        mlflow.pyfunc.log_model(name="model", python_model=lambda model_input: model_input, pip_requirements=[])
        chosen = mlflow.set_experiment(f"{experiment}-other")
        with mlflow.start_run(experiment_id=chosen.experiment_id) as below:
            mlflow.log_metric("b", 2.0)
    assert mlflow.tracking.fluent._active_experiment_id is None
    points, settings, _, files = journaled(run)
    assert [point for point in points if not point[0].startswith("system/")] == [("a", 1, 1.0)]
    assert settings["lr"] == "0.1"
    assert {"free.txt", "table.json", "model/MLmodel"} <= set(files)
    assert server.experiment_by_name(experiment) is None
    assert server.experiment_by_name(f"{experiment}-other") is None
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlruns").exists()
    assert [sent.status for sent in sync().runs] == ["sent", "sent"]
    (ours,) = runs_in(server, experiment)
    (other,) = runs_in(server, f"{experiment}-other")
    assert history(server, ours["info"]["run_id"], "a") == [(1, 1.0)]
    assert history(server, other["info"]["run_id"], "b") == [(0, 2.0)]
    assert "model/MLmodel" in artifacts(server, ours["info"]["run_id"])
    assert tags(other)["mlops_lab.run_key"] == below.info.run_id
    assert tags(other)["mlflow.parentRunId"] == ours["info"]["run_id"]


def test_without_any_server_mlflow_makes_no_database_in_the_users_folder(
    mlops_home: Path, mlflow: Any, tmp_path: Path
) -> None:
    with track(experiment="nowhere") as run:
        mlflow.set_experiment("nowhere")
        with mlflow.start_run():
            mlflow.log_metric("a", 1.0)
        mlflow.log_metric("b", 2.0)
    points = [point for point in journaled(run)[0] if not point[0].startswith("system/")]
    assert points == [("a", 0, 1.0), ("b", 0, 2.0)]
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_a_server_that_does_not_answer_keeps_no_call_waiting(
    mlops_home: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch, silent_server: str, kind: str
) -> None:
    # One call that waited for it would take five seconds; there are four hundred.
    monkeypatch.setattr(fluent, "LAST_ANSWER", 0.5)
    monkeypatch.setattr(recording, "LAST_ANSWER", 0.5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server if kind == "silent" else f"http://127.0.0.1:{free_port()}")
    with track(experiment="away") as run:
        mlflow.set_experiment("away")
        with mlflow.start_run() as started:
            assert started.info.run_id == run.key
            for step in range(100):
                mlflow.log_metric("a", step, step=step)
                mlflow.log_param(f"p{step}", step)
                mlflow.log_text("text", f"{step}.txt")
                mlflow.MlflowClient().set_tag(run.key, f"t{step}", step)
        for _ in range(3):
            with mlflow.start_run(nested=True):
                mlflow.log_metric("n", 1.0)
    points, settings, marks, files = journaled(run)
    assert [value for key, _, value in points if key == "a"] == list(range(100))
    assert {f"{step}.txt" for step in range(100)} <= set(files)
    assert {"p99"} <= set(settings)
    assert {"t99"} <= set(marks)
    assert len(list(folders.journals().iterdir())) == 4


def test_a_server_that_dies_in_the_middle_gets_everything_once_when_it_is_back(
    mlops_home: Path,
    mlflow: Any,
    monkeypatch: pytest.MonkeyPatch,
    group_server: MlflowServer,
    experiment: str,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", group_server.uri)
    monkeypatch.setattr(fluent, "LAST_ANSWER", 0.5)
    monkeypatch.setattr(recording, "LAST_ANSWER", 0.5)
    with track(experiment=experiment) as run:
        with mlflow.start_run():
            for step in range(20):
                if step == 10:
                    group_server.stop()
                mlflow.log_metric("a", step, step=step)
                mlflow.log_text(str(step), f"{step}.txt")
                mlflow.log_table({"step": [step]}, "steps.json")
        logged = mlflow.pyfunc.log_model(
            name="net", python_model=lambda model_input: model_input, pip_requirements=[], registered_model_name="net"
        )
        mlflow.register_model(logged.model_uri, "net")
        chosen = mlflow.set_experiment(f"{experiment}-late")
        with mlflow.start_run(experiment_id=chosen.experiment_id):
            mlflow.log_metric("b", 1.0)
    assert run.status == "FINISHED"
    group_server.start()
    sync()
    server = TrackingServer(group_server.uri)
    assert run.run_id
    assert history(server, run.run_id, "a") == [(step, float(step)) for step in range(20)]
    assert artifacts(server, run.run_id) >= {"net/MLmodel", *(f"{step}.txt" for step in range(20))}
    table = server.download_artifact(run.run_id, "steps.json", tmp_path / "steps.json")
    assert json.loads(table.read_text())["data"] == [[step] for step in range(20)]
    assert any("net is kept among the run's files" in notice for notice in run.notices)
    assert any("not registered as net" in notice for notice in run.notices)
    (late,) = runs_in(server, f"{experiment}-late")
    assert history(server, late["info"]["run_id"], "b") == [(0, 1.0)]
    assert tags(late)["mlflow.parentRunId"] == run.run_id
    server.close()


def test_the_second_value_of_a_param_is_named_and_refused_here(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    with track(experiment=experiment) as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_param("lr", 0.1)
        mlflow.log_param("lr", 0.01)
        mlflow.log_metric("after", 1.0)
    assert run.run_id
    assert params(server.get_run(run.run_id))["lr"] == "0.1"
    assert history(server, run.run_id, "after") == [(0, 1.0)]
    assert any("keeps the first: lr = 0.1." in notice for notice in run.notices)
    assert not any("refused" in notice for notice in run.progress().notices)


def test_a_series_of_the_loop_and_what_the_user_logs_under_its_name_are_two_series(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    import torch

    weight = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with track(experiment=experiment) as run:
        for epoch in range(2):
            for _ in range(3):
                loss = weight.sum()
                loss.backward()
                optimizer.step()
            mlflow.log_metric("train_loss", 10.0 + epoch, step=epoch)
    assert run.run_id
    assert history(server, run.run_id, "train_loss") == [(step, 1.0) for step in range(1, 7)]
    assert history(server, run.run_id, "train_loss_logged") == [(0, 10.0), (1, 11.0)]
    assert any("train_loss_logged" in notice for notice in run.notices)


def test_what_is_captured_in_a_nested_run_belongs_to_it(server: TrackingServer, experiment: str, mlflow: Any) -> None:
    import torch

    weight = torch.tensor([2.0], requires_grad=True)
    with track(experiment=experiment) as run:
        (weight * 1.0).sum().backward()
        with mlflow.start_run(nested=True, run_name="trial") as trial:
            (weight * 3.0).sum().backward()
        (weight * 1.0).sum().backward()
    assert run.run_id
    assert [value for _, value in history(server, run.run_id, "train_loss")] == [2.0, 2.0]
    assert [value for _, value in history(server, trial.info.run_id, "train_loss")] == [6.0]
    nested = server.get_run(trial.info.run_id)
    assert (nested["info"]["run_name"], nested["info"]["status"]) == ("trial", "FINISHED")
    assert tags(nested)["mlflow.parentRunId"] == run.run_id


def test_a_failed_trial_is_failed_and_the_sweep_goes_on(server: TrackingServer, experiment: str, mlflow: Any) -> None:
    with track(experiment=experiment) as run:
        for lr in (0.1, 10.0):
            try:
                with mlflow.start_run(nested=True):
                    mlflow.log_param("lr", lr)
                    if lr > 1:
                        raise ZeroDivisionError("diverged")
            except ZeroDivisionError:
                pass
    trials = [item for item in runs_in(server, experiment) if item["info"]["run_id"] != run.run_id]
    assert {params(item)["lr"]: item["info"]["status"] for item in trials} == {"0.1": "FINISHED", "10.0": "FAILED"}
    assert run.status == "FINISHED"


def test_calls_from_another_thread_mean_the_block_too(server: TrackingServer, experiment: str, mlflow: Any) -> None:
    from threading import Thread

    with track(experiment=experiment) as run:
        thread = Thread(target=mlflow.log_metric, args=("from_thread", 1.0))
        thread.start()
        thread.join()
    assert run.run_id
    assert history(server, run.run_id, "from_thread") == [(0, 1.0)]
    assert len(runs_in(server, experiment)) == 1


def test_a_model_goes_to_the_server_without_identifiers_and_belongs_to_the_run(
    server: TrackingServer, experiment: str, mlflow: Any
) -> None:
    with track(experiment=experiment) as run:
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=lambda model_input: model_input,
            pip_requirements=[],
            metadata={"asked": "NHS number: 943 476 5919"},
            params={"asked": "jane.doe@hospital.example"},
        )
        mlflow.log_metric("a", 1.0)
        with mlflow.start_run(run_name="trial of NHS number 943 476 5919") as trial:
            mlflow.log_metric("b", 1.0)
    found = mlflow.MlflowClient().get_logged_model(logged.model_id)
    assert found.source_run_id == run.run_id
    assert found.params["asked"] == "<email>"
    assert "943 476 5919" not in Path(mlflow.artifacts.download_artifacts(logged.model_uri), "MLmodel").read_text()
    assert "943 476 5919" not in server.get_run(trial.info.run_id)["info"]["run_name"]
    assert run.run_id
    assert history(server, run.run_id, "a") == [(0, 1.0)]

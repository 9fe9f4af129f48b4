"""The REST client against a real MLflow server."""

from __future__ import annotations

import math
import os
import threading
import time
import uuid
from pathlib import Path

import httpx
import pytest

from mlops_lab.connection.check import check_login
from mlops_lab.connection.errors import Refused
from mlops_lab.connection.model import LoginRequest
from mlops_lab.connection.rest import MAX_RUNS_PER_PAGE, TrackingServer


@pytest.fixture
def server(mlflow_server: str) -> TrackingServer:
    return TrackingServer(mlflow_server)


@pytest.fixture
def experiment(server: TrackingServer) -> str:
    return server.create_experiment(f"rest {uuid.uuid4().hex}")


@pytest.fixture
def run_id(server: TrackingServer, experiment: str) -> str:
    return str(server.create_run(experiment, run_name="first")["info"]["run_id"])


def metric(key: str, value: float, step: int = 0) -> dict[str, object]:
    return {"key": key, "value": value, "timestamp": 1_700_000_000_000 + step, "step": step}


def test_a_server_without_users_is_known_by_its_version(mlflow_server: str, server: TrackingServer) -> None:
    session = check_login(LoginRequest(mlflow_server + "/#/experiments"))
    assert (session.uri, session.user) == (mlflow_server, None)
    assert session.server_version == server.version()
    assert session.server_version is not None
    assert server.whoami() is None


def test_a_password_for_a_server_that_asks_for_none_is_accepted(mlflow_server: str) -> None:
    assert check_login(LoginRequest(mlflow_server, "basic", "anna", "secret")).user == "anna"


def test_nan_and_the_infinities_come_back_as_they_were_sent(server: TrackingServer, run_id: str) -> None:
    sent = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "dice": 0.25, "large": 1e308, "zero": 0.0}
    server.log_batch(run_id, [metric(key, value) for key, value in sent.items()])
    [found] = server.search_runs([server.get_run(run_id)["info"]["experiment_id"]])["runs"]
    for run in (server.get_run(run_id), found):
        read = {entry["key"]: entry["value"] for entry in run["data"]["metrics"]}
        assert math.isnan(read.pop("nan"))
        assert read == {key: value for key, value in sent.items() if key != "nan"}
    for key, value in sent.items():
        [point] = server.metric_history_bulk([run_id], key)
        assert point["value"] == value or (math.isnan(point["value"]) and math.isnan(value))
        assert isinstance(point["value"], float)


def test_a_batch_that_is_repeated_stores_each_point_once(server: TrackingServer, run_id: str) -> None:
    points = [metric("loss", 1 / (step + 1), step) for step in range(998)]
    for _ in range(2):
        server.log_batch(run_id, points, params={"epochs": "5"}, tags={"key": "value"})
    history = server.metric_history_bulk([run_id], "loss", max_results=2500)
    assert [point["step"] for point in history] == list(range(998))
    sampled = server.metric_history_bulk([run_id], "loss", max_results=50)
    assert 2 <= len(sampled) < 150
    assert sampled[-1]["step"] == 997
    run = server.get_run(run_id)["data"]
    assert run["params"] == [{"key": "epochs", "value": "5"}]
    assert {"key": "key", "value": "value"} in run["tags"]


def test_what_is_not_there_is_found_as_nothing(server: TrackingServer, experiment: str) -> None:
    assert server.experiment_by_name("no such experiment") is None
    assert server.find_run([experiment], "mlops_lab.run_key", "none") is None
    with pytest.raises(Refused) as caught:
        server.get_run("0" * 32)
    assert (caught.value.error_code, caught.value.status) == ("RESOURCE_DOES_NOT_EXIST", 404)


def test_a_run_is_found_by_our_key_and_closed_by_its_id(server: TrackingServer, experiment: str) -> None:
    key = f"it's {uuid.uuid4().hex}"
    before = int(time.time() * 1000)
    created = server.create_run(experiment, run_name="Ärztin 🧠", tags={"mlops_lab.run_key": key})
    assert before <= created["info"]["start_time"] <= int(time.time() * 1000)
    server.update_run(created["info"]["run_id"], status="FAILED", end_time=before + 5)
    found = server.find_run([experiment], "mlops_lab.run_key", key)
    assert found is not None
    info = found["info"]
    assert (info["run_id"], info["run_name"]) == (created["info"]["run_id"], "Ärztin 🧠")
    assert (info["status"], info["end_time"]) == ("FAILED", before + 5)


def test_two_who_ask_for_one_experiment_get_the_same(server: TrackingServer) -> None:
    name = f"shared {uuid.uuid4().hex}"
    found: list[str] = []
    together = threading.Barrier(4)

    def ask() -> None:
        together.wait()
        found.append(server.ensure_experiment(name))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert server.experiment_by_name(name) is not None


def test_a_deleted_experiment_is_refused_with_a_way_out(server: TrackingServer) -> None:
    name = f"deleted {uuid.uuid4().hex}"
    server.post("experiments/delete", {"experiment_id": server.create_experiment(name)})
    with pytest.raises(Refused) as caught:
        server.ensure_experiment(name)
    assert "Restore it" in caught.value.hint
    assert name not in [found["name"] for found in server.search_experiments()]


def test_runs_come_in_pages_of_at_most_a_hundred(server: TrackingServer, experiment: str) -> None:
    made = {server.create_run(experiment, run_name=f"{n}")["info"]["run_id"] for n in range(7)}
    pages, token = [], None
    while True:
        page = server.search_runs([experiment], max_results=3, page_token=token)
        pages.append([run["info"]["run_id"] for run in page["runs"]])
        token = page.get("next_page_token")
        if not token:
            break
    assert [len(page) for page in pages] == [3, 3, 1]
    assert {run for page in pages for run in page} == made
    assert len(server.search_runs([experiment], max_results=100_000)["runs"]) == 7 <= MAX_RUNS_PER_PAGE


def test_one_bad_entry_refuses_the_batch_and_names_it(server: TrackingServer, run_id: str) -> None:
    with pytest.raises(Refused) as caught:
        server.log_batch(run_id, [metric("good", 1.0), metric("bad\nname", 1.0)])
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "bad" in caught.value.message
    assert server.metric_history_bulk([run_id], "good") == []


def test_dataset_inputs_are_recorded(server: TrackingServer, run_id: str) -> None:
    dataset = {"name": "brain", "digest": "a" * 36, "source_type": "dvc", "source": "{}"}
    server.log_inputs(run_id, [{"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "train"}]}])
    [recorded] = server.get_run(run_id)["inputs"]["dataset_inputs"]
    assert recorded["dataset"]["digest"] == "a" * 36


def test_files_and_folders_go_up_and_come_back_byte_by_byte(
    server: TrackingServer, run_id: str, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "up" / "sub dir").mkdir(parents=True)
    (tmp_path / "up" / "model 100%.pt").write_bytes(content)
    (tmp_path / "up" / "sub dir" / "größe ü+1.txt").write_bytes(b"")
    assert server.upload_artifact(run_id, tmp_path / "up", "models") == "models"
    assert server.upload_artifact(run_id, tmp_path / "up" / "model 100%.pt") == "model 100%.pt"
    assert {file["path"] for file in server.list_artifacts(run_id)} == {"models", "model 100%.pt"}
    uri = server.get_run(run_id)["info"]["artifact_uri"]
    for place in (run_id, uri):
        target = tmp_path / f"down {len(place)}"
        target.mkdir()
        path = server.download_artifact(place, "models/model 100%.pt", target)
        assert path == target / "model 100%.pt"
        assert path.read_bytes() == content
    empty = server.download_artifact(run_id, "models/sub dir/größe ü+1.txt", tmp_path / "new" / "empty.txt")
    assert empty.read_bytes() == b""


def test_a_file_that_the_run_does_not_have_is_refused_and_leaves_nothing(
    server: TrackingServer, run_id: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused):
        server.download_artifact(run_id, "no/such.txt", tmp_path / "x.txt")
    with pytest.raises(Refused):
        server.upload_artifact(run_id, tmp_path / "missing.txt")
    (tmp_path / "patient #7.txt").touch()
    with pytest.raises(Refused, match="no file name with '#'"):
        server.upload_artifact(run_id, tmp_path / "patient #7.txt")
    (tmp_path / "patient #7.txt").unlink()
    for outside in ("../x.txt", "a/../../x.txt"):
        with pytest.raises(Refused):
            server.download_artifact(run_id, outside, tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_the_server_does_not_proxy_is_reached_through_mlflow(
    server: TrackingServer, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    (tmp_path / "report.txt").write_text("fine")
    assert server.upload_artifact(store.as_uri(), tmp_path / "report.txt", "reports") == "reports/report.txt"
    assert (store / "reports" / "report.txt").read_text() == "fine"
    assert server.download_artifact(store.as_uri(), "reports/report.txt", tmp_path / "back.txt").read_text() == "fine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.txt", "report.txt", "store"]


def test_the_server_would_refuse_the_origin_header_that_we_leave_out(server: TrackingServer, experiment: str) -> None:
    body = {"experiment_id": experiment, "start_time": 1}
    url = server.url("runs/create")
    assert httpx.post(url, json=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert server.post("runs/create", body)["run"]["info"]["experiment_id"] == experiment


def test_threads_share_one_client(server: TrackingServer, experiment: str) -> None:
    names: list[str] = []

    def work(n: int) -> None:
        run = server.create_run(experiment, run_name=f"thread {n}")
        server.log_batch(run["info"]["run_id"], [metric("n", float(n))])
        names.append(server.get_run(run["info"]["run_id"])["info"]["run_name"])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == [f"thread {n}" for n in range(8)]

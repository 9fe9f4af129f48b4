"""Runs that wait on this computer, through the panel's API: the list, what would be sent of one, and sending it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import track
from tests.jupyter_servers import JupyterServer, StartJupyter


@pytest.fixture
def jupyter(start_jupyter: StartJupyter, mlops_home: Path, tmp_path: Path) -> JupyterServer:
    (tmp_path / "work").mkdir()
    return start_jupyter(tmp_path / "work", home=mlops_home)


def when_sent(jupyter: JupyterServer) -> dict[str, Any]:
    """Ask as the panel does until nothing is on its way."""
    limit = time.monotonic() + 60
    while (state := jupyter.json("GET", "waiting"))["sending"]:
        assert time.monotonic() < limit
        time.sleep(0.2)
    found: dict[str, Any] = state
    return found


def test_a_run_that_waits_is_listed_looked_at_and_sent_by_itself(
    jupyter: JupyterServer, mlflow_server: str, tmp_path: Path
) -> None:
    assert jupyter.json("GET", "waiting") == {"runs": [], "sending": False, "report": None, "problem": None}

    experiment = tmp_path.name
    for name in ("first", "second"):
        with track(experiment, name, offline=True, params={"lr": 0.1}) as run:
            run.log_metric("loss", float("nan"))
            run.log_text("remark", "notes/remark.txt")
    first, second = jupyter.json("GET", "waiting")["runs"]
    assert (first["name"], first["experiment"], first["offline"], first["reason"]) == ("first", experiment, True, "")
    assert first["started"] <= second["started"] <= time.time() * 1000

    preview = jupyter.json("GET", f"waiting/preview?run={first['run_key']}")
    assert (preview["name"], preview["state"], preview["server"]) == ("first", "FINISHED", "")
    assert preview["params"]["lr"] == "0.1"
    assert {"name": "loss", "points": 1, "last": "NaN"} in preview["metrics"]
    remark = next(file for file in preview["files"] if file["name"] == "notes/remark.txt")
    assert remark["size"] == 6
    assert Path(remark["path"]).read_text() == "remark"

    refused = jupyter.request("POST", "waiting", json={"runs": [first["run_key"]]})
    assert refused.json()["code"] == "not_connected"
    assert jupyter.request("POST", "waiting", json={"runs": ["--help"]}).json()["code"] == "bad_request"
    assert jupyter.request("POST", "waiting", json={"run": "x"}).json()["code"] == "bad_request"
    assert not jupyter.json("GET", "waiting")["sending"]

    jupyter.json("POST", "connection", json={"uri": mlflow_server})
    assert jupyter.json("POST", "waiting", json={"runs": [second["run_key"]]})["sending"]
    state = when_sent(jupyter)
    assert [(run["name"], run["status"]) for run in state["report"]["runs"]] == [("second", "sent")]
    assert [run["name"] for run in state["runs"]] == ["first"]
    server = TrackingServer(mlflow_server)
    found = server.experiment_by_name(experiment)
    assert found
    assert [run["info"]["run_name"] for run in server.search_runs([found["experiment_id"]])["runs"]] == ["second"]

    gone = jupyter.request("GET", f"waiting/preview?run={second['run_key']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "no_such_run")

    jupyter.json("POST", "waiting", json={})
    state = when_sent(jupyter)
    assert (state["runs"], state["report"]["runs"][0]["name"]) == ([], "first")
    server.close()

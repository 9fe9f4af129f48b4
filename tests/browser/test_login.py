"""Logging in from the panel: what a wrong word, a wrong address and a dead server look like, and where secrets are."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest
from playwright.sync_api import expect

from mlops_lab.connection.rest import TrackingServer
from tests.browser.pages import Lab
from tests.jupyter_servers import JupyterServer, free_port
from tests.mlflow_servers import ADMIN, ANNA, MlflowServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("states")]


def test_a_password_reaches_the_server_and_no_other_place(
    shared_lab: Lab, accounts: str, shared_jupyter: JupyterServer
) -> None:
    lab = shared_lab
    lab.open("demo", fresh=True)
    lab.open_panel()
    lab.new_notebook()

    lab.log_in(accounts, "anna", "a-wrong-password")
    refusal = lab.part("login").get_by_test_id("mlops-error")
    expect(refusal).to_contain_text("did not accept")
    expect(lab.part("login").get_by_label("Password", exact=True)).to_have_value("")
    lab.picture("login-refused")

    lab.log_in(accounts, "anna", ANNA)
    expect(lab.part("connected")).to_contain_text("anna (password)")
    lab.picture("login-with-a-name")

    lab.run_cell("%load_ext mlops_lab")
    # The kernel is older than the login, and yet the run is Anna's.
    shown = lab.run_cell("%%mlops_track --experiment annas-study\nanswer = 42")
    admin = TrackingServer(accounts, auth="basic", username="admin", password=ADMIN)
    [run] = runs_of(admin, "annas-study")
    assert run["info"]["status"] == "FINISHED", shown
    expect(lab.part(f"run-{run['info']['run_id']}")).to_have_attribute("data-status", "FINISHED")

    lab.run_cell("import json, os, pathlib; _ = pathlib.Path('env.json').write_text(json.dumps(dict(os.environ)))")
    variables = json.loads((shared_jupyter.root / "demo" / "env.json").read_text())
    assert variables["MLFLOW_TRACKING_URI"] == accounts
    assert ANNA not in str(variables)
    lab.save()
    holders = [file for file in shared_jupyter.files() if ANNA.encode() in file.read_bytes()]
    assert [file.parent.name for file in holders] == ["runtime"], "the session file holds the secret, nothing else does"
    assert ANNA not in json.dumps(lab.page.context.storage_state(indexed_db=True))
    assert ANNA not in lab.page.evaluate("JSON.stringify({...sessionStorage})")
    assert ANNA not in lab.page.content()

    lab.part("logout").click()
    expect(lab.part("disconnected")).to_be_visible()
    assert [file for file in shared_jupyter.files() if ANNA.encode() in file.read_bytes()] == []
    shown = lab.run_cell("%%mlops_track --experiment annas-study\nanswer = 43")
    assert "on this computer" in shown
    assert "Traceback" not in shown
    assert len(runs_of(admin, "annas-study")) == 1
    lab.picture("tracked-after-logout")


def test_a_running_kernel_follows_a_login_and_sends_what_waited(shared_lab: Lab, group_server: MlflowServer) -> None:
    lab = shared_lab
    lab.open("demo", fresh=True)
    lab.open_panel()
    lab.new_notebook()
    lab.run_cell("%load_ext mlops_lab")
    assert "on this computer" in lab.run_cell("%%mlops_track --experiment follows --run-name before\nanswer = 42")

    lab.log_in(group_server.uri)
    expect(lab.part("connected")).to_contain_text("no authentication")
    lab.run_cell("%%mlops_track --experiment follows --run-name after\nanswer = 43")
    server = TrackingServer(group_server.uri)
    limit = time.monotonic() + 60
    while len(found := runs_of(server, "follows")) < 2 and time.monotonic() < limit:
        time.sleep(0.2)
    assert sorted(run["info"]["run_name"] for run in found) == ["after", "before"]
    assert group_server.uri in lab.run_cell("%mlops_status")


def test_an_address_where_no_mlflow_is_gets_one_sentence(shared_lab: Lab, shared_jupyter: JupyterServer) -> None:
    lab = shared_lab
    lab.open("demo", fresh=True)
    lab.open_panel()
    refusal = lab.part("login").get_by_test_id("mlops-error")

    lab.log_in(f"http://127.0.0.1:{free_port()}")
    expect(refusal).to_contain_text("Nothing answers at")
    lab.picture("login-nothing-there")
    lab.log_in(shared_jupyter.url)
    expect(refusal).to_contain_text("MLflow")
    expect(refusal).not_to_contain_text("Nothing answers at")
    lab.picture("login-not-mlflow")
    lab.log_in("ftp://example.org")
    expect(refusal).to_contain_text("http")
    lab.part("login").get_by_role("button", name="Cancel").click()
    expect(lab.part("disconnected")).to_be_visible()


def test_a_server_that_dies_and_comes_back_costs_no_click(shared_lab: Lab, group_server: MlflowServer) -> None:
    lab = shared_lab
    server = TrackingServer(group_server.uri)
    experiment = server.create_experiment("outage")
    run = server.create_run(experiment, run_name="before-the-outage")["info"]["run_id"]
    server.update_run(run, "FINISHED", end_time=int(time.time() * 1000))
    lab.server.request("POST", "connection", json={"uri": group_server.uri})
    lab.open("demo", fresh=True)
    lab.open_panel()
    lab.part("experiment").select_option("outage")
    box = lab.part(f"run-{run}").get_by_role("checkbox")
    box.check()

    group_server.stop()
    try:
        lab.part("refresh-runs").click()
        expect(lab.part("unreachable")).to_contain_text("Nothing answers at")
        expect(lab.part("connection-status")).to_have_text("Unreachable")
        lab.part("unreachable").scroll_into_view_if_needed()
        lab.picture("server-unreachable")
    finally:
        group_server.start()
    expect(lab.part("connected")).to_be_visible(timeout=60_000)
    expect(box).to_be_checked()


def test_a_local_server_that_was_killed_is_started_again_with_its_runs(
    shared_lab: Lab, shared_jupyter: JupyterServer
) -> None:
    lab = shared_lab
    lab.open("demo", fresh=True)
    lab.open_panel()
    lab.part("start-server").click()
    expect(lab.part("connected")).to_be_visible(timeout=120_000)

    os.killpg(shared_jupyter.json("GET", "connection")["embedded"]["pid"], signal.SIGKILL)
    lab.part("refresh-runs").click()
    expect(lab.part("unreachable")).to_contain_text(re.compile("not running"))
    lab.part("unreachable").scroll_into_view_if_needed()
    lab.picture("local-server-killed")
    lab.part("unreachable").get_by_test_id("mlops-start-server").click()
    expect(lab.part("connected")).to_be_visible(timeout=120_000)
    lab.part("stop-server").click()
    expect(lab.part("disconnected")).to_be_visible(timeout=60_000)


def runs_of(server: TrackingServer, experiment: str) -> list[dict]:
    """Every run of an experiment; none where it does not exist yet."""
    found = server.experiment_by_name(experiment)
    return server.search_runs([found["experiment_id"]])["runs"] if found else []

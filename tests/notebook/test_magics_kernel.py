"""`%%mlops_track` in a real kernel that a person drives: interrupts, logins, and a kernel that is killed."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import Session, write_session

LIMIT = 120.0


class Kernel:
    """One running kernel."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=LIMIT)

    def run(self, code: str, answer: str = "", **options: Any) -> tuple[dict[str, Any], str]:
        """Run one cell, answering every question with `answer`; gives the reply and all text that was shown."""
        shown: list[str] = []

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            shown.append(content.get("text", "") + content.get("data", {}).get("text/plain", ""))
            shown.extend(content.get("traceback", []))

        def reply(message: dict[str, Any]) -> None:
            shown.append(message["content"]["prompt"])
            self.client.input(answer)

        done = self.client.execute_interactive(
            code, timeout=LIMIT, output_hook=keep, stdin_hook=reply, allow_stdin=True, **options
        )
        return done["content"], "".join(shown)

    def begin(self, code: str, sign: str) -> str:
        """Start a cell and wait until it prints `sign`; gives the id of the request."""
        request: str = self.client.execute(code)
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if sign in message["content"].get("text", ""):
                return request
        raise AssertionError(f"the cell never printed {sign}")

    def reply(self, request: str) -> dict[str, Any]:
        """Wait for the reply to `request`."""
        while True:
            message = self.client.get_shell_msg(timeout=LIMIT)
            if message["parent_header"].get("msg_id") == request:
                content: dict[str, Any] = message["content"]
                return content

    def stop(self) -> None:
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def server(mlflow_server: str) -> Iterator[TrackingServer]:
    client = TrackingServer(mlflow_server)
    yield client
    client.close()


@pytest.fixture
def start_kernel(mlops_home: Path, tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    started: list[Kernel] = []

    def start(**variables: str) -> Kernel:
        kernel = Kernel({**os.environ, "MLOPS_LAB_HOME": str(mlops_home), **variables}, tmp_path)
        started.append(kernel)
        assert kernel.run("%load_ext mlops_lab")[0]["status"] == "ok"
        return kernel

    yield start
    for kernel in started:
        kernel.stop()


def only_run(server: TrackingServer, experiment: str) -> dict[str, Any]:
    found = server.experiment_by_name(experiment)
    assert found is not None
    (run,) = server.search_runs([found["experiment_id"]])["runs"]
    assert isinstance(run, dict)
    return run


def ended_run(server: TrackingServer, experiment: str) -> dict[str, Any]:
    """Wait until the experiment, its only run and the end of that run have reached the server."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = server.experiment_by_name(experiment)
        runs = server.search_runs([found["experiment_id"]])["runs"] if found is not None else []
        if runs and runs[0]["info"]["status"] != "RUNNING":
            break
        time.sleep(0.2)
    return only_run(server, experiment)


# Short sleeps: ipykernel itself notices an interrupt of an awaiting cell only when its event loop wakes up.
WAITS = {
    "plain": "import time\ntime.sleep(100)",
    "await": "import asyncio\nfor _ in range(1000):\n    await asyncio.sleep(0.1)",
}


@pytest.mark.parametrize("waiting", WAITS.values(), ids=WAITS.keys())
def test_an_interrupt_kills_the_run_and_the_kernel_goes_on(
    start_kernel: Callable[..., Kernel], server: TrackingServer, tmp_path: Path, waiting: str
) -> None:
    kernel = start_kernel(MLFLOW_TRACKING_URI=server.uri)
    code = f"%%mlops_track --experiment {tmp_path.name}\nprint('begun', flush=True)\n{waiting}"
    request = kernel.begin(code, "begun")
    kernel.manager.interrupt_kernel()
    assert kernel.reply(request)["status"] == "error"

    assert only_run(server, tmp_path.name)["info"]["status"] == "KILLED"
    assert kernel.run("import mlops_lab; assert mlops_lab.active_run() is None")[0]["status"] == "ok"


def test_a_killed_kernels_run_is_finished_by_the_next_one_that_loads_the_extension(
    start_kernel: Callable[..., Kernel], server: TrackingServer, tmp_path: Path
) -> None:
    first = start_kernel(MLFLOW_TRACKING_URI=server.uri)
    first.begin(
        f"""%%mlops_track --experiment {tmp_path.name}
import mlops_lab, time
for step in range(200):
    mlops_lab.active_run().log_metric("loss", step)
print("logged", flush=True)
time.sleep(100)""",
        "logged",
    )
    first.manager.shutdown_kernel(now=True)

    start_kernel(MLFLOW_TRACKING_URI=server.uri)

    run = ended_run(server, tmp_path.name)
    assert run["info"]["status"] == "KILLED"
    points = server.get(
        "metrics/get-history", {"run_id": run["info"]["run_id"], "metric_key": "loss", "max_results": 1000}
    )
    assert [float(point["value"]) for point in points["metrics"]] == list(range(200))


def test_a_running_kernel_follows_a_login_and_sends_what_waited(
    start_kernel: Callable[..., Kernel], server: TrackingServer, tmp_path: Path
) -> None:
    session = tmp_path / "runtime" / "session.json"
    kernel = start_kernel(MLOPS_LAB_SESSION=str(session), MLFLOW_TRACKING_URI="")
    _, shown = kernel.run(f"%%mlops_track --experiment {tmp_path.name} --run-name early\nx = 1")
    assert "sent when you log in" in shown

    write_session(session, Session(uri=server.uri))

    _, shown = kernel.run("import os; print(os.environ['MLFLOW_TRACKING_URI'], os.environ['MLFLOW_TRACKING_AUTH'])")
    assert shown.split() == [server.uri, "mlops_lab"]
    assert ended_run(server, tmp_path.name)["info"]["run_name"] == "early"

    session.unlink()
    _, shown = kernel.run("print(os.environ.get('MLFLOW_TRACKING_URI'))")
    assert shown.strip() == "None"


def test_a_login_from_the_notebook_keeps_a_session_that_only_its_owner_reads(
    start_kernel: Callable[..., Kernel], server: TrackingServer, mlops_home: Path
) -> None:
    kernel = start_kernel(MLFLOW_TRACKING_URI="")
    reply, shown = kernel.run(f"%mlops_login {server.uri}")
    assert reply["status"] == "ok", shown
    assert f"Logged in to {server.uri}" in shown
    (path,) = (mlops_home / "sessions").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert f"Connected to {server.uri}" in kernel.run("%mlops_status")[1]


def test_a_token_is_asked_for_and_never_shown(
    start_kernel: Callable[..., Kernel], server: TrackingServer, mlops_home: Path
) -> None:
    kernel = start_kernel(MLFLOW_TRACKING_URI="")
    _, shown = kernel.run(f"%mlops_login {server.uri} --token", answer="tok-123-secret")
    assert "Token:" in shown
    _, environment = kernel.run("import os; print(dict(os.environ)); print(In)")
    assert "tok-123-secret" not in shown + environment


def test_a_login_that_fails_is_one_sentence(start_kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    kernel = start_kernel(MLFLOW_TRACKING_URI="")
    reply, _ = kernel.run("%mlops_login http://127.0.0.1:9")
    assert reply["status"] == "error"
    assert reply["traceback"] == [reply["evalue"]]
    assert "127.0.0.1:9" in reply["evalue"]


def test_a_silent_cell_with_the_magic_runs_plainly(start_kernel: Callable[..., Kernel], server: TrackingServer) -> None:
    kernel = start_kernel(MLFLOW_TRACKING_URI=server.uri)
    kernel.run("%%mlops_track --experiment silent-cell\nquiet = 7", silent=True)
    _, shown = kernel.run("import mlops_lab; print(quiet, mlops_lab.active_run())")
    assert shown.strip() == "7 None"


def test_asking_whether_a_cell_is_complete_starts_nothing(
    start_kernel: Callable[..., Kernel], server: TrackingServer, tmp_path: Path
) -> None:
    kernel = start_kernel(MLFLOW_TRACKING_URI=server.uri)
    request = kernel.client.is_complete(f"%%mlops_track --experiment {tmp_path.name}\nx = 1\n")
    assert kernel.reply(request)["status"] in ("complete", "incomplete")
    assert server.experiment_by_name(tmp_path.name) is None

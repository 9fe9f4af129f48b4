"""The ipywidgets in a real kernel, driven as a browser drives them, against a real server and a real repository."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.datasets import read_catalogue

SECRET = "correct-horse-7f3a9c"


class Kernel:
    """A kernel, and everything it ever said to its front end."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.said: list[dict[str, Any]] = []
        self.payload: list[dict[str, Any]] = []

    def run(self, code: str) -> str:
        """Run a cell and give what it printed; an error fails the test with its traceback."""
        printed: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            self.said.append(message)
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, timeout=120, output_hook=hear)["content"]
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", []))
        assert "Traceback" not in "".join(printed)
        self.payload = reply.get("payload", [])
        return "".join(printed).strip()

    def ask(self, expression: str) -> Any:
        """Give the value of an expression that JSON can carry."""
        return json.loads(self.run(f"import json; print(json.dumps({expression}))"))

    def wait(self, condition: str) -> None:
        """Wait until `condition` holds in the kernel; the kernel stays free meanwhile."""
        limit = time.monotonic() + 120
        while not self.ask(f"bool({condition})"):
            assert time.monotonic() < limit, f"never came true: {condition}"
            time.sleep(0.3)

    def browser(self, widget: str, data: dict[str, Any]) -> None:
        """Send what a browser sends for `widget`, and wait until the kernel has dealt with it."""
        model = self.ask(f"{widget}.model_id")
        message = self.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        self.client.shell_channel.send(message)
        while True:
            heard = self.client.get_iopub_msg(timeout=120)
            self.said.append(heard)
            ours = heard["parent_header"].get("msg_id") == message["header"]["msg_id"]
            if ours and heard["msg_type"] == "status" and heard["content"]["execution_state"] == "idle":
                return

    def type(self, widget: str, text: str) -> None:
        """Type into a field and leave it."""
        state = {"method": "update", "state": {"value": text}, "buffer_paths": []}
        self.browser(widget, state)

    def click(self, widget: str) -> None:
        """Click a button."""
        self.browser(widget, {"method": "custom", "content": {"event": "click"}})


StartKernel = Callable[..., Kernel]


@pytest.fixture
def start_kernel(mlops_home: Path) -> Iterator[StartKernel]:
    """Start kernels in a folder; all are ended after the test."""
    started: list[Kernel] = []

    def start(folder: Path, **variables: str) -> Kernel:
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(folder), env={**os.environ, **variables})
        client = manager.client()
        kernel = Kernel(manager, client)
        started.append(kernel)
        client.start_channels()
        client.wait_for_ready(timeout=120)
        kernel.run("import mlops_lab")
        return kernel

    yield start
    for kernel in started:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


@pytest.fixture
def two_runs(mlflow_server: str) -> list[str]:
    """Two finished runs in an experiment of their own; the ids."""
    server = TrackingServer(mlflow_server)
    experiment = server.create_experiment(f"widgets-{time.time_ns()}")
    made = []
    for name, dice in (("first <b>run</b>", 0.5), ("second", 0.75)):
        now = int(time.time() * 1000)
        run_id = server.create_run(experiment, now, name)["info"]["run_id"]
        points = [{"key": "dice", "value": dice * step, "timestamp": now + step, "step": step} for step in (1, 2)]
        server.log_batch(run_id, points, {"lr": str(dice)})
        server.update_run(run_id, "FINISHED", now + 5000)
        made.append(run_id)
    return made


def test_a_password_is_in_no_state_no_message_and_no_variable(
    start_kernel: StartKernel, mlflow_server: str, mlops_home: Path, tmp_path: Path
):
    kernel = start_kernel(tmp_path)
    kernel.run("login = mlops_lab.widgets.Login(); display(login)")
    kernel.type("login.address", mlflow_server)
    kernel.run("login.auth.value = 'basic'; login.username.value = 'ada'")
    kernel.said.clear()
    kernel.type("login.secret", SECRET)
    assert kernel.ask("login.secret.given") is True, "the kernel has it"
    emptied = [m for m in kernel.said if m["msg_type"] == "comm_msg" and m["content"]["data"].get("method") == "update"]
    assert any(m["content"]["data"]["state"].get("value") == "" for m in emptied), (
        "the browser is told to empty the field"
    )
    saved = "json.dumps(type(login).get_manager_state(), default=str)"
    assert SECRET not in kernel.ask(saved), "what Jupyter would save with the notebook, before the login"
    kernel.click("login.log_in")
    assert "Logged in." in kernel.ask("login.says.value")
    assert SECRET not in kernel.ask(saved), "and after it"
    assert kernel.ask("login.secret.given") is False
    assert SECRET not in json.dumps(kernel.said, default=str), "nothing that the kernel sent holds it"
    assert SECRET not in kernel.ask("[repr(v) for v in list(globals().values())]").__repr__()
    assert SECRET not in kernel.ask("dict(__import__('os').environ)").__repr__()
    files = [Path(kernel.ask("__import__('os').environ['MLOPS_LAB_SESSION']"))]
    assert SECRET in files[0].read_text(), "it went where it belongs"
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    kernel.click("login.log_out")
    assert not files[0].exists()
    assert "Not connected" in kernel.ask("login.status.value")


def test_a_login_that_fails_is_one_sentence(start_kernel: StartKernel, tmp_path: Path):
    kernel = start_kernel(tmp_path)
    kernel.run("login = mlops_lab.widgets.Login()")
    for address, sentence in (
        ("mlflow.example", "is not a web address"),
        ("http://127.0.0.1:9", "Nothing answers at 127.0.0.1:9."),
    ):
        kernel.type("login.address", address)
        kernel.click("login.log_in")
        said = kernel.ask("login.says.value")
        assert sentence in said
        assert "Traceback" not in said
        assert kernel.ask("login.log_in.disabled") is False, "one can try again"
    kernel.run("login.auth.value = 'token'")
    kernel.click("login.log_in")
    assert "The token is empty" in kernel.ask("login.says.value")


def test_the_embedded_server_starts_and_stops_from_the_widget(start_kernel: StartKernel, tmp_path: Path):
    kernel = start_kernel(tmp_path)
    kernel.run("login = mlops_lab.widgets.Login(); runs = mlops_lab.widgets.Runs(); display(login)")
    assert "No MLflow server is connected." in kernel.ask("runs.says.value")
    try:
        kernel.click("login.start_server")
        assert "starting" in kernel.ask("login.status.value")
        assert kernel.ask("[login.start_server.disabled, login.stop_server.disabled]") == [True, False]
        kernel.wait("'Connected to http://127.0.0.1' in login.status.value")
        kernel.click("runs.refresh")
        assert "No runs here yet." in kernel.ask("runs.says.value")
    finally:
        kernel.click("login.stop_server")
    assert "its runs are kept" in kernel.ask("login.says.value")
    assert kernel.ask("[login.start_server.disabled, login.stop_server.disabled]") == [False, True]


def test_runs_are_ticked_and_compared(
    start_kernel: StartKernel, mlflow_server: str, two_runs: list[str], tmp_path: Path
):
    kernel = start_kernel(tmp_path, MLFLOW_TRACKING_URI=mlflow_server)
    kernel.run("runs = mlops_lab.widgets.Runs(); display(runs)")
    kernel.run("runs.experiment.value = [v for n, v in runs.experiment.options if n.startswith('widgets-')][0]")
    kernel.run(
        f"runs.filter.value = \"attributes.run_id IN ('{two_runs[0]}', '{two_runs[1]}')\"; runs.experiment.value = ''"
    )
    assert kernel.ask("[run.run_id for run in runs.page]") == two_runs[::-1]
    lines = kernel.ask("[row.children[1].value for row in runs.rows.children]")
    assert "second" in lines[0]
    assert "✓" in lines[0], "a state is a sign and a word"
    assert "finished" in lines[0]
    assert "first &lt;b&gt;run&lt;/b&gt;" in lines[1]
    kernel.type("runs.rows.children[0].children[0]", True)
    assert kernel.ask("runs.compare.disabled") is True, "one run is no comparison"
    kernel.type("runs.rows.children[1].children[0]", True)
    assert kernel.ask("runs.compare.disabled") is False
    kernel.click("runs.compare")
    shown = kernel.ask("runs.comparison.outputs")
    assert set(shown[0]["data"]) == {
        "application/vnd.mlops-lab.comparison+json", "text/html", "text/plain", "image/png",
    }  # fmt: skip
    document = shown[0]["data"]["application/vnd.mlops-lab.comparison+json"]
    assert [run["run_id"] for run in document["runs"]] == two_runs, "the earlier run first"
    assert "<b>run</b>" not in shown[0]["data"]["text/html"]
    kernel.type("runs.filter", "dice > 0.5 or 1")
    assert "does not understand this filter" in kernel.ask("runs.says.value")


def test_a_running_run_is_followed_while_the_widget_is_shown(
    start_kernel: StartKernel, mlflow_server: str, tmp_path: Path
):
    server = TrackingServer(mlflow_server)
    experiment = server.create_experiment(f"live-{time.time_ns()}")
    run_id = server.create_run(experiment, int(time.time() * 1000), "slow one")["info"]["run_id"]
    kernel = start_kernel(tmp_path, MLFLOW_TRACKING_URI=mlflow_server)
    kernel.run("runs = mlops_lab.widgets.Runs()")
    kernel.run(f"runs.experiment.value = '{experiment}'")
    assert kernel.ask("runs._pulse.running") is False, "a widget that nobody sees asks nobody"
    kernel.run("display(runs)")
    assert kernel.ask("runs._pulse.running") is True
    assert "running" in kernel.ask("runs.rows.children[0].children[1].value")
    server.log_batch(run_id, [{"key": "dice", "value": 0.625, "timestamp": 1, "step": 1}])
    server.update_run(run_id, "FINISHED", int(time.time() * 1000))
    kernel.wait("'finished' in runs.rows.children[0].children[1].value")
    assert "dice 0.625" in kernel.ask("runs.rows.children[0].children[1].value")
    kernel.wait("not runs._pulse.running")


def test_a_dataset_version_is_chosen_and_bound(start_kernel: StartKernel, demo_project: Path):
    kernel = start_kernel(demo_project)
    kernel.run("data = mlops_lab.widgets.Datasets(); display(data)")
    assert kernel.ask("data.says.value") == ""
    assert kernel.ask("data.version.options") == [["v2.0.0", "brain@v2.0.0"], ["v1.0.0", "brain@v1.0.0"]]
    table = kernel.ask("data.table.value")
    newest = read_catalogue(demo_project).datasets[0].versions[0]
    for said in ("v1.0.0", "v2.0.0", newest.author, "MB", str(newest.nfiles), newest.message):
        assert said in table
    kernel.run("data.version.value = 'brain@v1.0.0'")
    kernel.type("data.variable", "old labels")
    kernel.click("data.use")
    assert "is no variable name" in kernel.ask("data.says.value")
    kernel.type("data.variable", "old_labels")
    kernel.click("data.use")
    assert "every byte verified" in kernel.ask("data.says.value")
    assert "old_labels = mlops_lab.use_dataset(&quot;brain@v1.0.0&quot;)" in kernel.ask("data.line.value")
    assert kernel.ask("(old_labels / 'participants.tsv').is_file()") is True
    assert kernel.run("print(mlops_lab.use_dataset('brain@v1.0.0') == old_labels)") == "True"


def test_a_folder_without_a_project_is_one_sentence(start_kernel: StartKernel, tmp_path: Path):
    kernel = start_kernel(tmp_path)
    kernel.run("data, form = mlops_lab.widgets.Datasets(), mlops_lab.widgets.Training()")
    for widget in ("data", "form"):
        assert "is not inside a git repository" in kernel.ask(f"{widget}.says.value")
    assert kernel.ask("[data.use.disabled, form.insert_cell.disabled]") == [True, True]


def test_the_form_writes_the_cell_and_hands_it_to_the_notebook(start_kernel: StartKernel, demo_project: Path):
    kernel = start_kernel(demo_project)
    kernel.run("form = mlops_lab.widgets.Training(); display(form)")
    kernel.run("form.data.value = 'brain@v1.0.0'")
    kernel.type("form.fields['max_epochs']", 3)
    assert "max_epochs = 3" in kernel.ask("form.source.value")
    assert "brain@v1.0.0" in kernel.ask("form.source.value")
    kernel.type("form.fields['max_epochs']", 0)
    assert "Epochs must be at least 1, not 0." in kernel.ask("form.says.value")
    assert kernel.ask("[form.insert_cell.disabled, form.source.value]") == [True, ""]
    kernel.type("form.fields['max_epochs']", 2)
    kernel.run("form.insert()")
    (handed,) = kernel.payload
    assert handed["source"] == "set_next_input"
    assert handed["text"].startswith("%%mlops_track")
    assert "max_epochs = 2" in handed["text"]
    compile(handed["text"].partition("\n")[2], "cell", "exec")


def test_a_click_on_insert_takes_effect_with_the_next_cell_as_the_widget_says(
    start_kernel: StartKernel, demo_project: Path
):
    kernel = start_kernel(demo_project)
    kernel.run("form = mlops_lab.widgets.Training(); display(form)")
    kernel.click("form.insert_cell")
    kernel.run("pass")
    assert kernel.payload[0]["text"].startswith("%%mlops_track")
    assert "Run any cell now" in kernel.ask("form.says.value")
    kernel.run("pass")
    assert kernel.payload == []


def test_every_widget_is_shown_and_shadows_nothing_of_ipywidgets(
    start_kernel: StartKernel, mlflow_server: str, demo_project: Path
):
    kernel = start_kernel(demo_project, MLFLOW_TRACKING_URI=mlflow_server)
    for name in ("Login", "Datasets", "Training", "Runs"):
        kernel.said.clear()
        kernel.run(f"shown = mlops_lab.widgets.{name}(); display(shown)")
        views = [m for m in kernel.said if m["msg_type"] == "display_data"]
        assert "application/vnd.jupyter.widget-view+json" in views[0]["content"]["data"]
        kernel.run("import ipywidgets")
        ours = "c for c in type(shown).__mro__ if c.__module__.startswith('mlops_lab')"
        taken = f"[k for c in ({ours}) for k, v in vars(c).items() if callable(v) and hasattr(ipywidgets.VBox, k)]"
        assert set(kernel.ask(taken)) <= {"__init__", "close", "_repr_mimebundle_"}, "meant to be overridden"


def test_the_widgets_load_nothing_heavy(start_kernel: StartKernel, mlflow_server: str, demo_project: Path):
    kernel = start_kernel(demo_project, MLFLOW_TRACKING_URI=mlflow_server)
    kernel.run("w = mlops_lab.widgets; all_of_them = [w.Login(), w.Datasets(), w.Training(), w.Runs()]")
    heavy = ("torch", "monai", "mlflow", "dvc", "matplotlib", "numpy", "scipy", "pandas")
    assert kernel.ask(f"[name for name in {heavy} if name in __import__('sys').modules]") == []

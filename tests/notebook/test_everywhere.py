"""The same small training wherever people run Python: VS Code's kernel, plain IPython, a script, and nbclient.

JupyterLab and Notebook 7 stand in tests/browser. Everywhere the body stays native, and the run ends as the body did.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import Run, errors, pairs, results, runs_by_name
from tests.notebook.test_magics_kernel import LIMIT, Kernel

TRAINING = """\
import torch
max_epochs = 2
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 1)), batch_size=2)
net = torch.nn.Linear(1, 1)
loss_function = torch.nn.MSELoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.25)
for epoch in range(max_epochs):
    for (batch,) in loader:
        optimizer.zero_grad()
        loss_function(net(batch), batch).backward()
        optimizer.step()
"""
WAIT = "import time\nprint('begun', flush=True)\ntime.sleep(100)\n"


def track(experiment: str, name: str, *options: str) -> str:
    return " ".join(("%%mlops_track --experiment", experiment, "--run-name", name, *options)) + "\n"


def statuses(runs: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: run["info"]["status"] for name, run in runs.items()}


def assert_trained(run: dict[str, Any]) -> None:
    """What the training must leave wherever it ran."""
    assert run["info"]["status"] == "FINISHED"
    assert pairs(run, "params")["max_epochs"] == "2"
    metrics = pairs(run, "metrics")
    assert {"train_loss", "lr", "epoch_seconds"} <= set(metrics), metrics


# nbclient: Run All, as papermill, jupyter execute and the build of a book do it.


def test_under_nbclient(run_notebook: Run, server: TrackingServer, tmp_path: Path) -> None:
    experiment = tmp_path.name
    (tmp_path / "elsewhere").mkdir()
    notebook = run_notebook(
        "%load_ext mlops_lab",
        track(experiment, "trained") + TRAINING + "epoch + 41",
        track(experiment, "awaited") + "import asyncio\nawait asyncio.sleep(0, 'was awaited')",
        track(experiment, "moved") + "import os\nos.chdir('elsewhere')",
        track(experiment, "left") + "raise SystemExit(2)",
        track(experiment, "left-well") + "raise SystemExit",
        allow_errors=True,
    )
    _, trained, awaited, moved, left, _ = notebook.cells
    assert results(trained) == ["42"]
    assert results(awaited) == ["'was awaited'"]
    assert errors(moved) == []
    assert errors(left)[0].ename == "SystemExit"
    runs = runs_by_name(server, experiment)
    assert statuses(runs) == {
        "trained": "FINISHED",
        "awaited": "FINISHED",
        "moved": "FINISHED",
        "left": "FAILED",
        "left-well": "FINISHED",
    }
    assert_trained(runs["trained"])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run_notebook("%load_ext mlops_lab", track(experiment, "bad") + "1 / 0", "never = True")
    assert statuses(runs_by_name(server, experiment))["bad"] == "FAILED"


# VS Code drives ipykernel through the messages of Jupyter, with a habit or two of its own.


class VsCode(Kernel):
    """VS Code's side of a kernel: it tells the notebook's path in a variable, and addresses cells by its own URIs."""

    def __init__(self, environment: dict[str, str], notebook: Path) -> None:
        # No JPY_SESSION_NAME: only Jupyter's own servers set it.
        super().__init__({**environment, "VSCODE_PID": "1", "VSCODE_CWD": str(notebook.parent)}, notebook.parent)
        self._notebook = notebook
        self._cells = 0
        self.client.execute_interactive(f"__vsc_ipynb_file__ = {str(notebook)!r}", silent=True, timeout=LIMIT)

    def request(self, code: str) -> str:
        """Send a cell as VS Code does; gives the id of the request."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": False,
        }
        message = self.client.session.msg("execute_request", content)
        self._cells += 1
        fragment = f"#W{self._cells}sZmlsZQ=="
        message["metadata"] = {"cellId": f"vscode-notebook-cell:{self._notebook}{fragment}"}
        self.client.shell_channel.send(message)
        identity: str = message["header"]["msg_id"]
        return identity

    def messages(self, request: str, until: str = "") -> list[dict[str, Any]]:
        """Collect what the kernel publishes for `request`, to its end or until it prints a word."""
        found: list[dict[str, Any]] = []
        while True:
            message = self.client.get_iopub_msg(timeout=LIMIT)
            if message["parent_header"].get("msg_id") != request:
                continue
            found.append(message)
            if until and until in message["content"].get("text", ""):
                return found
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found


@pytest.fixture
def vscode(mlops_home: Path, mlflow_server: str, tmp_path: Path) -> Iterator[Callable[[nbformat.NotebookNode], VsCode]]:
    started: list[VsCode] = []

    def start(notebook: nbformat.NotebookNode) -> VsCode:
        path = tmp_path / "ward study.ipynb"
        nbformat.write(notebook, path)
        environment = {**os.environ, "MLOPS_LAB_HOME": str(mlops_home), "MLFLOW_TRACKING_URI": mlflow_server}
        started.append(VsCode(environment, path))
        return started[-1]

    yield start
    for kernel in started:
        kernel.stop()


def test_in_the_kernel_of_vs_code(
    vscode: Callable[[nbformat.NotebookNode], VsCode], server: TrackingServer, tmp_path: Path
) -> None:
    experiment = tmp_path.name
    training = track(experiment, "trained") + TRAINING + "import time\ntime.sleep(1.5)\nepoch + 41"
    cells = ["%load_ext mlops_lab", training, track(experiment, "bad") + "await nothing"]
    kernel = vscode(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]))
    replies = []
    published = []
    for cell in cells:
        request = kernel.request(cell)
        published.append(kernel.messages(request))
        replies.append(kernel.reply(request)["status"])
    assert replies == ["ok", "ok", "error"], "Run All stops at the cell that failed"

    # One line that is redrawn in its place, in HTML and in plain text; then the last expression.
    shown = [message for message in published[1] if message["msg_type"] == "display_data"]
    redrawn = [message for message in published[1] if message["msg_type"] == "update_display_data"]
    assert len(shown) == 1
    assert redrawn
    lines = {message["content"]["transient"]["display_id"] for message in [*shown, *redrawn]}
    assert len(lines) == 1
    for message in [*shown, *redrawn]:
        assert {"text/html", "text/plain"} <= set(message["content"]["data"])
    assert "running" in shown[0]["content"]["data"]["text/plain"]
    last = redrawn[-1]["content"]["data"]
    assert "finished" in last["text/plain"]
    assert "epoch 2/2" in last["text/plain"]
    assert "finished" in last["text/html"]
    (result,) = (message for message in published[1] if message["msg_type"] == "execute_result")
    assert result["content"]["data"]["text/plain"] == "42"

    request = kernel.request(track(experiment, "stopped") + WAIT)
    kernel.messages(request, until="begun")
    kernel.manager.interrupt_kernel()
    assert kernel.reply(request)["status"] == "error"

    runs = runs_by_name(server, experiment)
    assert statuses(runs) == {"trained": "FINISHED", "bad": "FAILED", "stopped": "KILLED"}
    assert_trained(runs["trained"])
    tags = pairs(runs["trained"], "tags")
    assert (tags["mlflow.source.type"], tags["mlops_lab.notebook"]) == ("NOTEBOOK", "ward study.ipynb")
    assert tags["mlops_lab.cell.index"] == "2"
    assert not any("vscode-notebook-cell" in value for value in tags.values()), "its address holds the whole path"
    assert str(tmp_path) not in " ".join(tags.values())


# Plain IPython, in a real terminal.


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.screen = ""
        self._master, inner = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, env=environment, cwd=folder, start_new_session=True
        )
        os.close(inner)

    def type(self, text: str, until: str) -> str:
        """Type `text` and wait until the program has answered with the pattern `until`; gives what it showed."""
        begin = len(self.screen)
        os.write(self._master, text.encode())
        limit = time.monotonic() + LIMIT
        while not re.search(until, self.screen[begin:]):
            assert time.monotonic() < limit, self.screen[-3000:]
            if select.select([self._master], [], [], 0.5)[0]:
                self.screen += os.read(self._master, 65536).decode(errors="replace").replace("\r\n", "\n")
        return self.screen[begin:]

    def interrupt(self) -> None:
        """What Ctrl-C does: the signal of the terminal."""
        os.kill(self.process.pid, signal.SIGINT)

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def ipython(mlops_home: Path, mlflow_server: str, tmp_path: Path) -> Iterator[Terminal]:
    environment = {
        **os.environ,
        "MLOPS_LAB_HOME": str(mlops_home),
        "MLFLOW_TRACKING_URI": mlflow_server,
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "TERM": "dumb",
    }
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"]
    (tmp_path / "work").mkdir()
    terminal = Terminal(command, environment, tmp_path / "work")
    yield terminal
    terminal.stop()


def test_in_plain_ipython(ipython: Terminal, server: TrackingServer, tmp_path: Path) -> None:
    experiment = tmp_path.name
    ipython.type("", r"In \[1\]")
    ipython.type("%load_ext mlops_lab\n", r"In \[2\]")
    # Two empty lines end a cell of a magic there; until then nothing of it runs.
    shown = ipython.type(track(experiment, "trained") + TRAINING + "\nepoch + 41\n\n\n", r"In \[3\]")
    assert "Out[2]: 42" in shown
    assert shown.count("Run trained") == 2, "one line at the start and one at the end"
    assert "finished" in shown
    assert "epoch 2/2" in shown
    assert f"{server.uri}/#/experiments/" in shown
    shown = ipython.type(track(experiment, "awaited") + "import asyncio\nawait asyncio.sleep(0, 'late')\n\n\n", "In .4")
    assert "Out[3]: 'late'" in shown
    shown = ipython.type(track(experiment, "bad") + "import os; os.mkdir('in'); os.chdir('in'); 1 / 0\n\n\n", "In .5")
    assert "ZeroDivisionError" in shown
    ipython.type(track(experiment, "stopped") + WAIT + "\n\n", r"\nbegun")
    ipython.interrupt()
    shown = ipython.type("", r"In \[6\]")
    assert "KeyboardInterrupt" in shown
    assert "stopped, 0:" in shown
    ipython.type(f"%mlops_track on --experiment {experiment} --run-name standing\n", r"In \[7\]")
    os.write(ipython._master, b"exit\n")
    assert ipython.process.wait(LIMIT) == 0

    runs = runs_by_name(server, experiment)
    assert statuses(runs) == {
        "trained": "FINISHED",
        "awaited": "FINISHED",
        "bad": "FAILED",
        "stopped": "KILLED",
        "standing": "FINISHED",
    }
    assert_trained(runs["trained"])


# A script.

SCRIPT = f"""\
import sys
import mlops_lab
experiment, name, body = sys.argv[1:]
bodies = {{
    "train": {TRAINING!r},
    "fail": "1 / 0",
    "leave": "raise SystemExit(3)",
    "wait": {WAIT!r},
    "move": "import os; os.mkdir('elsewhere'); os.chdir('elsewhere')",
}}
with mlops_lab.track(experiment=experiment, run_name=name, params={{"max_epochs": 2}}) as run:
    exec(bodies[body])
print("after", run.status)
"""


def test_as_a_script(mlops_home: Path, server: TrackingServer, tmp_path: Path) -> None:
    experiment = tmp_path.name
    (tmp_path / "train.py").write_text(SCRIPT)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}

    def start(body: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "train.py", experiment, body, body],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    started = {body: start(body) for body in ("train", "fail", "leave", "wait", "move")}
    assert started["wait"].stdout is not None
    assert started["wait"].stdout.readline() == "begun\n"
    started["wait"].send_signal(signal.SIGINT)
    said = {body: process.communicate(timeout=LIMIT) for body, process in started.items()}
    assert {body: process.returncode for body, process in started.items()} == {
        "train": 0,
        "fail": 1,
        "leave": 3,
        "wait": -signal.SIGINT,
        "move": 0,
    }, said
    assert said["train"][0] == said["move"][0] == "after FINISHED\n"
    assert "ZeroDivisionError" in said["fail"][1]
    assert said["leave"][0] == ""
    assert "Traceback" not in said["leave"][1]
    at_terminal = Terminal([sys.executable, "train.py", experiment, "seen", "leave"], environment, tmp_path)
    shown = at_terminal.type("", r"The run seen of the experiment \S+ has failed")
    assert re.search(rf"The run seen of the experiment \S+ is open. {server.uri}/#/experiments/\d+/runs/\w+\n", shown)
    assert at_terminal.process.wait(LIMIT) == 3
    at_terminal.stop()

    runs = runs_by_name(server, experiment)
    assert statuses(runs) == {
        "seen": "FAILED",
        "train": "FINISHED",
        "fail": "FAILED",
        "leave": "FAILED",
        "wait": "KILLED",
        "move": "FINISHED",
    }
    assert_trained(runs["train"])
    tags = pairs(runs["train"], "tags")
    assert (tags["mlflow.source.type"], tags["mlflow.source.name"]) == ("LOCAL", "train.py")

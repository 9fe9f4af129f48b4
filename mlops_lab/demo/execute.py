"""Executes the demo's quickstart notebook without a browser, in a real kernel, and tells which runs it made."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..connection import open_server, tags
from ..connection.errors import NotConnected
from .errors import DemoError, MissingComponent, NotebookFailed
from .project import NOTEBOOK

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

    from ..connection.rest import TrackingServer

EXECUTED = "quickstart-executed.ipynb"
"""Where the notebook with its outputs is saved; git ignores it, so that the project stays clean."""

_KERNEL = "mlops-lab-quickstart"
_SLOWEST_CELL = 1800

Report = Callable[[str], None]


def run_quickstart(directory: str | os.PathLike[str], report: Report = print) -> list[dict[str, Any]]:
    """Execute the quickstart notebook of the demo project in `directory`.

    Runs go to the MLflow server that this process is connected to; without one, the embedded server is started.

    Parameters
    ----------
    directory
        What :func:`~mlops_lab.demo.build_demo` gave.
    report
        Called with one sentence per step.

    Returns
    -------
    list of dict
        The notebook's runs, oldest first: ``run_id``, ``name``, ``experiment``, ``data`` (list of ``name``,
        ``version``, ``md5``), ``commit``, ``dirty``, ``metrics`` (last values), ``status``, ``link``.

    Raises
    ------
    NotebookFailed
        When a cell raised an error; the executed notebook is saved all the same.
    MissingComponent
        When a Python package that the notebook needs is not installed.
    """
    project = Path(directory).absolute()
    notebook = project / NOTEBOOK
    if not notebook.is_file():
        raise DemoError(f"{project} holds no {NOTEBOOK}.", "Build the demo project first: mlops-lab demo")
    _require_packages()
    server, pointers = _server(report)
    began = int(time.time() * 1000)
    report(f"Executing {NOTEBOOK}: two trainings, about a minute.")
    _execute(notebook, project / EXECUTED, pointers, report)
    report(f"The executed notebook is {project / EXECUTED}.")
    return _runs(server, project, began)


def _require_packages() -> None:
    from importlib.util import find_spec

    for module, package in (("ipykernel", "ipykernel"), ("monai", "monai"), ("ignite", "pytorch-ignite")):
        if find_spec(module) is None:
            raise MissingComponent(
                f"The quickstart needs the package {package}, which is not installed in this environment.",
                "Install it with: pip install 'mlops-lab[demo]'",
            )


def _server(report: Report) -> tuple[TrackingServer, dict[str, str]]:
    """Give the server for the runs, and what a kernel's environment needs to find it."""
    try:
        return open_server(), {}
    except NotConnected:
        from ..connection import embedded
        from ..connection.rest import TrackingServer

        report("Starting the MLflow server on this machine.")
        started = embedded.start()
        if started.uri is None:
            raise DemoError(f"The MLflow server did not start: {started.message}", started.hint or "") from None
        return TrackingServer(started.uri), {"MLFLOW_TRACKING_URI": started.uri}


def _execute(notebook: Path, executed: Path, pointers: dict[str, str], report: Report) -> None:
    """Run every cell in a fresh kernel of this very Python, and save the notebook with its outputs."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    content = nbformat.read(notebook, as_version=4)
    environment = os.environ | pointers | {"MLOPS_LAB_NOTEBOOK": str(notebook)}

    def announce(cell: Any, cell_index: int) -> None:
        first = cell.source.partition("\n")[0]
        if cell.cell_type == "code":
            report(f"Running: {first}")

    with tempfile.TemporaryDirectory(prefix="mlops-lab-kernel-") as folder:
        _write_kernelspec(Path(folder))
        manager = AsyncKernelManager(kernel_name=_KERNEL, kernel_spec_manager=KernelSpecManager(kernel_dirs=[folder]))
        log = Path(folder) / "kernel.log"
        client = NotebookClient(
            content,
            km=manager,
            timeout=_SLOWEST_CELL,
            resources={"metadata": {"path": str(notebook.parent)}},
            on_cell_start=announce,
        )
        try:
            with log.open("wb") as said:
                client.execute(env=environment, stderr=said)
        except CellExecutionError as error:
            raise NotebookFailed(
                f"A cell of {notebook.name} failed: {error.ename}: {_line(error.evalue, 0)}",
                f"See {executed} for the whole notebook.",
            ) from error
        except DeadKernelError as error:
            raise NotebookFailed(
                f"{notebook.name} did not finish: its kernel was interrupted, or ran out of memory.",
                "Runs that had finished are kept; run the command again.",
            ) from error
        except (CellTimeoutError, RuntimeError) as error:
            raise NotebookFailed(
                f"{notebook.name} did not finish: {_line(str(error), 0)}",
                _line(log.read_text(errors="replace"), -1) or "Run the command again.",
            ) from error
        finally:
            _shut_down(manager)
            nbformat.write(content, executed)


def _shut_down(manager: AsyncKernelManager) -> None:
    """End the kernel: nbclient leaves it alone after a run, and closes its sockets after Ctrl-C."""
    from jupyter_core.utils import run_sync
    from zmq import ZMQError

    try:
        run_sync(manager.shutdown_kernel)()
    except ZMQError:
        if manager.provisioner is not None and manager.provisioner.has_process:
            run_sync(manager.provisioner.kill)()


def _write_kernelspec(folder: Path) -> None:
    """Describe a kernel of this Python; a "python3" in the user's own folders may be another environment's."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "mlops_lab quickstart", "language": "python"}
    (folder / _KERNEL).mkdir()
    (folder / _KERNEL / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def _line(text: str, number: int) -> str:
    lines = text.strip().splitlines()
    return lines[number] if lines else ""


def _runs(server: TrackingServer, project: Path, began: int) -> list[dict[str, Any]]:
    """Find the runs that the notebook of this project has made since `began` (ms since 1970)."""
    from ..datasets import git
    from ..runs import search

    conditions = [
        f"tags.`{tags.NOTEBOOK}` = '{NOTEBOOK}'",
        f"tags.`{tags.GIT_COMMIT}` = '{git.commit(project)}'",
        f"attributes.start_time >= {began}",
    ]
    rows = search(server, [], filter=" and ".join(conditions)).runs
    return [
        {
            "run_id": row.run_id,
            "name": row.name,
            "experiment": row.experiment,
            "status": row.status,
            "data": [{"name": used.name, "version": used.version, "md5": used.md5} for used in row.data],
            "commit": row.commit,
            "dirty": row.dirty,
            "metrics": row.metrics,
            "link": row.link,
        }
        for row in sorted(rows, key=lambda row: row.start_time)
    ]

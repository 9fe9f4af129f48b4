"""The command line: ``mlops-lab ...``, a thin adapter over the rooms.

Every command takes ``--json``; an error is one line on standard error and a non-zero exit status.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, wire
from .errors import MlopsLabError

if TYPE_CHECKING:
    from .connection.model import EmbeddedServer

Command = Callable[[argparse.Namespace], int]


class NoSuchFolder(MlopsLabError):
    """The folder that was typed does not exist."""

    code = "no_such_folder"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        The exit status: 0 on success, 1 on an error that was explained, 2 on a wrong command line, 130 on Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows ASCII only must not turn a name with an accent into a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except MlopsLabError as error:
        return _explain(options, error.code, error.message, error.hint)
    except KeyboardInterrupt:
        return _explain(options, "interrupted", "Interrupted; nothing is lost.", "", status=130)
    except BrokenPipeError:
        return 1
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        return _explain(options, "system", f"{error.strerror or error}{place}.", _system_hint(error))


def _explain(options: argparse.Namespace, code: str, message: str, hint: str, status: int = 1) -> int:
    if options.json:
        say(wire.encode({"code": code, "message": message, "hint": hint}).decode(), file=sys.stderr)
    else:
        say(f"mlops-lab: {message} {hint}".rstrip(), file=sys.stderr)
    return status


def _system_hint(error: OSError) -> str:
    import errno

    if error.errno == errno.ENOSPC:
        return "The disk is full: free some space and run the command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Choose a place that you may write to, or ask its owner."
    return ""


def say(text: str, file: Any = None) -> None:
    """Print at once, also where standard output is a pipe."""
    print(text, file=file or sys.stdout, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Describe every command; its function is the ``command`` attribute of the parsed result."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON for programs")
    parser = argparse.ArgumentParser(prog="mlops-lab", description="Trustworthy machine learning in the notebook.")
    parser.add_argument("--version", action="version", version=f"mlops-lab {__version__}")
    groups = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(group: Any, name: str, command: Command, help: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = group.add_parser(name, parents=[shared], help=help, description=help)
        made.set_defaults(command=command)
        return made

    def family(name: str, help: str) -> Any:
        made = groups.add_parser(name, help=help, description=help)
        return made.add_subparsers(required=True, metavar="COMMAND")

    demo = add(groups, "demo", run_demo, "build the demo project, start the server, open JupyterLab in it")
    demo.add_argument("--dir", type=Path, default=Path("mlops-lab-demo"), help="where the project goes (%(default)s)")
    demo.add_argument("--run", action="store_true", help="no browser: run the quickstart notebook, print its runs")

    server = family("server", "the MLflow server on this machine")
    start = add(server, "start", start_server, "start it and wait until it answers")
    start.add_argument("--port", type=_port, help="listen on this port of 127.0.0.1")
    add(server, "stop", stop_server, "stop it; runs stay on disk")
    add(server, "status", show_server, "is it running, and where")

    datasets = family("datasets", "the versions of this project's DVC datasets")
    listing = add(datasets, "list", list_versions, "every version of every dataset, newest first")
    diff = add(datasets, "diff", show_diff, "what changed between two versions")
    diff.add_argument("name", metavar="NAME")
    diff.add_argument("old", metavar="A")
    diff.add_argument("new", metavar="B")
    use = add(datasets, "use", use_version, "fetch, verify and link a version; print the path of its read-only view")
    verify = add(datasets, "verify", verify_version, "check every file's md5 and name what is wrong")
    for command in (use, verify):
        command.add_argument("spec", metavar="NAME@VERSION")
    for command in (listing, diff, use, verify):
        command.add_argument("--repo", default=".", help="a folder of the project (%(default)s)")

    runs = family("runs", "runs on the MLflow server")
    found = add(runs, "list", list_runs, "newest runs")
    found.add_argument("filter", nargs="?", default="", metavar="FILTER", help="MLflow filter, e.g. 'metrics.loss < 1'")
    compared = add(runs, "compare", compare_runs, "compare two or more runs")
    compared.add_argument("runs", nargs="+", metavar="RUN", help="run id, its beginning, or run name")

    sync = add(groups, "sync", sync_journals, "send what a dead server or kernel left on this machine")
    sync.add_argument("--experiment", metavar="NAME", help="where to send runs that their own experiment does not take")
    sync.add_argument(
        "--preview",
        metavar="RUN",
        nargs="?",
        const="",
        help="send nothing: show what would be sent",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port: give a number from 1 to 65535")
    return int(text)


def report(text: str) -> None:
    """Say what is being done, on standard error, so that standard output stays for the result."""
    say(text, file=sys.stderr)


def step_reporter() -> Callable[[EmbeddedServer], None]:
    """Give a function that says what the starting server is doing, once per step."""
    said = ""

    def tell(server: EmbeddedServer) -> None:
        nonlocal said
        step = server.step or server.state
        if step != said:
            said = step
            report(f"MLflow server: {step}.")

    return tell


def show(options: argparse.Namespace, document: Any, text: str) -> int:
    """Print the result in the form that was asked for."""
    say(wire.encode(document).decode() if options.json else text)
    return 0


def run_demo(options: argparse.Namespace) -> int:
    """Build the demo and open it, or with ``--run`` execute its notebook."""
    from .connection import embedded
    from .demo import build_demo

    directory = build_demo(options.dir, report=report)
    if options.run:
        from .demo.execute import run_quickstart

        runs = run_quickstart(directory, report=report)
        say(wire.encode(runs).decode())
        return 0 if runs and all(run["status"] == "FINISHED" for run in runs) else 1
    server = embedded.start(report=step_reporter())
    return open_jupyterlab(directory / "quickstart.ipynb", server.uri)


def open_jupyterlab(notebook: Path, tracking_uri: str | None) -> int:
    """Become JupyterLab, opened on `notebook` and connected to the server at `tracking_uri`."""
    import os

    report(
        f"Opening JupyterLab on {notebook.name}; stop it with Ctrl-C. "
        f"The MLflow server at {tracking_uri} goes on: stop it with 'mlops-lab server stop'."
    )
    os.chdir(notebook.parent)
    if tracking_uri:
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    # In a container everybody is root, and JupyterLab would refuse to start.
    as_root = ["--allow-root"] if os.geteuid() == 0 else []
    on_notebook = f"--LabApp.default_url=/lab/tree/{notebook.name}"
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *as_root, on_notebook])


def start_server(options: argparse.Namespace) -> int:
    """Start the embedded server."""
    from .connection import embedded

    server = embedded.start(port=options.port, report=step_reporter())
    return show(options, server, f"The MLflow server runs at {server.uri}")


def stop_server(options: argparse.Namespace) -> int:
    """Stop the embedded server."""
    from .connection import embedded

    server = embedded.stop()
    return show(options, server, "The MLflow server is stopped; its runs stay on disk.")


def show_server(options: argparse.Namespace) -> int:
    """Tell whether the embedded server runs; exit status 1 when it does not."""
    from .connection import embedded

    server = embedded.status()
    words = {"running": f"running at {server.uri}", "failed": f"failed: {server.message}"}
    show(options, server, f"The MLflow server is {words.get(server.state, server.state)}.")
    return 0 if server.state == "running" else 1


def project_folder(options: argparse.Namespace) -> Path:
    """Give the folder of ``--repo``; a misspelt one must not mean the project around it."""
    folder = Path(options.repo)
    if not folder.exists():
        raise NoSuchFolder(f"There is no folder {options.repo}.", "Give a folder of your project with --repo.")
    return folder


def list_versions(options: argparse.Namespace) -> int:
    """List every version of every dataset."""
    from .datasets import read_catalogue

    catalogue = read_catalogue(project_folder(options))
    versions = [version for dataset in catalogue.datasets for version in dataset.versions]
    rows = [("VERSION", "DATE", "AUTHOR", "FILES", "SIZE", "MD5", "WHERE", "LABELS")]
    for version in versions:
        rows.append(
            (
                version.spec,
                version.date[:10],
                version.author,
                "?" if version.nfiles is None else str(version.nfiles),
                "?" if version.size is None else readable_size(version.size),
                version.md5[:8],
                ",".join(version.where) or "to fetch",
                ",".join(version.labels),
            )
        )
    text = columns(rows) if versions else "This project has no DVC dataset yet."
    if catalogue.notice:
        text += f"\n{catalogue.notice}"
    return show(options, versions, text)


def show_diff(options: argparse.Namespace) -> int:
    """Compare two versions of a dataset file by file."""
    from .datasets import diff

    found = diff(options.name, options.old, options.new, path=project_folder(options))
    lines = []
    for word in ("added", "removed", "modified"):
        lines += [f"{word:<9} {change.path}" for change in getattr(found, word)]
    return show(options, found, "\n".join(lines) or "The two versions hold the same files.")


def use_version(options: argparse.Namespace) -> int:
    """Make a version available and print where."""
    from .datasets import use

    used = use(options.spec, path=project_folder(options), report=report)
    return show(options, {"path": str(used.path), "version": used.version}, str(used.path))


def verify_version(options: argparse.Namespace) -> int:
    """Check a version's bytes; exit status 1 when something is wrong."""
    from .datasets import verify

    problems = verify(options.spec, path=project_folder(options))
    text = "\n".join(str(problem) for problem in problems) or f"Every file of {options.spec} has its md5."
    show(options, {"spec": options.spec, "problems": [str(problem) for problem in problems]}, text)
    return 1 if problems else 0


def list_runs(options: argparse.Namespace) -> int:
    """List the newest runs."""
    from .connection import open_server
    from .runs import search
    from .runs.words import terminal_safe

    page = search(open_server(), [], filter=options.filter)
    rows: list[tuple[str, ...]] = [("RUN", "NAME", "STATUS", "EXPERIMENT", "DATA")]
    for run in page.runs:
        data = ",".join(f"{used.name}@{used.version}" for used in run.data)
        rows.append((run.run_id[:8], *map(terminal_safe, (run.name, run.status, run.experiment, data))))
    return show(options, page, columns(rows) if page.runs else "No runs.")


def compare_runs(options: argparse.Namespace) -> int:
    """Compare runs in the terminal."""
    from .runs import compare_runs as compare
    from .runs.render import to_text

    comparison = compare(options.runs)
    return show(options, comparison, to_text(comparison))


def sync_journals(options: argparse.Namespace) -> int:
    """Project every journal that was left behind, or show what that would send."""
    from .tracking import preview, sync

    if options.preview is not None:
        runs = preview(options.preview)
        return show(options, runs, "\n\n".join(map(str, runs)) or "Nothing waits on this computer.")
    result = sync(experiment=options.experiment)
    return show(options, result, str(result))


def readable_size(size: int) -> str:
    """Write a number of bytes for people, e.g. ``"3.1 MB"``."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Align `rows`, the first of them the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())

"""The command line: the part of ``docker compose`` that the server's operator command and its tests use."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from tests.stack.engine import services, watchdog
from tests.stack.engine.errors import EngineError
from tests.stack.engine.places import assign_ports
from tests.stack.engine.project import Project, read_project
from tests.stack.engine.state import Running, State, changing, read_state


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error is one line, and 1."""
    options = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def up(options: argparse.Namespace) -> int:
    """Start services and what they wait for, each when its conditions hold."""
    project = _project(options)
    chosen = options.services or list(project.services)
    with changing(project.folder) as state:
        watchdog.ensure(state, project.folder)
        for name in project.in_order(chosen, with_needs=not options.no_deps):
            if not options.no_deps:
                _await_needs(project, state, name)
            _launch(project, state, name)
        if options.wait:
            for name in chosen:
                if _stays(project, name):
                    services.wait_healthy(project, state, name)
    return 0


def _await_needs(project: Project, state: State, name: str) -> None:
    for other, condition in project.needs(name).items():
        if condition == "service_healthy":
            services.wait_healthy(project, state, other)
        elif condition == "service_completed_successfully":
            done = state.services.get(other)
            if done is None or done.exit_code != 0:
                code = done.exit_code if done else None
                words = services.last_words(state, other)
                raise EngineError(f'service "{other}" didn\'t complete successfully: exit {code}: {words}')


def _launch(project: Project, state: State, name: str) -> None:
    state.ports = assign_ports(project, state.ports)
    launch = services.prepare(project, state, name)
    if _stays(project, name):
        services.start(state, name, launch)
        return
    code = services.run_job(launch, state.log(name))
    state.services[name] = Running(0, "", launch.digest, code)


def _stays(project: Project, name: str) -> bool:
    """Tell a service from a one-shot job."""
    return str(project.service(name).get("restart", "no")) != "no"


def down(options: argparse.Namespace) -> int:
    """End everything; the data stay, for they are in folders of this machine."""
    project = _project(options)
    with changing(project.folder) as state:
        watchdog.dismiss(state)
        services.stop_all(project, state, [name for name in state.services if name in project.services])
        state.forget()
    return 0


def stop(options: argparse.Namespace) -> int:
    """End services."""
    project = _project(options)
    with changing(project.folder) as state:
        services.stop_all(project, state, options.services or list(project.services))
    return 0


def start(options: argparse.Namespace) -> int:
    """Start services that were stopped, without what they wait for."""
    project = _project(options)
    with changing(project.folder) as state:
        known = [name for name in state.services if _stays(project, name)]
        for name in project.in_order(options.services or known, with_needs=False):
            if name not in state.services:
                raise EngineError(f'service "{name}" has no container to start')
            _launch(project, state, name)
    return 0


def restart(options: argparse.Namespace) -> int:
    """Stop and start."""
    return stop(options) or start(options)


def ps(options: argparse.Namespace) -> int:
    """List what runs, one JSON object a line, or a name and a state a line."""
    project = _project(options)
    state = read_state(project.folder)
    for name, running in state.services.items():
        alive = running.alive
        if not alive and not options.all:
            continue
        row = {
            "Service": name,
            "State": "running" if alive else "exited",
            # Nobody runs health checks in the background here: `up --wait` and the operator's command run them.
            "Health": "",
            "ExitCode": running.exit_code or 0,
        }
        if options.quiet:
            print(running.pid)
        else:
            print(json.dumps(row) if options.format == "json" else f"{name}\t{row['State']}")
    return 0


def logs(options: argparse.Namespace) -> int:
    """Print what services said."""
    project = _project(options)
    state = read_state(project.folder)
    names = [name for name in options.services or project.services if state.log(name).exists()]
    if options.follow:
        lines = options.tail if options.tail.isdigit() else "+1"
        os.execvp("tail", ["tail", "-q", "-n", lines, "-F", *(str(state.log(name)) for name in names)])
    for name in names:
        lines = state.log(name).read_text("utf-8", "replace").splitlines()
        for line in lines[-int(options.tail) :] if options.tail.isdigit() else lines:
            print(f"{name:8}| {line}")
    return 0


def config(options: argparse.Namespace) -> int:
    """Print the compose file with its variables, or only say whether it can be read."""
    project = _project(options)
    if options.services:
        print("\n".join(project.services))
    elif not options.quiet:
        print(json.dumps(project.file) if options.format == "json" else yaml.safe_dump(project.file, sort_keys=False))
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a one-shot job with other words than the file's."""
    project = _project(options)
    if not options.no_deps:
        needs = argparse.Namespace(**{**vars(options), "services": list(project.needs(options.service)), "wait": False})
        if needs.services and (code := up(needs)):
            return code
    with changing(project.folder) as state:
        state.ports = assign_ports(project, state.ports)
    return services.run_once(project, state, options.service, options.command, options.volume, options.env)


def execute(options: argparse.Namespace) -> int:
    """Run a command beside a running service."""
    project = _project(options)
    return services.execute(project, read_state(project.folder), options.service, options.command, options.env)


def watch(options: argparse.Namespace) -> int:
    """Wait for the end of the owner, then end everything."""
    watchdog.wait_for_end_of(options.owner)
    return down(options)


def version(options: argparse.Namespace) -> int:
    """Say who answers."""
    print("native stand-in for docker compose")
    return 0


def _project(options: argparse.Namespace) -> Project:
    return read_project(Path(options.project_directory or Path.cwd()).resolve(), options.file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("engine", description=__doc__)
    parser.add_argument("-f", "--file")
    parser.add_argument("--project-directory")
    verbs = parser.add_subparsers(required=True)

    def verb(name: str, action: Callable[[argparse.Namespace], int], *, many: bool = False) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=action.__doc__)
        one.set_defaults(action=action)
        if many:
            one.add_argument("services", nargs="*")
        return one

    for name, action in (("stop", stop), ("start", start), ("restart", restart)):
        verb(name, action, many=True).add_argument("-t", "--timeout")
    one = verb("up", up, many=True)
    one.add_argument("-d", "--detach", action="store_true", required=True)
    for flag in ("--wait", "--no-deps", "--build", "--no-build", "--remove-orphans", "--quiet-pull"):
        one.add_argument(flag, action="store_true")
    one = verb("down", down)
    one.add_argument("-v", "--volumes", action="store_true")
    one.add_argument("-t", "--timeout")
    one.add_argument("--remove-orphans", action="store_true")
    one = verb("ps", ps)
    one.add_argument("--format", default="table")
    one.add_argument("-q", "--quiet", action="store_true")
    one.add_argument("-a", "--all", action="store_true")
    one = verb("logs", logs, many=True)
    one.add_argument("-f", "--follow", action="store_true")
    one.add_argument("--tail", default="all")
    one.add_argument("--no-color", action="store_true")
    one = verb("config", config)
    one.add_argument("--format", default="yaml")
    one.add_argument("-q", "--quiet", action="store_true")
    one.add_argument("--services", action="store_true")
    one = verb("run", run)
    for flag in ("--rm", "-T", "--no-deps", "--build"):
        one.add_argument(flag, action="store_true")
    one.add_argument("-u", "--user")
    one.add_argument("-v", "--volume", action="append", default=[])
    one = _in_service(one)
    one = verb("exec", execute)
    one.add_argument("-T", action="store_true")
    one.add_argument("-u", "--user")
    _in_service(one)
    verb("watch", watch).add_argument("owner", type=int)
    verb("version", version)
    return parser


def _in_service(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("service")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser

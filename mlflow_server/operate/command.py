"""The operator's command line: what can be typed, and that every error is a sentence."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from operate import (
    accounts,
    address,
    backup,
    certificate,
    environment,
    lifecycle,
    manifest,
    migration,
    preparation,
    restore,
)
from operate.engine import SERVICES, interrupted, json_line
from operate.errors import Problem
from operate.server import alone, open_server

Action = Callable[[Path, argparse.Namespace], int]
Changes = Callable[[argparse.Namespace], bool]
"""Tells whether a command changes the server, and so must be the only one that does."""


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Run one command on the server in `folder`; an error is one line on standard error, and 1."""
    # Whatever is made here may hold secrets or patients' data.
    os.umask(0o077)
    options = _parser().parse_args(arguments)
    action: Action = options.action
    try:
        if not options.changes(options):
            return action(folder, options)
        with alone(folder):
            return action(folder, options)
    except Problem as problem:
        print(problem, file=sys.stderr)
    except BrokenPipeError:
        # The reader of a pipe, e.g. head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{_relative(folder, error.filename)}: " if error.filename else ""
        print(f"{where}{error.strerror or error}.", file=sys.stderr)
    except KeyboardInterrupt:
        interrupted()
        return 130
    except Exception as error:
        if os.environ.get("MLOPS_TRACEBACK"):
            raise
        print(f"{type(error).__name__}: {error} (MLOPS_TRACEBACK=1 shows where.)".replace("\n", " "), file=sys.stderr)
    return 1


def _relative(folder: Path, path: object) -> str:
    text = os.fsdecode(path) if isinstance(path, (str, bytes)) else str(path)
    return text[len(str(folder)) + 1 :] if text.startswith(f"{folder}/") else text


def _report(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _init(folder: Path, options: argparse.Namespace) -> int:
    for sentence in preparation.initialise(folder, options.name):
        print(sentence)
    found = preparation.problems(open_server(folder), running=True)
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    print("Next: ./mlops-server start")
    return 0


def _check(folder: Path, options: argparse.Namespace) -> int:
    server = open_server(folder)
    found = preparation.problems(server, running=True)
    try:
        server.engine.require()
        if server.engine.states().get("nginx") != "running":
            found += address.taken_ports(server.env)
    except Problem as problem:
        # Several problems of the settings keep the engine from reading them, and are in the list already.
        if not found or "required variable" not in str(problem):
            found.append(str(problem))
    if options.json:
        print(json.dumps({"problems": found}))
    elif found:
        print("\n".join(found), file=sys.stderr)
    else:
        print("\n".join(["Nothing keeps the server from starting.", *preparation.warnings(server)]))
    return 1 if found else 0


def _start(folder: Path, options: argparse.Namespace) -> int:
    server = open_server(folder)
    lifecycle.start(server, _report)
    print(f"MLflow            {address.mlflow_uri(server.env)}")
    print(f"Object store      {address.objects_uri(server.env)}")
    if (server.tls / "ca.crt").exists():
        print(f"Its authority     {server.tls / 'ca.crt'} (every user's machine must trust it)")
    print(
        f"Administrator     {server.env.get('MLFLOW_ADMIN_USER') or 'admin'}, password: MLFLOW_ADMIN_PASSWORD in .env"
    )
    print("Next: ./mlops-server user add NAME")
    for warning in preparation.warnings(server):
        print(warning)
    return 0


def _stop(folder: Path, options: argparse.Namespace) -> int:
    lifecycle.stop(open_server(folder))
    print("Stopped. The data stay where they are.")
    return 0


def _status(folder: Path, options: argparse.Namespace) -> int:
    found = lifecycle.status(open_server(folder))
    well = found["answers"] and all(one["healthy"] for one in found["services"].values())
    if options.json:
        print(json.dumps(found))
        return 0 if well else 1
    for name, one in found["services"].items():
        health = "healthy" if one["healthy"] else one["complaint"] or ""
        print(f"{name:12}{one['state']}{', ' if health else ''}{health}")
    print(f"{'MLflow':12}{found['mlflow']}")
    print(f"{'objects at':12}{found['objects']}")
    print(f"{'from outside':12} {'both answer' if found['answers'] else found['complaint']}")
    where = "" if found["certificate"]["served"] else " (the file's; none is served)"
    print(f"{'certificate':12}until {found['certificate']['expires']}{where}")
    if found["certificate"]["warning"]:
        print(found["certificate"]["warning"])
    return 0 if well else 1


def _logs(folder: Path, options: argparse.Namespace) -> int:
    server = open_server(folder)
    unknown = [name for name in options.services if name not in SERVICES]
    if unknown:
        raise Problem(f"There is no service {unknown[0]}: these have logs: {', '.join(SERVICES)}.")
    server.engine.require()
    if not server.engine.states() and not environment.holds_something(server.data / "db"):
        raise Problem("Nothing has run here yet, so there are no logs: run ./mlops-server start")
    follow = ["-f"] if options.follow else []
    return server.engine.show("logs", "--no-color", "--tail", str(options.tail), *follow, *options.services)


def _migrate(folder: Path, options: argparse.Namespace) -> int:
    server = open_server(folder)
    if options.status:
        backup.require_stores(server)
        print(json.dumps(json_line(server.engine.job("migrate", "--status"))))
        return 0
    saved = migration.run(server, _report)
    if saved is None:
        print("The schema is current: nothing to upgrade. Next: ./mlops-server start")
    else:
        print(f"Upgraded, and started. {migration.way_back(saved)}")
    return 0


def _backup(folder: Path, options: argparse.Namespace) -> int:
    server = open_server(folder)
    made = backup.make(server, options.folder and options.folder.resolve(), _report)
    if options.json:
        print(json.dumps({"folder": str(made.folder), **made.document}))
        return 0
    counts = made.document["counts"]
    size = f"{counts['bytes'] / 1e6:.1f} MB"
    print(f"{made.folder}: {counts['runs']} runs, {counts['users']} accounts, {counts['objects']} objects ({size}).")
    if counts["repaired"]:
        print(
            f"{counts['repaired']} objects were read anew, because an earlier backup holds damaged copies of them: "
            "see ./mlops-server restore DIR --check for each that you keep."
        )
    print(
        "Settings, secrets and keys are not in it. Keep them elsewhere: "
        f"tar -czf SOMEWHERE-SAFE.tar.gz -C {shlex.quote(str(folder))} .env tls"
    )
    return 0


def _restore(folder: Path, options: argparse.Namespace) -> int:
    saved = manifest.read(options.folder.resolve())
    if options.check:
        restore.verify(saved)
        print(f"{saved.folder} is whole: every file is what was written on {saved.made}.")
        return 0
    restore.run(open_server(folder), saved, replace=options.replace, report=_report)
    counts = saved.document["counts"]
    print(f"The server is as it was on {saved.made}: {counts['runs']} runs, {counts['users']} accounts.")
    return 0


def _user(folder: Path, options: argparse.Namespace) -> int:
    sys.stdout.write(accounts.user(open_server(folder), options))
    return 0


def _share(folder: Path, options: argparse.Namespace) -> int:
    sys.stdout.write(accounts.share(open_server(folder), options.experiment, options.user, options.level))
    return 0


def _certificate(folder: Path, options: argparse.Namespace) -> int:
    server = open_server(folder)
    if options.renew:
        certificate.renew(server.tls, address.clean_name(server.env["SERVER_NAME"]))
        preparation.hand_over(server)
        lifecycle.renew_certificate_of_nginx(server)
    current = certificate.read(server.tls / "server.crt")
    if options.json:
        print(json.dumps({**vars(current), "days_left": current.days_left}))
    else:
        if options.renew:
            print(
                "Renewed: a new key, and a new certificate from the same authority. Nobody has to trust anything new."
            )
        print(f"subject  {current.subject}\nissuer   {current.issuer}\nnames    {', '.join(current.names)}")
        print(f"expires  {current.date}, in {current.days_left} days")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mlops-server", description="Runs this folder's MLflow server.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def never(_: argparse.Namespace) -> bool:
        return False

    def always(_: argparse.Namespace) -> bool:
        return True

    def verb(name: str, action: Action, text: str, *, changes: Changes = never) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=text, description=text)
        one.set_defaults(action=action, changes=changes)
        return one

    one = verb("init", _init, "write settings, secrets, authority and certificate; what is there stays", changes=always)
    one.add_argument("--name", help="host name or IPv4 address under which people reach this machine")
    _with_json(verb("check", _check, "name everything that would keep the server from starting"))
    verb("start", _start, "start everything and wait until it answers", changes=always)
    verb("stop", _stop, "stop everything; the data stay", changes=always)
    _with_json(verb("status", _status, "how each part is; exit status 1 unless all is well"))
    one = verb("logs", _logs, "what the services said")
    one.add_argument("services", nargs="*", metavar="SERVICE")
    one.add_argument("-f", "--follow", action="store_true", help="go on showing it until Ctrl-C")
    one.add_argument("--tail", type=int, default=200, metavar="LINES", help="how much of each (200)")
    text = "back up, then upgrade the database to this MLflow"
    one = verb("migrate", _migrate, text, changes=lambda given: not given.status)
    one.add_argument("--status", action="store_true", help="only print where the schema stands, as JSON")
    one = verb("backup", _backup, "save database and artifacts while the server works", changes=always)
    one.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="a new folder (backups/ and the time)")
    _with_json(one)
    text = "make the server what it was when a backup was made"
    one = verb("restore", _restore, text, changes=lambda given: not given.check)
    one.add_argument("folder", type=Path, metavar="DIR")
    one.add_argument("--replace", action="store_true", help="what the server holds now may be lost")
    one.add_argument("--check", action="store_true", help="only compare the backup's checksums")
    _user_verbs(verb("user", _user, "people's accounts"))
    one = verb("share", _share, "let an account see, edit or manage an experiment")
    one.add_argument("experiment")
    one.add_argument("user")
    one.add_argument("level", choices=("READ", "EDIT", "MANAGE", "NONE"))
    one = verb("certificate", _certificate, "show the certificate", changes=lambda given: given.renew)
    one.add_argument("--renew", action="store_true", help="make a new one from the same authority")
    _with_json(one)
    return parser


def _user_verbs(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, dest="what", metavar="WHAT")
    for name, text in (
        ("add", "make an account and print its password once"),
        ("password", "give an account a new password and print it once"),
        ("remove", "remove an account; its runs stay"),
        ("list", "list the accounts"),
    ):
        one = verbs.add_parser(name, help=text, description=text)
        _with_json(one)
        if name != "list":
            one.add_argument("name", metavar="NAME")
        if name in ("add", "password"):
            one.add_argument("--password-stdin", action="store_true", help="read the password instead of inventing it")
        if name == "add":
            one.add_argument("--admin", action="store_true", help="the account may see and change everything")


def _with_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")

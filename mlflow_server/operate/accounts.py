"""``user`` and ``share``: people's accounts, through the store of accounts that MLflow itself uses."""

from __future__ import annotations

import argparse
import sys

from operate.errors import Problem
from operate.server import Server


def user(server: Server, options: argparse.Namespace) -> str:
    """Add, remove or list accounts, or give one a new password; returns what to print."""
    words = ["user", options.what]
    given = None
    if getattr(options, "password_stdin", False):
        given = sys.stdin.readline()
        if not given.strip():
            raise Problem("No password came in: echo it into this command, or leave --password-stdin out.")
        words.append("--password-stdin")
    if getattr(options, "admin", False):
        words.append("--admin")
    if options.json:
        words.append("--json")
    if options.what != "list":
        words += ["--", options.name]
    _require_database(server)
    return server.engine.job(*words, given=given)


def share(server: Server, experiment: str, name: str, level: str) -> str:
    """Let somebody see, edit or manage an experiment; returns what to print."""
    _require_database(server)
    return server.engine.job("share", "--", experiment, name, level)


def _require_database(server: Server) -> None:
    server.engine.require()
    if server.engine.states().get("db") != "running":
        raise Problem("The server does not run: start it with ./mlops-server start")

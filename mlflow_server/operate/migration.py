"""``migrate``: upgrades the database's schema to the one of this server's MLflow, after a backup."""

from __future__ import annotations

from operate import backup, lifecycle, manifest
from operate.engine import json_line
from operate.errors import Problem
from operate.server import Server


def run(server: Server, report: lifecycle.Report) -> manifest.Backup | None:
    """Back up, upgrade, start again.

    Parameters
    ----------
    server
        The server, whose .env names the new image already.
    report
        Told what is being done.

    Returns
    -------
    Backup or None
        What to restore to go back; None when the schema was current.

    Raises
    ------
    Problem
        When the backup fails, and then nothing is upgraded; or when the upgrade fails, with the way back.
    """
    server.require_whole()
    lifecycle.require_ready(server)
    lifecycle.start_stores(server, report)
    if json_line(server.engine.job("migrate", "--status"))["state"] != "behind":
        # Makes an empty one, says why it cannot use a newer or foreign one, does nothing to a current one.
        server.engine.job("migrate", "--empty-only")
        return None
    server.engine.seed()
    stopped = [name for name in ("mlflow", "nginx") if server.engine.states().get(name) == "running"]
    if stopped:
        # What a run logs between backup and upgrade would be lost on the way back.
        server.engine.stop(*stopped)
    try:
        saved = backup.make(server, None, report)
    except BaseException as error:
        if stopped:
            server.engine.resume(*stopped)
        if isinstance(error, Problem):
            raise Problem(f"Nothing was upgraded, for there is no backup to go back to. {error}") from None
        raise
    report("The schema is being upgraded ...")
    try:
        server.engine.job("migrate")
    except Problem as problem:
        raise Problem(f"The upgrade failed: {problem} {way_back(saved)}") from None
    lifecycle.start(server, report)
    return saved


def way_back(saved: manifest.Backup) -> str:
    """Say how to undo an upgrade."""
    image = saved.document["images"]["MLFLOW_IMAGE"]
    return f"To go back: write MLFLOW_IMAGE={image} into .env, then ./mlops-server restore {saved.folder} --replace"

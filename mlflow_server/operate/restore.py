"""``restore``: makes the server what it was when a backup was made, after every checksum has been compared."""

from __future__ import annotations

from typing import Any

from operate import backup, lifecycle, manifest
from operate.errors import Problem
from operate.server import Server

_OWN_ACCOUNTS = 2
"""Those that a new server makes by itself: the administrator's and the health check's."""


def verify(saved: manifest.Backup) -> None:
    """Refuse a backup of which a single byte is not what was written."""
    damage = manifest.damage(saved)
    if damage:
        raise Problem(f"The backup is damaged: {saved.folder.name}/{damage}. Nothing was changed; take another backup.")


def run(server: Server, saved: manifest.Backup, *, replace: bool, report: lifecycle.Report) -> None:
    """Put database and bucket back, and start the server.

    Parameters
    ----------
    server
        The server; it need not run, and may be a new one with other secrets.
    saved
        The backup.
    replace
        Whether what the server holds now may be lost.
    report
        Told what is being done.

    Raises
    ------
    Problem
        When the backup is damaged, the server holds something and `replace` is False, or a step fails.
    """
    report("Every checksum of the backup is being compared ...")
    verify(saved)
    lifecycle.require_ready(server)
    lifecycle.start_stores(server, report)
    held = _held(backup.describe(server))
    if held and not replace:
        raise Problem(
            f"This server holds {held}, which would be lost: make a backup of it, then run ./mlops-server restore "
            f"{saved.folder} --replace"
        )
    _objects(server, saved, "check")
    server.engine.stop("nginx", "mlflow")
    server.engine.seed()
    server.begin_restore(saved.folder)
    report("The database is being loaded ...")
    backup.load_database(server.engine, saved.folder / manifest.DATABASE)
    report("The artifacts are being loaded ...")
    _objects(server, saved, "load")
    server.end_restore()
    try:
        lifecycle.start(server, report)
    except Problem as problem:
        image = saved.document["images"]["MLFLOW_IMAGE"]
        raise Problem(f"The backup, made with the image {image}, is in place. {problem}") from None


def _objects(server: Server, saved: manifest.Backup, verb: str) -> None:
    """Run a job on the backup's objects as the owner of their folder: even root, in a container, reads only its own."""
    owner = saved.folder.stat()
    server.engine.job(
        "objects",
        verb,
        "/backup/objects",
        "--json",
        volumes=[f"{saved.folder}:/backup:ro"],
        user=f"{owner.st_uid}:{owner.st_gid}",
    )


def _held(described: dict[str, Any]) -> str:
    """Say what a server holds; nothing for one that is as new."""
    counts = {name: value for name, value in described.items() if isinstance(value, int)}
    # A new server has the experiment "Default".
    counts["experiments"] = counts.get("experiments", 0) - 1
    counts["users"] = counts.get("users", 0) - _OWN_ACCOUNTS
    words = {"trace_info": "traces", "logged_models": "logged models", "registered_models": "registered models"}
    return ", ".join(f"{value} {words.get(name, name)}" for name, value in counts.items() if value > 0)

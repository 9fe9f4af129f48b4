"""Starting, stopping and watching the server, one service after the other: not every engine waits for a healthy one."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from operate import address, certificate, preparation
from operate.engine import PROBES, Engine
from operate.errors import Problem
from operate.server import Server

LIMITS = {"db": 300.0, "objects": 120.0, "mlflow": 240.0, "nginx": 60.0}
"""Seconds for each service to become healthy; a first start fills the database's folder."""
GIVE_UP = 3
"""How often in a row a service may be seen not running before it counts as failed."""
REFUSED = 15.0
"""Seconds for which a database may refuse its own user: one that is being made may not know it yet."""
ORDER = ("db", "objects", "mlflow", "nginx")

Report = Callable[[str], None]


def start(server: Server, report: Report) -> None:
    """Start everything in order and return when both addresses answer as a researcher's machine will see them.

    Raises
    ------
    Problem
        When a setting is wrong, a service does not come up, or the database waits for an upgrade.
    """
    server.require_whole()
    require_ready(server)
    start_stores(server, report)
    report("Schema, bucket and key are looked after ...")
    # One after the other: whenever a container starts or ends, the names of podman's networks are gone for a moment.
    server.engine.seed()
    server.engine.job("migrate", "--empty-only")
    report("MLflow is starting ...")
    server.engine.up("mlflow")
    wait_healthy(server.engine, "mlflow")
    server.engine.up("nginx")
    wait_healthy(server.engine, "nginx")
    shown = certificate.served(server.env)
    if shown and not certificate.is_in(shown, server.tls / "server.crt"):
        report("nginx starts again, with the certificate that is in tls/ now ...")
        renew_certificate_of_nginx(server)
    _wait_answer(server)
    server.note_start()


def require_ready(server: Server) -> None:
    """Make the folders, and refuse to start while ``check`` finds anything wrong; the message names it all."""
    preparation.make_folders(server)
    preparation.hand_over(server)
    server_problems = preparation.problems(server, running=True)
    if server_problems:
        raise Problem("\n".join(server_problems))
    server.engine.require()
    if server.engine.states().get("nginx") != "running":
        taken = address.taken_ports(server.env)
        if taken:
            raise Problem("\n".join(taken))


def start_stores(server: Server, report: Report) -> None:
    """Start database and object store, and wait until they are healthy."""
    report("Database and object store are starting ...")
    server.engine.up("db", "objects")
    with ThreadPoolExecutor() as together:
        for waiting in [together.submit(wait_healthy, server.engine, name) for name in ("db", "objects")]:
            waiting.result()


def stop(server: Server, *services: str) -> None:
    """Stop services, all of them by default; the data stay."""
    server.engine.require()
    server.engine.stop(*services)


def renew_certificate_of_nginx(server: Server) -> None:
    """Let nginx read a new certificate, where it runs."""
    try:
        running = server.engine.states().get("nginx") == "running"
    except Problem:
        return  # no engine: the certificate counts from the next start on
    if running:
        server.engine.restart("nginx")
        wait_healthy(server.engine, "nginx")


def wait_healthy(engine: Engine, service: str) -> None:
    """Wait until a service's health check succeeds.

    Raises
    ------
    Problem
        When the service keeps ending, refuses the settings of .env, or takes too long; with its last words.
    """
    limit = time.monotonic() + LIMITS[service]
    absent = 0
    refused: float | None = None
    while True:
        complaint = engine.healthy(service)
        if complaint is None:
            return
        absent = absent + 1 if engine.states().get(service) != "running" else 0
        if absent >= GIVE_UP:
            said = engine.last_words(service)
            raise Problem(
                f"{service} does not stay up. Its last words: {said or 'none'} (more: ./mlops-server logs {service})"
            )
        refusal = _refusal(complaint) if service == "db" else None
        refused = (refused or time.monotonic()) if refusal else None
        if refused and time.monotonic() > refused + REFUSED:
            raise Problem(refusal)
        if time.monotonic() > limit:
            raise Problem(
                f"{service} was not healthy after {LIMITS[service]:.0f} seconds: {complaint} "
                f"(more: ./mlops-server logs {service})"
            )
        time.sleep(0.3)


def _refusal(complaint: str) -> str | None:
    """Say what it means that the database is up and does not let its user in."""
    if "access denied" not in complaint.lower():
        return None
    name = "MYSQL_DATABASE" if "to database" in complaint else "MYSQL_PASSWORD or MYSQL_USER"
    return f"The database refuses MLflow: {name} in .env is not what it was made with. Put your copy of .env back."


def _wait_answer(server: Server) -> None:
    limit = time.monotonic() + LIMITS["nginx"]
    while True:
        silent = address.silence(server.env, server.tls / "ca.crt")
        if silent is None:
            return
        if time.monotonic() > limit or "certificate" in silent:
            raise Problem(f"Everything runs, but {silent} (more: ./mlops-server logs nginx)")
        time.sleep(0.3)


def status(server: Server) -> dict[str, Any]:
    """Ask every part of the server how it is."""
    server.require_whole()
    server.engine.require()
    states = server.engine.states()
    running = [name for name in ORDER if states.get(name) == "running"]
    with ThreadPoolExecutor() as together:
        asked = {name: together.submit(server.engine.healthy, name) for name in running}
    health = {name: one.result() for name, one in asked.items()}
    silent = address.silence(server.env, server.tls / "ca.crt") if "nginx" in running else "nginx does not run"
    return {
        "services": {
            name: {
                "state": states.get(name) or "not started",
                "healthy": name in health and health[name] is None,
                "complaint": health.get(name),
            }
            for name in PROBES
        },
        "mlflow": address.mlflow_uri(server.env),
        "objects": address.objects_uri(server.env),
        "answers": silent is None,
        "complaint": silent,
        "certificate": _certificate(server, certificate.served(server.env) if "nginx" in running else ""),
    }


def _certificate(server: Server, shown: str) -> dict[str, Any]:
    """Describe the certificate that is served, or the file's while none is."""
    file = server.tls / "server.crt"
    current = certificate.parse(shown, server.tls) if shown else certificate.read(file)
    warning = current.warning
    try:
        if shown and not certificate.is_in(shown, file):
            warning = "tls/server.crt holds another certificate than the one that is served: run ./mlops-server start"
    except OSError as error:
        warning = f"tls/server.crt cannot be read ({error.strerror}): the next start needs it."
    except Problem as problem:
        warning = str(problem)
    return {"served": bool(shown), "expires": current.date, "days_left": current.days_left, "warning": warning}

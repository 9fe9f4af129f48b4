"""What stands in for each image: which program runs, and what it must be told because it is not in a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.stack.engine.errors import EngineError
from tests.stack.engine.places import HERE, Places
from tests.stack.engine.project import Project

IMAGES = Path(__file__).parents[1] / "images"
PATH = os.pathsep.join([str(IMAGES), str(Path(sys.executable).parent), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"])


def entrypoint(project: Project, name: str) -> list[str]:
    """Give the words before a service's command, as its image has them."""
    if is_ours(project, name):
        return [sys.executable, "-m", "mlops_server"]
    if name == "db":
        return ["sh", str(IMAGES / "db-entrypoint.sh")]
    if name == "objects":
        return ["sh", str(IMAGES / "minio")]
    if project.service(name).get("entrypoint"):
        return []
    raise EngineError(f"services.{name}: nothing stands in for the image {project.service(name).get('image')}")


def is_ours(project: Project, name: str) -> bool:
    """Tell whether a service runs the image that this project builds."""
    return bool(project.service(name).get("build"))


def additions(project: Project, name: str, places: Places, given: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that only a process outside a container needs."""
    if is_ours(project, name):
        return {"PYTHONPATH": str(project.folder / "mlflow"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    if name == "db":
        return {
            "MYSQL_DATADIR": str(places.path("/var/lib/mysql")),
            "MYSQL_CNF": str(places.path("/etc/mysql/conf.d/mlops.cnf")),
            "MYSQL_BIND_ADDRESS": HERE,
            # MySQL's own programs read these two.
            "MYSQL_TCP_PORT": str(places.own(3306)),
            "MYSQL_UNIX_PORT": str(places.path("/var/run/mysqld") / "mysqld.sock"),
        }
    if name == "objects":
        # SeaweedFS takes its keys at its start, where MinIO is given them by the job `seed`.
        return {
            "STATIC_BUCKET": project.variables.get("MINIO_BUCKET") or "mlflow",
            "STATIC_ACCESS_KEY": project.variables.get("MINIO_ACCESS_KEY", ""),
            "STATIC_SECRET_KEY": project.variables.get("MINIO_SECRET_KEY", ""),
            "MC_HOST_local": f"http://{HERE}:{places.own(9000)}",
        }
    # What a container engine publishes on an address of this machine, nginx itself opens there.
    return {
        key: f"{HERE}:{places.own(int(value))}"
        for key, value in given.items()
        if key.endswith("_LISTEN") and value.isdigit()
    }

"""MLflow's schema in the database: where it stands, how it is created, how it is upgraded.

MLflow keeps two schemas with versions of their own: the core (runs, experiments, models) and the accounts of its
basic-auth app. Both live in one database, so that one dump holds both.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.migration import MigrationContext
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import ForeignKeyConstraint, Table

from . import database

_PARTS = {
    "core": ("store/db_migrations", "alembic_version"),
    "auth": ("server/auth/db/migrations", "alembic_version_auth"),
}
_REVISION = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*(.+)$", re.MULTILINE)
_CREATING = "mlops_server_creating"
"""A table that is there while the schema is made: what an interrupted creation left may be thrown away."""


@dataclass(frozen=True)
class Part:
    """One of the two schemas: the revision the database is at, and the one this image wants."""

    at: str | None
    head: str
    known: bool
    """Whether this image knows the revision that the database is at."""


@dataclass(frozen=True)
class Schema:
    """Where both schemas stand."""

    state: str
    """empty, current, behind, ahead, or foreign: tables that no MLflow made."""
    core: Part
    auth: Part

    def document(self) -> dict[str, Any]:
        """Give it as plain data for JSON."""
        parts = {"core": self.core, "auth": self.auth}
        return {"state": self.state, **{name: {"at": part.at, "head": part.head} for name, part in parts.items()}}


REASONS = {
    "empty": "The database holds no schema yet. Run ./mlops-server start: its migrate job makes one.",
    "behind": (
        "The database's schema is older than this image's MLflow. Run ./mlops-server migrate: it makes a backup first, "
        "then upgrades."
    ),
    "ahead": (
        "The database's schema is newer than this image's MLflow, which would misread it. Start the newer image again "
        "(MLFLOW_IMAGE in .env), or restore a backup of that older version with ./mlops-server restore."
    ),
    "foreign": (
        "The database holds tables, but not those of an MLflow server. Give MLflow a database of its own in "
        "MYSQL_DATABASE, or restore a backup with ./mlops-server restore."
    ),
}
"""Why `serve` does not start, for each state but current."""


def status(engine: Engine) -> Schema:
    """Read where the schema stands; changes nothing."""
    with engine.connect() as connection:
        parts = {name: _part(connection, *where) for name, where in _PARTS.items()}
        found = database.tables(connection)
    revisions = parts.values()
    if not found or _CREATING in found:
        state = "empty"
    elif any(not part.known for part in revisions):
        state = "ahead"
    elif all(part.at == part.head for part in revisions):
        state = "current"
    elif all(part.at is None for part in revisions):
        state = "foreign"
    else:
        state = "behind"
    return Schema(state, parts["core"], parts["auth"])


def create(engine: Engine) -> None:
    """Make both schemas in an empty database. What an earlier, interrupted creation left is removed first."""
    from mlflow.store.db.utils import _initialize_tables

    with engine.begin() as connection:
        left = database.tables(connection)
        if _CREATING in left:
            print("An earlier creation of the schema was interrupted: starting over.", file=sys.stderr)
            _drop(connection, left - {_CREATING})
        else:
            connection.execute(sqlalchemy.text(f"CREATE TABLE {_CREATING} (started INT)"))
    _initialize_tables(engine)  # type: ignore[no-untyped-call]
    _upgrade_auth(engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"DROP TABLE {_CREATING}"))


def upgrade(engine: Engine) -> None:
    """Bring both schemas to this image's revision. MySQL cannot roll schema changes back: have a backup."""
    from mlflow.store.db.utils import _upgrade_db

    _upgrade_db(engine)  # type: ignore[no-untyped-call]
    _upgrade_auth(engine)


def _upgrade_auth(engine: Engine) -> None:
    from mlflow.server.auth.db.utils import migrate

    with _distinct_constraint_names():
        migrate(engine, "head")


@contextmanager
def _distinct_constraint_names() -> Iterator[None]:
    """Let MLflow's first auth revision run on MySQL.

    It gives two foreign keys one name, fk_user_id. MySQL and MariaDB want names that differ within the database
    (https://github.com/mlflow/mlflow/issues/10964); no later revision refers to the name.
    """
    used = set()

    def rename(table: Table, _: Connection, **__: Any) -> None:
        for constraint in table.constraints:
            if isinstance(constraint, ForeignKeyConstraint) and constraint.name:
                if constraint.name in used:
                    constraint.name = f"{constraint.name}_{table.name}"[:64]
                used.add(constraint.name)

    event.listen(Table, "before_create", rename)
    try:
        yield
    finally:
        event.remove(Table, "before_create", rename)


def _drop(connection: Connection, names: set[str]) -> None:
    quoted = connection.dialect.identifier_preparer.quote
    connection.execute(sqlalchemy.text("SET FOREIGN_KEY_CHECKS = 0"))
    for name in sorted(names):
        connection.execute(sqlalchemy.text(f"DROP TABLE {quoted(name)}"))
    connection.execute(sqlalchemy.text("SET FOREIGN_KEY_CHECKS = 1"))


def _part(connection: Connection, folder: str, version_table: str) -> Part:
    known, head = _revisions(folder)
    at = MigrationContext.configure(connection, opts={"version_table": version_table}).get_current_revision()
    return Part(at, head, at is None or at in known)


def _revisions(folder: str) -> tuple[set[str], str]:
    """Give the revisions that this image's MLflow knows, and the last of them.

    Read from the files: alembic would import them and with them MLflow, which takes seconds, at every start.
    """
    spec = importlib.util.find_spec("mlflow")
    assert spec
    assert spec.origin
    known: set[str] = set()
    followed: set[str] = set()
    for file in (Path(spec.origin).parent / folder / "versions").glob("*.py"):
        names = {name: ast.literal_eval(value) for name, value in _REVISION.findall(file.read_text("utf-8"))}
        if "revision" in names:
            known.add(names["revision"])
            before = names.get("down_revision") or ()
            followed.update([before] if isinstance(before, str) else before)
    (head,) = known - followed
    return known, head

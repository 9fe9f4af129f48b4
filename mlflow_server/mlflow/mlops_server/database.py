"""The connection to the database: waiting for it, asking it, and keeping two migrations from running at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from .settings import Database, Refusal

START_LIMIT = 180.0
"""Seconds for the database to answer: MySQL's first start fills its folder."""
LOCK_LIMIT = 900
"""Seconds to wait while another process migrates."""

_ACCESS = {1044, 1045, 1698}
_UNKNOWN_DATABASE = 1049


def connect(database: Database, limit: float = START_LIMIT) -> Engine:
    """Give an engine for the database once it answers.

    Parameters
    ----------
    database
        Where it is.
    limit
        Seconds to wait for a database that is still starting. A wrong password is not waited for.

    Raises
    ------
    Refusal
        If it does not answer in time, or does not let us in.
    """
    engine = sqlalchemy.create_engine(database.uri, poolclass=NullPool, hide_parameters=True)
    end = time.monotonic() + limit
    told = False
    while True:
        try:
            with engine.connect():
                return engine
        except OperationalError as error:
            code = error.orig.args[0] if error.orig and error.orig.args else None
            if code in _ACCESS:
                raise Refusal(
                    f"The database at {database.address} refuses the account in MYSQL_USER. MYSQL_PASSWORD counts at "
                    "its first start only: put the old value back into .env, or change it in the database too."
                ) from error
            if code == _UNKNOWN_DATABASE:
                raise Refusal(
                    f"There is no database {database.name} at {database.address}. MYSQL_DATABASE counts at the "
                    "database's first start only: put the old name back into .env."
                ) from error
            if time.monotonic() > end:
                raise Refusal(
                    f"The database at {database.address} does not answer. Look at it with ./mlops-server logs db."
                ) from error
            if not told:
                print(f"Waiting for the database at {database.address}.", file=sys.stderr, flush=True)
                told = True
            time.sleep(0.5)


def speaks_utf8mb4(connection: Connection) -> bool:
    """Tell whether new tables take every character; MLflow's migrations break half-way where they do not."""
    return bool(connection.execute(sqlalchemy.text("SELECT @@character_set_database = 'utf8mb4'")).scalar())


def tables(connection: Connection) -> set[str]:
    """Names of the tables there are."""
    return set(sqlalchemy.inspect(connection).get_table_names())


@contextmanager
def alone(engine: Engine, name: str, limit: int = LOCK_LIMIT) -> Iterator[None]:
    """Hold the database's migration lock; a second process waits here. The lock dies with its connection."""
    lock = f"mlops-server {name}"[:64]
    with engine.connect() as connection:
        if connection.execute(sqlalchemy.text("SELECT GET_LOCK(:lock, 0)"), {"lock": lock}).scalar() != 1:
            print("Another process is migrating this database: waiting for it.", file=sys.stderr, flush=True)
            got = connection.execute(sqlalchemy.text("SELECT GET_LOCK(:lock, :limit)"), {"lock": lock, "limit": limit})
            if got.scalar() != 1:
                raise Refusal(
                    f"Another process has been migrating this database for {limit // 60} minutes. Look at it with "
                    "./mlops-server logs migrate, and try again when it is done."
                )
        try:
            yield
        finally:
            # A connection that broke has released the lock already.
            try:
                connection.execute(sqlalchemy.text("SELECT RELEASE_LOCK(:lock)"), {"lock": lock})
            except SQLAlchemyError:
                connection.invalidate()

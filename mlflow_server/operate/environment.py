"""The file .env: every setting and secret of the server, one ``NAME=value`` a line."""

from __future__ import annotations

import os
import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from operate import engine
from operate.errors import Problem

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_EXAMPLE = "change-me"
_TITLE = "# Every setting and secret of this server, written by ./mlops-server init. Keep a copy in a safe place."
OWN_USER = 10101
"""The user id of the server's processes when the operator is root."""


@dataclass(frozen=True)
class Filled:
    """What ``init`` did to .env."""

    values: dict[str, str]
    created: bool
    changed: list[str]
    """The variables that it gave a value."""


def read(file: Path) -> dict[str, str]:
    """Read .env.

    Raises
    ------
    Problem
        When it is missing, cannot be read, or holds a line that is no setting.
    """
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        raise Problem("There is no .env here: run ./mlops-server init --name THE-NAME-OF-THIS-MACHINE") from None
    except UnicodeDecodeError:
        raise Problem(".env is not plain text (UTF-8): restore your copy of it.") from None
    except OSError as error:
        raise Problem(f".env cannot be read ({error.strerror}): run this as the user who made it.") from None
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.rstrip())
        if not found and line.split()[0] == "export":
            raise Problem(f".env, line {number}: leave out the word export, and write NAME=value only.")
        if not found:
            raise Problem(f".env, line {number}: write NAME=value without spaces around the sign.")
        values[found[1]] = found[2]
    return values


def strange_values(values: Mapping[str, str]) -> list[str]:
    """Name the variables whose values a compose file, a shell or a database would read differently."""
    return [
        f"{name} holds a space, a quote, a backslash, # or $, which the programs it goes through read differently: "
        "use letters, digits and . _ / : @ -"
        for name, value in values.items()
        # A command of several words is read by this command alone.
        if name != engine.VARIABLE and re.search(r"[\s'\"\\#$`]", value)
    ]


def is_unset(value: str | None) -> bool:
    """Tell whether a variable still waits for its value."""
    return not value or value.startswith(_EXAMPLE)


def fill(folder: Path, name: str | None, ask: Callable[[], str]) -> Filled:
    """Write .env, or put into it what is missing; a value that is there stays as it is.

    Parameters
    ----------
    folder
        The server's folder.
    name
        The host name or address that the operator gave.
    ask
        Asks for it; called only when it is needed and was not given.
    """
    file = folder / ".env"
    example = _example(folder)
    created = not file.exists()
    known = {} if created else read(file)
    missing = [key for key, value in example.items() if value and is_unset(known.get(key))]
    invented = [key for key in missing if key in _SECRETS_OF_DATA]
    data = folder / (known.get("MLOPS_DATA") or "data")
    if invented and holds_something(data / "db"):
        raise Problem(
            f"{' and '.join(invented)} {'is' if len(invented) == 1 else 'are'} missing, but {data.name}/db holds "
            "a database already, which knows the old value: put your copy of .env back."
        )
    changes = {key: _value(key, value, name, ask) for key, value in example.items() if key in missing}
    if changes:
        _write(file, _lines(folder, file, created, changes))
    return Filled({**known, **changes}, created, list(changes))


def set_value(file: Path, key: str, value: str) -> None:
    """Change one setting of .env."""
    lines = [f"{key}={value}" if line.startswith(f"{key}=") else line for line in file.read_text("utf-8").splitlines()]
    _write(file, lines)


def secret(length: int = 32) -> str:
    """Invent a secret of letters and digits, which no program on its way reads as anything else."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


_NAMES: dict[str, Callable[[], str]] = {
    "MYSQL_DATABASE": lambda: "mlflow",
    "MYSQL_USER": lambda: "mlflow",
    "MYSQL_PASSWORD": secret,
    "MYSQL_ROOT_PASSWORD": secret,
    "MINIO_ROOT_USER": lambda: "objects-administrator",
    "MINIO_ROOT_PASSWORD": secret,
    # MinIO's access keys have at most 20 characters, its secrets at most 40.
    "MINIO_ACCESS_KEY": lambda: secret(20),
    "MINIO_SECRET_KEY": lambda: secret(40),
    "MLFLOW_ADMIN_PASSWORD": lambda: secret(24),
    "MLFLOW_SECRET_KEY": lambda: secret(48),
    "MLOPS_UID": lambda: str(os.getuid() or OWN_USER),
    "MLOPS_GID": lambda: str(os.getgid() if os.getuid() else OWN_USER),
}
_SECRETS_OF_DATA = ("MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD")


def _example(folder: Path) -> dict[str, str]:
    file = folder / ".env.example"
    if not file.exists():
        raise Problem("The file .env.example is missing: copy the whole folder mlflow_server again.")
    return read(file)


def _value(key: str, example: str, name: str | None, ask: Callable[[], str]) -> str:
    if key == "SERVER_NAME":
        return name or ask()
    return _NAMES[key]() if key in _NAMES else example


def _lines(folder: Path, file: Path, created: bool, changes: Mapping[str, str]) -> list[str]:
    source = folder / ".env.example" if created else file
    lines = source.read_text("utf-8").splitlines()
    if created:
        lines[0] = _TITLE
    left = dict(changes)
    for number, line in enumerate(lines):
        key = line.partition("=")[0]
        if key in left:
            lines[number] = f"{key}={left.pop(key)}"
    return [*lines, *(f"{key}={value}" for key, value in left.items())]


def _write(file: Path, lines: list[str]) -> None:
    new = file.with_name(".env.new")
    new.touch(mode=0o600)
    new.write_text("\n".join(lines) + "\n", "utf-8")
    if file.exists():
        os.chmod(new, file.stat().st_mode & 0o777)
    new.replace(file)


def holds_something(folder: Path) -> bool:
    """Tell whether a folder is there and not empty; one that may not be looked into counts as full."""
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True

"""One server: its folder, its settings, its engine; and that only one command changes it at a time."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operate import environment
from operate.engine import Engine
from operate.errors import Problem

_LAST_START = ".last-start.json"
_RESTORING = ".restoring"


@dataclass(frozen=True)
class Server:
    """What every command works on."""

    folder: Path
    env: dict[str, str]
    engine: Engine

    @property
    def tls(self) -> Path:
        """Where certificate and keys are."""
        return self.folder / "tls"

    @property
    def data(self) -> Path:
        """Where database and objects are."""
        return self.folder / (self.env.get("MLOPS_DATA") or "data")

    @property
    def backups(self) -> Path:
        """Where backups go unless the operator says otherwise."""
        return self.folder / "backups"

    @property
    def owner(self) -> tuple[int, int]:
        """User and group of the server's processes."""
        return int(self.env["MLOPS_UID"]), int(self.env["MLOPS_GID"])

    def images(self) -> dict[str, str]:
        """Give the image of each part, by the variable that can name another one."""
        text = (self.folder / "compose.yaml").read_text("utf-8")
        return {
            name: self.env.get(name) or default
            for name, default in re.findall(r"image: \"\$\{([A-Z]+_IMAGE):-([^}]*)\}\"", text)
        }

    def images_of_last_start(self) -> dict[str, str]:
        """Give the images with which the data were last served; those of today where that is not known."""
        try:
            known = json.loads((self.folder / _LAST_START).read_text("utf-8"))
            return {name: str(known.get(name) or image) for name, image in self.images().items()}
        except (OSError, ValueError, AttributeError):
            return self.images()

    def begin_restore(self, backup: Path) -> None:
        """Note, on the disk, that the data are about to be replaced by a backup: until the end they are of no use."""
        with (self.folder / _RESTORING).open("w", encoding="utf-8") as file:
            file.write(f"{backup}\n")
            file.flush()
            os.fsync(file.fileno())

    def end_restore(self) -> None:
        """Note that the data are whole again."""
        (self.folder / _RESTORING).unlink(missing_ok=True)

    def require_whole(self) -> None:
        """Refuse to work on data that a restore has replaced in part.

        Raises
        ------
        Problem
            With the command that finishes it.
        """
        try:
            backup = (self.folder / _RESTORING).read_text("utf-8").strip()
        except FileNotFoundError:
            return
        raise Problem(
            f"A restore of {backup} was interrupted, so a part of the data is missing: run ./mlops-server restore "
            f"{backup} --replace"
        )

    def note_start(self) -> None:
        """Remember the images that serve the data now."""
        (self.folder / _LAST_START).write_text(json.dumps(self.images(), indent=2) + "\n", "utf-8")


def open_server(folder: Path) -> Server:
    """Read the server in `folder`."""
    env = environment.read(folder / ".env")
    return Server(folder, env, Engine(folder, env))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the server's folder while a command changes the server.

    Raises
    ------
    Problem
        When another command holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise Problem("Another ./mlops-server command is changing this server: wait until it has ended.") from None
    try:
        yield
    finally:
        os.close(handle)

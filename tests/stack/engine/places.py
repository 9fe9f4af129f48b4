"""Where a service's addresses, ports and paths are when it runs outside a container."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.stack.engine.errors import EngineError
from tests.stack.engine.project import Project

HERE = "127.0.0.1"


def quiet_port(taken: Sequence[int] = ()) -> int:
    """Give a free port below those that the system hands out by chance, so that it stays free until it is used."""
    for _ in range(1000):
        port = random.SystemRandom().randint(11000, 19999)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HERE, port))
            except OSError:
                continue
            if port not in taken:
                return port
    raise EngineError("no free port was found")


def assign_ports(project: Project, known: dict[str, int]) -> dict[str, int]:
    """Give every ``service:port`` a port of this machine: the published one, the one it had, or a new one."""
    ports: dict[str, int] = {}
    for name in project.services:
        for port in sorted(project.inner.get(name, set()) | set(project.published.get(name, {}))):
            key = f"{name}:{port}"
            ports[key] = project.published.get(name, {}).get(port) or known.get(key) or quiet_port([*ports.values()])
    return ports


@dataclass(frozen=True)
class Places:
    """The translation for one service."""

    service: str
    ports: dict[str, int]
    """Of every service: ``name:port`` in the compose file, port of this machine."""
    paths: dict[str, Path]
    """Path in the container, path on this machine."""
    published: bool = False
    """Whether people reach this service: then a bare number may be a port of this machine already."""

    def native(self, text: str) -> str:
        """Translate one value, argument or address."""
        for address, port in self.ports.items():
            text = re.sub(rf"\b{re.escape(address)}\b", f"{HERE}:{port}", text)
        for number, port in self._own().items():
            if text == number and not self.published:
                return str(port)
            text = re.sub(rf"(?:^|(?<=//))(?:0\.0\.0\.0|127\.0\.0\.1|localhost)?:{number}\b", f"{HERE}:{port}", text)
        if text == "0.0.0.0":
            return HERE
        # All at once: the path of one folder on this machine may begin like another's in the container.
        longest_first = "|".join(map(re.escape, sorted(self.paths, key=len, reverse=True)))
        if longest_first:
            found = rf"(?<![\w./-])(?:{longest_first})(?=/|$|[^\w.-])"
            text = re.sub(found, lambda path: str(self.paths[path[0]]), text)
        return text

    def all(self, texts: Sequence[str]) -> list[str]:
        """Translate every argument of a command."""
        return [self.native(text) for text in texts]

    def path(self, inside: str) -> Path:
        """Give the path on this machine of one in the container."""
        return Path(self.native(inside))

    def own(self, number: int) -> int:
        """Give the port of this machine for a port of this service."""
        return self.ports[f"{self.service}:{number}"]

    def _own(self) -> dict[str, int]:
        return {
            address.partition(":")[2]: port
            for address, port in self.ports.items()
            if address.partition(":")[0] == self.service
        }


def find_paths(project: Project, name: str, temporary: Path, extra: Sequence[str] = ()) -> dict[str, Path]:
    """Give the paths of one service: its volumes, those of the command line (`extra`), and its temporary folders."""
    service = project.service(name)
    in_memory = [str(entry).partition(":")[0] for entry in service.get("tmpfs") or []]
    paths = {inside: temporary / inside.strip("/").replace("/", "-") for inside in in_memory}
    for volume in [*(service.get("volumes") or []), *extra]:
        outside, inside = str(volume).split(":")[:2]
        path = Path(outside)
        if not path.is_absolute():
            if not outside.startswith("."):
                raise EngineError(f"services.{name}.volumes: only folders and files are known here, not {volume!r}")
            path = project.folder / path
        paths[inside] = Path(path)
    return paths


def make_folders(paths: dict[str, Path]) -> None:
    """Make the folders that a container engine would make."""
    for path in paths.values():
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)

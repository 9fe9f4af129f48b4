"""One compose file with its variables: which services there are, in which order they start, which ports they have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.stack.engine.errors import EngineError
from tests.stack.engine.interpolation import interpolate_all, read_variables


@dataclass(frozen=True)
class Project:
    """What compose.yaml says once its variables have their values."""

    folder: Path
    variables: dict[str, str]
    file: dict[str, Any]

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """Every service by its name."""
        services: dict[str, dict[str, Any]] = self.file["services"]
        return services

    def service(self, name: str) -> dict[str, Any]:
        """Give one service; an unknown one is an error."""
        if name not in self.services:
            raise EngineError(f"no such service: {name}")
        return self.services[name]

    def needs(self, name: str) -> dict[str, str]:
        """Give what a service waits for: the other service, and the condition."""
        needs = self.service(name).get("depends_on") or {}
        if isinstance(needs, list):
            return dict.fromkeys(needs, "service_started")
        return {other: str(rule.get("condition", "service_started")) for other, rule in needs.items()}

    def in_order(self, names: Sequence[str], *, with_needs: bool) -> list[str]:
        """Sort `names` so that each comes after what it waits for, and add that when `with_needs`."""
        order: list[str] = []

        def add(name: str, above: tuple[str, ...]) -> None:
            if name in above:
                raise EngineError(f"dependency cycle detected: {' -> '.join((*above, name))}")
            if name in order:
                return
            for other in self.needs(name):
                add(other, (*above, name))
            order.append(name)

        for name in names:
            add(name, ())
        return order if with_needs else [name for name in order if name in names]

    @cached_property
    def published(self) -> dict[str, dict[int, int]]:
        """Ports of this machine: service, port of the container, port of the machine."""
        published: dict[str, dict[int, int]] = {}
        for name, service in self.services.items():
            for port in service.get("ports") or []:
                parts = str(port).split(":")
                if len(parts) < 2 or not parts[-1].isdigit() or not parts[-2].isdigit():
                    raise EngineError(f"services.{name}.ports: only ADDRESS:PORT:PORT is known here, not {port!r}")
                published.setdefault(name, {})[int(parts[-1])] = int(parts[-2])
        return published

    @cached_property
    def inner(self) -> dict[str, set[int]]:
        """Ports under which the services reach each other, read from every ``service:port`` that a service is told."""
        inner: dict[str, set[int]] = {}
        names = "|".join(map(re.escape, self.services))
        for service in self.services.values():
            for text in _strings([service.get(key) for key in ("environment", "command", "entrypoint", "healthcheck")]):
                for name, port in re.findall(rf"\b({names}):(\d+)\b", text):
                    inner.setdefault(name, set()).add(int(port))
        return inner


def read_project(folder: Path, file: str | None = None) -> Project:
    """Read compose.yaml and .env of `folder`; variables of this process come before those of the file."""
    path = folder / (file or "compose.yaml")
    if not path.exists():
        raise EngineError(f"no configuration file provided: {path} not found")
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise EngineError(f"yaml: {error}") from error
    variables = {**read_variables(folder / ".env"), **os.environ}
    return Project(folder, variables, interpolate_all(raw, variables))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)

"""Variables of a compose file: the .env file, and ``${NAME:?message}`` in its values, as Docker Compose reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.stack.engine.errors import EngineError

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_USE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<word>(?:[^{}]|\$\{[^{}]*\})*))?\})"
)


def read_variables(file: Path) -> dict[str, str]:
    """Read a .env file; one that is missing holds nothing."""
    variables: dict[str, str] = {}
    if not file.exists():
        return variables
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if not found:
            raise EngineError(f"failed to read {file}: line {number}: unexpected character in {line!r}")
        name, value = found.groups()
        if value[:1] == "'":
            variables[name] = value[1:].partition("'")[0]
        elif value[:1] == '"':
            variables[name] = interpolate(value[1:].partition('"')[0], variables, str(file))
        else:
            variables[name] = interpolate(re.split(r"\s+#", value)[0], variables, str(file))
    return variables


def interpolate(text: str, variables: Mapping[str, str], where: str) -> str:
    """Put the values of `variables` into `text`.

    Raises
    ------
    EngineError
        When a variable that the text requires is missing or empty; it holds the name, the place and the message.
    """

    def value(use: re.Match[str]) -> str:
        if use["dollar"]:
            return "$"
        name, how, word = use["bare"] or use["name"], use["how"] or "", use["word"] or ""
        known = variables.get(name)
        given = known is not None and (known != "" or not how.startswith(":"))
        if how.endswith("-") and not given:
            return interpolate(word, variables, where)
        if how.endswith("+"):
            return interpolate(word, variables, where) if given else ""
        if how.endswith("?") and not given:
            message = interpolate(word, variables, where)
            raise EngineError(
                f"error while interpolating {where}: required variable {name} is missing a value: {message}"
            )
        return known or ""

    return _USE.sub(value, text)


def interpolate_all(value: Any, variables: Mapping[str, str], where: str = "") -> Any:
    """Put the values of `variables` into every string of a compose file."""
    if isinstance(value, str):
        return interpolate(value, variables, where)
    if isinstance(value, dict):
        return {key: interpolate_all(one, variables, f"{where}.{key}".lstrip(".")) for key, one in value.items()}
    if isinstance(value, list):
        return [interpolate_all(one, variables, f"{where}.[{number}]") for number, one in enumerate(value)]
    return value

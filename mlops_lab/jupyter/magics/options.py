"""The options of the magics, read from their line; a mistake is one sentence, not argparse's farewell."""

from __future__ import annotations

import argparse
import shlex
from typing import Any, NoReturn

from ...errors import MlopsLabError


class BadOptions(MlopsLabError):
    """The line of a magic cannot be understood."""

    code = "bad_options"


class Options(argparse.ArgumentParser):
    """A parser that raises :class:`BadOptions` instead of leaving the process."""

    def __init__(self, magic: str, **settings: Any) -> None:
        super().__init__(prog=magic, add_help=False, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """See :class:`argparse.ArgumentParser`."""
        raise BadOptions(f"{self.prog}: {message}.", " ".join(self.format_usage().split()).replace("usage:", "Usage:"))

    def read(self, line: str) -> argparse.Namespace:
        """Parse `line` as a shell would split it; what stands behind a ``#`` is a remark.

        Raises
        ------
        BadOptions
            With the usage as hint.
        """
        try:
            words = shlex.split(without_remark(line))
        except ValueError as error:
            self.error(str(error).lower())
        return self.parse_args(words)


def without_remark(line: str) -> str:
    """Take away what stands behind a ``#`` that begins a word outside of quotes; it may hold quotes of its own."""
    quote = ""
    for place, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "#" and line[place - 1 : place].strip() == "":
            return line[:place]
    return line


def pair(text: str) -> tuple[str, str]:
    """Read ``K=V``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=VALUE")
    return key, value


def track_options(magic: str) -> Options:
    """Describe the options of ``%%mlops_track`` and ``%mlops_track on``."""
    options = Options(magic)
    options.add_argument("--experiment", metavar="E")
    options.add_argument("--run-name", metavar="N")
    options.add_argument("--data", metavar="NAME@VERSION", action="extend", nargs="+", default=[])
    options.add_argument("--tag", metavar="K=V", action="extend", nargs="+", type=pair, default=[], dest="tags")
    options.add_argument("--seed", metavar="S", type=int)
    options.add_argument("--offline", action="store_true")
    options.add_argument("--resume", metavar="RUN")
    options.add_argument("--grad-norm", action="store_true")
    options.add_argument("--no-checkpoints", action="store_false", dest="checkpoints")
    options.add_argument("--no-cases", action="store_false", dest="cases")
    options.add_argument("--capture", metavar="NAME", action="extend", nargs="*")
    return options

"""The program's own code, where no notebook has it: the script, and the imported modules that lie in its repository."""

from __future__ import annotations

import os
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..literals import literals
from . import code

if TYPE_CHECKING:
    from ..run import Run

LONGEST = 1_000_000
"""Characters of a script that is recorded."""


def path() -> Path | None:
    """Give the file that Python was started with, as a script or by ``-m``.

    None in IPython, for code of ``-c`` and of the standard input, and for a command or module that was installed:
    the list of packages names these.
    """
    told = _file(sys.modules.get("__main__"))
    if told is None or code.shell() is not None:
        return None
    found = Path(os.path.realpath(told))
    return found if found.is_file() and not _is_installed(found) else None


def record(run: Run) -> None:
    """Record the text of the script, as artifact below ``code``, and the literals at its top as params."""
    script = path()
    if script is None or run.gate is None:
        return
    try:
        with tokenize.open(script) as file:
            text = file.read(LONGEST + 1)
    except (OSError, SyntaxError, UnicodeDecodeError):
        return
    if len(text) > LONGEST:
        run.notice(f"The script is longer than {LONGEST} characters, so its text is not recorded.")
        return
    text = run.gate.source(text)
    if not text:
        return  # the policy blocks what is in it
    folder = run.cells_folder.replace("cells", "code", 1)  # a run that is gone on with keeps what it began with
    run.log_text(text, f"{folder}/{script.stem}.py")
    for name, value in literals(text).items():
        run.note_param(name, value)


def modules(top: Path) -> Iterator[Path]:
    """Give the files of the modules that were imported from below `top`, packages that are installed there left out."""
    own = f"{os.path.realpath(top)}{os.sep}"
    for module in list(sys.modules.values()):
        told = _file(module)
        if told is None:
            continue
        real = os.path.realpath(told)
        if real.startswith(own) and real.endswith(".py") and not _is_installed(Path(real)):
            yield Path(real)


def _file(module: Any) -> str | None:
    # Not by its attribute: a module that is loaded when it is needed would be loaded now.
    told = getattr(module, "__dict__", {}).get("__file__")
    return told if isinstance(told, str) and told else None


def _is_installed(file: Path) -> bool:
    if "site-packages" in file.parts or "dist-packages" in file.parts:
        return True
    library = sysconfig.get_path("stdlib")  # ``python -m unittest``
    if library and file.is_relative_to(os.path.realpath(library)):
        return True
    # A command that pip put beside the interpreter.
    return file.parent == Path(os.path.realpath(os.path.dirname(sys.executable)))

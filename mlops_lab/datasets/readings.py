"""How the roles of a folder are read: a view does not lie in the repository whose ``mlops.toml`` speaks of it.

So whoever makes a view available notes beside our other state how its roles were read, and whoever trains on the view
reads them in the same way: what a run records as test data is then what is tested on.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from hashlib import md5
from pathlib import Path

import msgspec

from ..home import home, private_folder
from . import git
from .catalogue import read_index
from .errors import DatasetsError
from .participants import Table, project_table
from .roles import Assignment, assign

_FOLDER = "readings"
_known: dict[Path, Table] = {}


def note(view: Path, table: Table) -> None:
    """Remember how the roles of a view were read, for this process and for those that it starts."""
    view = view.resolve()
    _known[view] = table
    # A full or read-only disk must not keep anybody from the data.
    with suppress(OSError):
        place = _place(view)
        data = msgspec.json.encode(table)
        if place.exists() and place.read_bytes() == data:
            return
        number, name = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(number, "wb") as stream:
            stream.write(data)
        os.replace(name, place)


def table_of(folder: Path) -> Table:
    """Find how the roles of a dataset's folder are read: as noted for a view, else as its repository says.

    Raises
    ------
    BadProjectFile
    """
    folder = folder.resolve()
    known = _known.get(folder)
    if known is not None:
        return known
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(_place(folder).read_bytes(), type=Table)
    try:
        top = git.top(folder).resolve()
    except DatasetsError:
        return Table()
    return project_table(top, _name(top, folder))


def read_roles(folder: Path, table: Table) -> Assignment:
    """Give every file of a dataset's folder its role.

    Raises
    ------
    BadProjectFile
    """
    return assign(_files(folder), table, lambda path: (folder / path).read_bytes())


def _name(top: Path, folder: Path) -> str:
    """Give the name of the dataset that stands at `folder` in the working tree."""
    path = folder.relative_to(top).as_posix() if folder.is_relative_to(top) else ""
    try:
        entries = read_index(top).entries
    except DatasetsError:
        entries = []
    return next((entry.name for entry in entries if entry.path == path), folder.name)


def _files(folder: Path) -> list[str]:
    # A dataset may hold folders as links, which Path.rglob would not enter.
    return [
        Path(place, name).relative_to(folder).as_posix()
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
    ]


def _place(view: Path) -> Path:
    name = md5(os.fsencode(view), usedforsecurity=False).hexdigest()
    return private_folder(home() / _FOLDER) / f"{name}.json"

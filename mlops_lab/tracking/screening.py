"""Looks through the files of a run before they may leave, on the journal's own copies.

What a dead process left is looked through by the next sync, which finds the project and the data that the run was
given in a note beside the journal.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import MlopsLabError
from .errors import NotScreened
from .gate import Gate, gate_for
from .journal import folders, segments, staging
from .journal.checkpoints import left_behind
from .journal.remains import append_for_the_dead
from .model import Artifact, Record, Staged

if TYPE_CHECKING:
    from ..datasets import UsedDataset


class Origin(msgspec.Struct):
    """What a later process needs to know to look through the files of this run. It never leaves this computer."""

    folder: str
    """Where the code was started."""
    data: list[tuple[str, str]] = []
    """Dataset versions as typed, each with the folder of its repository."""


def screen(
    folder: Path, staged: Staged, gate: Gate, say: Callable[[str], None], pause: Callable[[], None] | None = None
) -> Artifact | None:
    """Look through one file; gives the record that sends it, None where it may not leave.

    `pause` is called between two pieces of a long one.

    Raises
    ------
    OSError
        When the disk does not let the changed copy be written.
    """
    path = folder / staged.file
    if not path.exists():
        return None
    verdict = gate.guard.file(path, staged.name, pause)
    gate.note(verdict.findings)
    if verdict.outcome == "block":
        staging.give_up(path, "blocked")
        say(verdict.reason)
        return None
    if verdict.outcome == "replace":
        changed = path.with_name(f".{path.name}.screened")
        try:
            os.close(os.open(changed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
            verdict.save(changed)
            os.replace(changed, path)
        except OSError:
            changed.unlink(missing_ok=True)
            raise
    return Artifact(staged.file, staged.name, staged.folder)


def note_origin(folder: Path, started: Path | None, given: list[UsedDataset]) -> None:
    """Note beside the journal what a later process needs to look through the files of this run."""
    data = [(used.version.spec, str(used.repository)) for used in given]
    origin = Origin(str(started) if started is not None else "", data)
    with contextlib.suppress(OSError):
        folders.replace(folder / folders.ORIGIN, msgspec.json.encode(origin))


def forget_origin(folder: Path) -> None:
    """Nothing of the run is left to be looked through."""
    with contextlib.suppress(OSError):
        (folder / folders.ORIGIN).unlink(missing_ok=True)


def unscreened(folder: Path) -> list[Staged]:
    """List the files of a run that nobody has looked through yet."""
    known = folders.position(folder)  # what was sent before it may have been removed from the journal
    left = {staged.file: staged for staged in known.unscreened}
    for record, _ in segments.records(folder, known.offset, known.generation):
        if isinstance(record, Staged):
            left[record.file] = record
        elif isinstance(record, Artifact):
            left.pop(record.file, None)
    return [staged for staged in left.values() if (folder / staged.file).exists()]


def left_over(folder: Path) -> list[Staged]:
    """List what the first part of a resumed run left to be looked through, the checkpoints of one that died included.

    For who has the run's journal open.
    """
    return list({staged.file: staged for staged in (*left_behind(folder), *unscreened(folder))}.values())


def screen_what_is_left(folder: Path) -> bool:
    """Look through the files that a dead process left; True where some may be sent now.

    Raises
    ------
    NotScreened
        When the project's policy, or the data that the run was given, cannot be read any more.
    """
    left = unscreened(folder)
    found: list[Record] = []
    if left:
        gate = _gate_of(folder)
        named = [staged for record in left if isinstance(staged := gate.record(record), Staged)]
        found = [record for staged in named if (record := screen(folder, staged, gate, lambda _: None)) is not None]
        if found and not append_for_the_dead(folder, found):
            return False  # its process lives after all, and does it itself
    forget_origin(folder)
    return bool(found)


def _gate_of(folder: Path) -> Gate:
    from .. import datasets
    from . import identifiers

    try:
        origin = msgspec.json.decode((folder / folders.ORIGIN).read_bytes(), type=Origin)
        given = [datasets.use(spec, path=place) for spec, place in origin.data]
        started = Path(origin.folder) if origin.folder else None
        return gate_for(started, identifiers.known(given))
    except (OSError, msgspec.MsgspecError, MlopsLabError) as error:
        reason = error.message if isinstance(error, MlopsLabError) else "the note about its project is gone"
        raise NotScreened(
            f"Files of this run are kept here, for they cannot be looked through for identifiers: {reason}",
            "Bring the project's folder back and send again.",
        ) from error

"""What a run says of the files that it read: counts as tags, hashes as an artifact, and sentences for the person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...connection import tags as names

if TYPE_CHECKING:
    from .seen import Seen

SCHEMA_VERSION = 1
DOCUMENT = "lineage/files.json"

_HELD_OUT = ("test", "external")


def tags(seen: Seen) -> dict[str, str]:
    """Give the counts: seen per version and per role, and outside of every version."""
    found: dict[str, str] = {}
    if seen.declared:
        found[names.DATA_SEEN] = ", ".join(
            f"{declared.spec}: {len(declared.seen)} of {len(declared.md5)}" for declared in seen.declared
        )
        roles = [
            f"{role}: {counts.seen} of {counts.files}"
            for declared in seen.declared
            for role, counts in declared.roles().items()
        ]
        if roles:
            found[names.SEEN_ROLES] = ", ".join(roles)
    if seen.declared or seen.outside.files:
        found[names.DATA_OUTSIDE] = str(len(seen.outside.files))
    return found


def document(seen: Seen, complete: bool) -> str:
    """Describe what was read, as JSON without a name of a file: content hashes, sizes, roles."""
    declared = [
        {
            "name": version.used.used.name,
            "version": version.used.used.version,
            "md5": version.used.used.md5,
            "files": len(version.md5),
            "seen": len(version.seen),
            "read_elsewhere": len(version.elsewhere),
            "roles": {
                role: {"files": counts.files, "seen": counts.seen, "trained": counts.trained}
                for role, counts in version.roles().items()
            },
            "objects": sorted(version.md5[file] for file in version.seen),
        }
        for version in seen.declared
    ]
    whole = {
        "schema_version": SCHEMA_VERSION,
        "complete": complete and not seen.more and not seen.unlisted,
        "declared": declared,
        "outside": seen.outside.document(),
    }
    return json.dumps(whole, indent=1)


def sentences(seen: Seen, complete: bool) -> list[str]:
    """Say what a person should know: undeclared data, held-out files that were read, and what could not be told."""
    found = []
    count = len(seen.outside.files)
    files = "1 data file was" if count == 1 else f"{count} data files were"
    if count and seen.declared:
        unhashed = seen.outside.unhashed
        doubt = f" ({unhashed} too large or too late to be compared by content)" if unhashed else ""
        found.append(
            f"{files} read outside the declared dataset versions{doubt}, {seen.outside.example()}: "
            "declare what is missing with --data."
        )
    elif count:
        found.append(
            f"{files} read and no dataset version was declared, {seen.outside.example()}: keep data under DVC "
            "and name its version with --data, so that the run says what it saw."
        )
    for version in seen.declared:
        for role, counts in version.roles().items():
            if role in _HELD_OUT and counts.trained:
                found.append(f"{counts.trained} of {counts.files} {role} files of {version.spec} were trained on.")
            elif role in _HELD_OUT and counts.consulted:
                found.append(
                    f"{counts.consulted} of {counts.files} {role} files of {version.spec} were looked at before the "
                    "training was over: a choice that they had a part in is not tested by them."
                )
    if seen.unlisted:
        found.append(
            f"The batches of a loader do not name all files that they were read from, and its dataset "
            f"({', '.join(sorted(seen.unlisted))}) keeps no list of them: the counts may be too low."
        )
    if seen.more:
        found.append("More files were read than are told apart; the counts are those of the first ones.")
    elif not complete:
        found.append("Not all files that were read could be looked at in time; the counts may be too low.")
    return found

"""What a backup folder holds, and whether it still is what was written: manifest.json names every file's checksum.

::

    manifest.json         versions, schema revisions, counts, checksums; written last
    database.sql.gz       the database, as one dump
    objects/              the bucket: manifest.jsonl, and each content under its SHA-256 (see mlops_server.objects)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operate.errors import Problem

FORMAT = "mlops-server backup 1"
FILE = "manifest.json"
DATABASE = "database.sql.gz"
OBJECTS = "objects"
OBJECT_LIST = "objects/manifest.jsonl"
PARTIAL = ".partial"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """One finished backup."""

    folder: Path
    document: dict[str, Any]

    @property
    def made(self) -> str:
        """When it began, UTC, as in 2026-11-23T08:15:00Z."""
        return str(self.document["made"])


def read(folder: Path) -> Backup:
    """Read a finished backup.

    Raises
    ------
    Problem
        When the folder is none.
    """
    if folder.name.endswith(PARTIAL):
        raise Problem(f"{folder} is a backup that did not finish: take another one.")
    try:
        document = json.loads((folder / FILE).read_text("utf-8"))
        known = document["format"] == FORMAT
        document["made"], document["files"][DATABASE]["sha256"], document["files"][OBJECT_LIST]["sha256"]
    except (FileNotFoundError, NotADirectoryError):
        raise Problem(f"{folder} is no backup: there is no {FILE} in it.") from None
    except OSError as error:
        raise Problem(f"{folder / FILE} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{folder / FILE} is damaged. Nothing was changed; take another backup.") from None
    if not known:
        raise Problem(f"{folder} was written by another version of mlops-server ({document['format']}): use that one.")
    return Backup(folder, document)


def newest(parent: Path) -> Backup | None:
    """Give the newest finished backup of a folder; what is not finished or cannot be read does not count."""
    found = []
    for file in parent.glob(f"*/{FILE}"):
        try:
            found.append(read(file.parent))
        except Problem:
            continue
    return max(found, key=lambda backup: backup.made, default=None)


def damage(backup: Backup) -> str | None:
    """Compare every file with its checksum. Give the first that differs, as a sentence; None when all is well."""
    for name, known in backup.document["files"].items():
        problem = _differs(backup.folder / name, known["sha256"], name)
        if problem:
            return problem
    for key, sha256 in _objects(backup):
        content = f"{OBJECTS}/contents/{sha256[:2]}/{sha256}"
        problem = _differs(backup.folder / content, sha256, f"{content} (object {key})")
        if problem:
            return problem
    return None


def checksum(file: Path) -> dict[str, Any]:
    """Give size and SHA-256 of a file, as the manifest holds them."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def write(folder: Path, document: dict[str, Any]) -> None:
    """Write manifest.json and see that it is on the disk."""
    with (folder / FILE).open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **document}, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    sync(folder)


def sync(folder: Path) -> None:
    """See that a folder's names are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _objects(backup: Backup) -> Iterator[tuple[str, str]]:
    seen = set()
    with (backup.folder / OBJECT_LIST).open(encoding="utf-8") as lines:
        next(lines, None)
        for line in lines:
            entry = json.loads(line)
            if entry["sha256"] not in seen:
                seen.add(entry["sha256"])
                yield entry["key"], entry["sha256"]


def _differs(file: Path, sha256: str, shown: str) -> str | None:
    try:
        same = checksum(file)["sha256"] == sha256
    except FileNotFoundError:
        return f"{shown} is missing"
    except OSError as error:
        return f"{shown} cannot be read ({error.strerror})"
    return None if same else f"{shown} is not what was written"

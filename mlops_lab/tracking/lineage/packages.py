"""Which packages a run had, read from the names of their metadata folders: no file of them is opened to list them."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from .code import public_url

_METADATA = re.compile(r"(?P<name>[^-]+)(?:-(?P<version>[^-]+))?(?:-py[\d.]+)?\.(?:dist|egg)-info")
_HEAD = 4096


class Package(msgspec.Struct, frozen=True):
    """One installed package."""

    name: str
    """Normalised: small letters, single dashes."""
    version: str
    source: str = ""
    """Where it came from, if not from an index: the address of a repository or archive without credentials, or the
    last part of a local path."""
    revision: str = ""
    """Commit, for one from a repository; hash, for one from an archive."""
    editable: bool = False

    def __str__(self) -> str:
        notes = [self.source, self.revision, "editable" if self.editable else ""]
        note = ", ".join(text for text in notes if text)
        return f"{self.name}=={self.version}{f'  # {note}' if note else ''}"


def installed() -> tuple[Package, ...]:
    """List the packages on ``sys.path`` by name; of several versions of one, that which an import finds.

    The list is kept until ``sys.path`` or one of its folders changes.
    """
    places = []
    for entry in dict.fromkeys(sys.path):
        try:
            place = entry or os.getcwd()
            places.append((place, os.stat(place).st_mtime_ns))
        except OSError:
            continue  # a path that is not there is no place to import from
    return _installed(tuple(places))


@lru_cache(maxsize=4)
def _installed(places: tuple[tuple[str, int], ...]) -> tuple[Package, ...]:
    found: dict[str, Package] = {}
    for place, _ in places:
        for package in _packages_in(place):
            found.setdefault(package.name, package)
    return tuple(found[name] for name in sorted(found))


def fingerprint(packages: tuple[Package, ...]) -> str:
    """Reduce a list to one value: the sha256 of its lines ``name==version``."""
    lines = "".join(f"{package.name}=={package.version}\n" for package in packages)
    return hashlib.sha256(lines.encode()).hexdigest()


def _packages_in(place: str) -> Iterator[Package]:
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return  # an archive: what is in it is part of the program that brought it
    for name in names:
        parts = _METADATA.fullmatch(name)
        if parts is None:
            continue
        folder = os.path.join(place, name)
        package, version = parts["name"], parts["version"] or ""
        if not version:
            # Beside the source of an editable installation the folder's name has no version.
            package, version = _told(folder, package)
        if not version:
            continue
        yield _with_source(_normal(package), version, folder)


def _told(folder: str, name: str) -> tuple[str, str]:
    head = _head(folder, "PKG-INFO") or _head(folder, "METADATA")
    fields = dict(re.findall(r"(?m)^(Name|Version): *(\S+)", head))
    return fields.get("Name", name), fields.get("Version", "")


def _head(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as stream:
            return stream.read(_HEAD)
    except OSError:
        return ""


def _with_source(name: str, version: str, folder: str) -> Package:
    try:
        told: dict[str, Any] = msgspec.json.decode(Path(folder, "direct_url.json").read_bytes(), type=dict[str, Any])
        vcs, archive, local = (told.get(key) or {} for key in ("vcs_info", "archive_info", "dir_info"))
        revision = str(vcs.get("commit_id") or archive.get("hash") or "")
        return Package(name, version, public_url(str(told["url"])), revision, bool(local.get("editable")))
    except (OSError, KeyError, AttributeError, msgspec.MsgspecError):
        return Package(name, version)  # from an index, as nearly all are


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

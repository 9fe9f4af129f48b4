"""DVC's cache as files: where an object lies, what a folder's manifest lists, and whether bytes are what they claim."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from .errors import CorruptObject, MissingObjects, UnsafeManifest

_CHUNK = 2**20
# DVC 2 called a file text, and ignored its carriage returns, when at most 30% of its first 512 bytes were unusual.
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
_TEXT_PROBE = 512


class File(msgspec.Struct, frozen=True, rename={"path": "relpath"}):
    """One file of a dataset version."""

    path: str
    """Relative to the dataset, with forward slashes; the file's own name for a single-file dataset."""
    md5: str


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """One DVC cache directory, with the places of DVC 3 and of DVC 2."""

    root: Path

    def path(self, md5: str, legacy: bool) -> Path:
        """Give the path at which an object lies when the cache holds it."""
        base = self.root if legacy else self.root / "files" / "md5"
        return base / md5[:2] / md5[2:]

    def manifest(self, md5: str, legacy: bool) -> list[File]:
        """Read and verify the list of a folder's files.

        Raises
        ------
        MissingObjects, CorruptObject, UnsafeManifest
        """
        path = self.path(md5, legacy)
        try:
            now = path.stat()
            key = (str(path), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
            known = _manifests.get(key)
            if known is not None:
                return known
            data = path.read_bytes()
        except FileNotFoundError:
            raise MissingObjects(
                f"The list of files of version {md5[:7]} is not in the cache.", "Use the version once to fetch it."
            ) from None
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
            raise CorruptObject(
                f"The list of files of version {md5[:7]} in the cache is corrupt: {path}.",
                f"Delete {path} and use the version again: it is then fetched from the remote.",
            )
        files = _parse_manifest(data, md5)
        if len(_manifests) > _CACHED_MANIFESTS:
            _manifests.clear()
        _manifests[key] = files
        return files


_manifests: dict[tuple[str, int, int, int, int], list[File]] = {}
_CACHED_MANIFESTS = 1_000


def files_of(store: ObjectStore, md5: str, legacy: bool, path: str) -> list[File]:
    """List the files of a version, folder or single file alike; `path` names the single file."""
    if md5.endswith(".dir"):
        return store.manifest(md5, legacy)
    return [File(path.rpartition("/")[2], md5)]


def _parse_manifest(data: bytes, md5: str) -> list[File]:
    hint = "Do not use this version; ask the person who made it."
    try:
        files = msgspec.json.decode(data, type=list[File])
    except msgspec.MsgspecError as error:
        raise UnsafeManifest(f"The list of files of version {md5[:7]} cannot be read: {error}.", hint) from None
    names: set[str] = set()
    for file in files:
        parts = file.path.split("/")
        safe = not {"", ".", ".."} & set(parts) and "\0" not in file.path and "\\" not in file.path
        if not safe or len(file.md5) != 32 or not set(file.md5) <= set("0123456789abcdef"):
            raise UnsafeManifest(
                f"The list of files of version {md5[:7]} names a file outside the dataset: {file.path!r}.", hint
            )
        names.add(file.path)
    if len(names) != len(files):
        raise UnsafeManifest(f"The list of files of version {md5[:7]} names a file twice.", hint)
    return files


def md5_of(stream: BinaryIO, legacy: bool) -> str:
    """Hash a file as DVC does; `legacy` ignores carriage returns of text files, as DVC 2 did."""
    digest = hashlib.md5(usedforsecurity=False)
    chunk = stream.read(_CHUNK)
    while chunk:
        # DVC 2 decided anew for each chunk of one mebibyte, and so must whoever wants the same hash.
        digest.update(chunk.replace(b"\r\n", b"\n") if legacy and _is_text(chunk[:_TEXT_PROBE]) else chunk)
        chunk = stream.read(_CHUNK)
    return digest.hexdigest()


def _is_text(block: bytes) -> bool:
    return b"\0" not in block and len(block.translate(None, _TEXT)) <= 0.30 * len(block)


class Presence:
    """Which objects a cache holds, from listings of its 256 folders that are repeated only where a folder changed."""

    # A folder's mtime moves in ticks of some milliseconds: a younger listing may lack a file of the same tick.
    _SETTLED_NS = 100_000_000

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._listings: dict[tuple[bool, str], tuple[int, frozenset[str]]] = {}
        self._complete: dict[tuple[str, bool], bool] = {}

    def refresh(self) -> None:
        """Look at the cache again."""
        changed = False
        found: set[tuple[bool, str]] = set()
        now = time.time_ns()
        for legacy, base in ((False, self._store.root / "files" / "md5"), (True, self._store.root)):
            for entry in _folders(base):
                key = (legacy, entry.name)
                found.add(key)
                mtime = entry.stat().st_mtime_ns
                known = self._listings.get(key)
                if known is None or known[0] != mtime:
                    names = frozenset(_names(entry.path))
                    settled = now - mtime > self._SETTLED_NS
                    changed = changed or known is None or known[1] != names
                    self._listings[key] = (mtime if settled else -1, names)
        for key in self._listings.keys() - found:
            del self._listings[key]
            changed = True
        if changed:
            self._complete.clear()

    def frozen(self) -> Presence:
        """Give what was known at this moment, as it stays when others go on looking."""
        then = Presence(self._store)
        then._listings = dict(self._listings)
        return then

    def has(self, md5: str, legacy: bool) -> bool:
        """Tell whether the one object is there."""
        listing = self._listings.get((legacy, md5[:2]))
        return listing is not None and md5[2:] in listing[1]

    def holds(self, md5: str, legacy: bool) -> bool:
        """Tell whether the version is there with every one of its files."""
        key = (md5, legacy)
        known = self._complete.get(key)
        if known is None:
            known = self._complete[key] = self._holds(md5, legacy)
        return known

    def missing(self, files: Iterable[File], legacy: bool) -> list[File]:
        """Give those of `files` that are not there."""
        return [file for file in files if not self.has(file.md5, legacy)]

    def _holds(self, md5: str, legacy: bool) -> bool:
        if not self.has(md5, legacy):
            return False
        if not md5.endswith(".dir"):
            return True
        try:
            files = self._store.manifest(md5, legacy)
        except (MissingObjects, CorruptObject, UnsafeManifest):
            return False
        return all(self.has(file.md5, legacy) for file in files)


_presences: dict[Path, Presence] = {}


def presence(store: ObjectStore) -> Presence:
    """Give a fresh look at what `store` holds."""
    found = _presences.setdefault(store.root, Presence(store))
    found.refresh()
    return found


def _folders(base: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(base) as entries:
            return [entry for entry in entries if len(entry.name) == 2 and entry.is_dir()]
    except OSError:
        return []


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []

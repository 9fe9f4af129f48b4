"""Files that a run read and that belong to no declared dataset version: what they are, and what they are not.

A path alone does not say that a file is data. Left out are files that the run wrote itself (caches, checkpoints, its
own results), those of installed packages, and our own. What is left is hashed slowly, for two reasons: the same bytes
may be a declared file's after all, and a later reader can tell from the hash what was read.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .declared import Declared

LARGEST = 256 * 2**20
"""Bytes of a file that is hashed."""
BUDGET = 2**30
"""Bytes that are hashed for one run."""
SHARE = 0.25
"""Share of one processor's time that hashing may take while the block runs."""
MOST_IN_A_FOLDER = 10_000
MOST_DESCRIBED = 10_000
"""Files that are described one by one."""

_KINDS = (
    *(".nii.gz", ".nii", ".dcm", ".dicom", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".img", ".hdr", ".ima"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".svs", ".ndpi", ".mrxs", ".npy", ".npz", ".h5", ".hdf5"),
    *(".csv", ".tsv", ".json", ".xlsx", ".parquet", ".feather", ".pt", ".pth", ".pkl", ".zarr", ".mat", ".txt"),
)
_SYSTEM = ("/proc/", "/sys/", "/etc/", "/usr/lib/", "/usr/share/")
_CHUNK = 2**20
_SLICE = 0.25
"""Seconds of hashing between two looks at what is new."""


class Stranger:
    """One file outside."""

    __slots__ = ("device", "hashed", "inode", "linked", "made", "md5", "path", "real", "size")

    def __init__(self, path: str, real: str, stat: os.stat_result | None, made: bool) -> None:
        self.path = path
        self.real = real
        """Where it lies, its links resolved."""
        self.made = made
        """The run wrote it."""
        self.size = stat.st_size if stat is not None else None
        self.device, self.inode = (stat.st_dev, stat.st_ino) if stat is not None else (0, 0)
        self.linked = stat is not None and stat.st_nlink > 1
        self.md5 = ""
        self.hashed = stat is None or stat.st_size > LARGEST


class Outside:
    """The files of one run that no declared version has.

    Parameters
    ----------
    journal
        Folder of the run's journal.

    Attributes
    ----------
    files
        Per name, as it was told, the file.
    made
        The same for files that the run wrote, which may be copies of a version's.
    """

    def __init__(self, journal: Path) -> None:
        self.files: dict[str, Stranger] = {}
        self.made: dict[str, Stranger] = {}
        self._began = time.time()
        places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        places |= {place for place in sys.path if place.endswith(("site-packages", "dist-packages"))}
        self._ours = (*_SYSTEM, *(f"{place}{os.sep}" for place in {*places, os.fspath(journal.parent)} if place))
        self._folders: dict[str, str] = {}
        self._left = BUDGET
        self._unhashed: deque[str] = deque()
        self._fresh: list[str] = []

    def real(self, path: str) -> str:
        """Give `path` with its folder's links resolved; asked once per folder."""
        folder, name = os.path.split(path)
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = os.path.realpath(folder)
        return os.path.join(known, name)

    def add(self, name: str, path: str) -> None:
        """Take in a file that was read from `path`, if it is data at all."""
        if name in self.files or name in self.made or path.startswith(self._ours):
            return
        if "://" in path:
            self.files[name] = Stranger(path, path, None, made=False)
            return
        try:
            stat = os.stat(path)
            if S_ISDIR(stat.st_mode):
                self._add_folder(path)
                return
            if not S_ISREG(stat.st_mode):
                return
            real = self.real(path)
            if os.path.islink(real):
                real = os.path.realpath(real)
        except OSError:
            return  # a label that looks like a path, or a file that is gone
        # What is younger than the block was made by it: a cache, a checkpoint, a table of results.
        made = stat.st_mtime >= self._began
        (self.made if made else self.files)[name] = Stranger(path, real, stat, made)
        self._unhashed.append(name)
        self._fresh.append(name)

    def forget(self, name: str) -> None:
        """Leave a file out after all."""
        self.files.pop(name, None)
        self.made.pop(name, None)

    def look_again(self) -> None:
        """Compare every file anew at the next :meth:`matched`, because another version was declared."""
        self._fresh = [*self.files, *self.made]

    def matched(self, declared: list[Declared]) -> Iterator[tuple[str, list[tuple[Declared, str]]]]:
        """Find the files that are a declared version's under another name, or a copy of one; each is tried once."""
        if not declared:
            return
        fresh, self._fresh = self._fresh, []
        for name in fresh:
            file = self.files.get(name) or self.made.get(name)
            if file is None:
                continue
            found = []
            for version in declared:
                match = version.same_file(file)
                if match is None and file.md5:
                    match = version.same_bytes(file.md5, file.path)
                if match is not None:
                    found.append((version, match))
            if found:
                yield name, found

    def hash_some(self, deadline: float | None = None) -> float:
        """Hash files for a moment; with `deadline` (on the monotonic clock), until then.

        Returns
        -------
        float
            Seconds to rest before the next call.
        """
        began = time.monotonic()
        while self._unhashed and self._left > 0:
            now = time.monotonic()
            if now > deadline if deadline is not None else now - began > _SLICE:
                break
            name = self._unhashed.popleft()
            file = self.files.get(name) or self.made.get(name)
            if file is not None and not file.hashed:
                self._hash(file)
                self._fresh.append(name)
        return (time.monotonic() - began) * (1 / SHARE - 1)

    @property
    def unhashed(self) -> int:
        """Number of files that were not hashed: too large, too many, or too late."""
        return sum(not file.md5 and file.size is not None for file in self.files.values())

    def document(self) -> dict[str, Any]:
        """Describe the files without a name: content, size, kind, and which lie in one folder."""
        folders: dict[str, int] = {}
        files = []
        for file in islice(self.files.values(), MOST_DESCRIBED):
            folder = folders.setdefault(os.path.dirname(file.path), len(folders))
            entry = {"folder": folder, "size": file.size, "suffix": _suffix(file.path)}
            files.append(entry | ({"md5": file.md5} if file.md5 else {}))
        return {"count": len(self.files), "files": files}

    def example(self) -> str:
        """Name the folder that holds most of them, for the person at the screen."""
        counts = Counter(os.path.dirname(file.path) for file in self.files.values())
        (folder, count), *_ = counts.most_common(1)
        text = f"e.g. {count} in {_short(folder)}"
        dataset = _tracked_by_dvc(folder)
        return f"{text} (a working copy of the dataset {dataset})" if dataset else text

    def _add_folder(self, path: str) -> None:
        """Take in a series that is read as a folder."""
        entries = sorted(os.listdir(path))[:MOST_IN_A_FOLDER]
        for entry in entries:
            file = os.path.join(path, entry)
            if os.path.isfile(file):
                self.add(file, file)

    def _hash(self, file: Stranger) -> None:
        file.hashed = True
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with open(file.path, "rb", buffering=0) as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    self._left -= len(chunk)
        except OSError:
            return
        file.md5 = digest.hexdigest()


def _suffix(path: str) -> str:
    """Give the kind of file; what else stands behind a dot may be a date, or a part of somebody's name."""
    name = os.path.basename(path).lower()
    return next((suffix for suffix in _KINDS if name.endswith(suffix)), "")


def _short(folder: str) -> str:
    try:
        near = os.path.relpath(folder)
    except (OSError, ValueError):
        return folder
    if not near.startswith(os.pardir):
        return near
    own = os.path.expanduser("~")
    return f"~{folder[len(own) :]}" if folder.startswith(f"{own}{os.sep}") else folder


def _tracked_by_dvc(folder: str) -> str:
    """Give the name of the dataset whose working copy `folder` is, where a .dvc file beside it says so."""
    place = Path(folder)
    for candidate in (place, *list(place.parents)[:8]):
        if candidate.name and candidate.with_name(f"{candidate.name}.dvc").is_file():
            return candidate.name
    return ""

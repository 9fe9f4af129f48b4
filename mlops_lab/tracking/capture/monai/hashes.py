"""Gives image files the names under which they leave this computer: the md5 of their bytes, as DVC names them too.

A file in the view of a dataset version has been hashed when the version was verified. Others are read by a thread of
low priority while the training goes on, and what it has not come to at the end of the run is waited for only so long.
Files in a temporary folder, which may be gone by then, are held open until they have been read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

_CHUNK = 2**20
_REST = 2.0
"""Seconds of rest for each second of hashing, as long as nobody waits."""
_MOST_FILES = 4096
"""Files of a folder (a DICOM series) that is hashed as one image."""
_MOST_HELD = 64
"""Temporary files that are held open at once."""
_VERSION = re.compile(r"[0-9a-f]{32}(\.dir)?$")

_Stamp = tuple[int, int, int, int, int]


class Hashes:
    """The hashes of the files that this process has met."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._done = threading.Condition(self._guard)
        self._known: dict[str, tuple[_Stamp | None, str | None]] = {}
        self._waiting: dict[str, IO[bytes] | None] = {}
        self._thread: threading.Thread | None = None
        self._hurried = 0

    def ask(self, paths: Iterable[str]) -> None:
        """Begin to hash `paths` in the background, those that are new."""
        with self._guard:
            for path in paths:
                if path not in self._known and path not in self._waiting:
                    held = sum(stream is not None for stream in self._waiting.values())
                    self._waiting[path] = _held(path) if held < _MOST_HELD else None
            if self._waiting and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._work, name="mlops_lab-hashes", daemon=True)
                self._thread.start()

    def tell(self, paths: Iterable[str], patience: float) -> dict[str, str]:
        """Give the hashes of `paths` that are known, or become so within `patience` seconds."""
        wanted = list(dict.fromkeys(paths))
        for path in wanted:
            known = self._known.get(path)
            if known is not None and known[0] != _stamp(path) is not None:
                self._known.pop(path, None)  # the file has come, or changed, since an earlier run
        self.ask(wanted)
        limit = time.monotonic() + patience
        with self._done:
            self._hurried += 1
            while not self._known.keys() >= set(wanted):
                left = limit - time.monotonic()
                if left <= 0 or not self._done.wait(left):
                    break
            self._hurried -= 1
            found = {path: self._known[path][1] for path in wanted if path in self._known}
        return {path: value for path, value in found.items() if value is not None}

    def _work(self) -> None:
        _step_back()
        while True:
            with self._guard:
                path, stream = next(iter(self._waiting.items()), (None, None))
                if path is None:
                    self._thread = None
                    return
            stamp = _stamp(path)
            try:
                found = self._hash(path) if stream is None else self._read(stream)
            except (OSError, ValueError):
                found = None
            finally:
                if stream is not None:
                    stream.close()
            with self._done:
                self._known[path] = (stamp, found)
                self._waiting.pop(path, None)
                self._done.notify_all()

    def _hash(self, path: str) -> str | None:
        listed = of_view(path)
        if listed is not None:
            return listed
        if os.path.isdir(path):
            return self._folder(path)
        return self._file(path) if os.path.isfile(path) else None  # a pipe would never end

    def _file(self, path: str) -> str:
        with open(path, "rb") as stream:
            return self._read(stream)

    def _read(self, stream: IO[bytes]) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        while True:
            began = time.perf_counter()
            chunk = stream.read(_CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            if not self._hurried:
                time.sleep(_REST * (time.perf_counter() - began))

    def _folder(self, path: str) -> str | None:
        """Hash a folder as DVC does: the md5 of the list of its files."""
        files = [Path(place, name) for place, _, names in os.walk(path) for name in names]
        if len(files) > _MOST_FILES or not all(file.is_file() for file in files):
            return None
        entries = [{"md5": self._file(str(file)), "relpath": file.relative_to(path).as_posix()} for file in files]
        text = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
        return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"


def of_view(path: str) -> str | None:
    """Give the md5 that the list of a dataset version has for `path`; None outside of the views of versions."""
    parts = Path(path).parts
    for at in range(3, len(parts)):
        if parts[at - 2] != "views" or parts[at - 3] != "mlops_lab" or not _VERSION.match(parts[at]):
            continue
        if not parts[at].endswith(".dir"):
            return parts[at] if len(parts) == at + 2 else None
        return _listed(os.path.join(*parts[: at - 3]), parts[at]).get("/".join(parts[at + 1 :]))
    return None


@functools.lru_cache(maxsize=64)
def _listed(cache: str, version: str) -> dict[str, str]:
    from ....datasets.errors import DatasetsError
    from ....datasets.objects import ObjectStore

    # Versions of DVC 2 hash texts in another way; their files are hashed here.
    with suppress(DatasetsError, OSError):
        return {file.path: file.md5 for file in ObjectStore(Path(cache)).manifest(version, False)}
    return {}


def _held(path: str) -> IO[bytes] | None:
    """Open a temporary file, so that it can be read although its folder is removed."""
    if not path.startswith(os.path.join(_temporary(), "")):
        return None
    with suppress(OSError, ValueError):
        if os.path.isfile(path):
            return open(path, "rb")
    return None


@functools.lru_cache(maxsize=1)
def _temporary() -> str:
    return tempfile.gettempdir()


def _stamp(path: str) -> _Stamp | None:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _step_back() -> None:
    """Let the training go first, where the system has priorities for threads."""
    with suppress(AttributeError, OSError, PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


hashes = Hashes()


def _forked() -> None:
    hashes.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forked)

"""Read-only views: a dataset version as a folder of links to verified objects, built once and never changed.

A view is built in a temporary folder next to its final place and renamed when complete, so nobody ever sees half of
one, and two processes that build the same view do not disturb each other.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from hashlib import md5 as md5_digest
from pathlib import Path

from ..home import home, private_folder
from .errors import CorruptObject, ViewFailed
from .ledger import Claim, Ledger, hash_name
from .objects import File, ObjectStore
from .verifying import check_file

_BUILDING = ".building-"
_BROKEN = ".broken-"
_ABANDONED_AFTER = 24 * 3600
_LONGEST_NAME = 200


def views_folder(cache: Path) -> Path:
    """Give the folder of all views over one cache: in the cache, or in our own home where the cache is read-only."""
    inside = cache / "mlops_lab" / "views"
    try:
        inside.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass
    else:
        if os.access(inside, os.W_OK | os.X_OK):
            return inside
    own = home() / "views" / md5_digest(os.fsencode(cache), usedforsecurity=False).hexdigest()
    return private_folder(own)


def place_of(cache: Path, name: str, md5: str) -> Path:
    """Give the folder in which the view of one version stands."""
    return views_folder(cache) / _file_name(name) / md5


def is_intact(view: Path, files: list[File], legacy: bool, ledger: Ledger) -> bool:
    """Tell whether a view stands and holds exactly the bytes that it should; costs a stat per file when it does."""
    if not view.is_dir():
        return False
    wanted = {file.path: file.md5 for file in files}
    claims: list[Claim] = []
    paths: list[str] = []
    for relative, path in _walk(view):
        if relative not in wanted:
            return False
        try:
            claims.append((os.stat(path), hash_name(wanted[relative], legacy)))
        except OSError:
            return False
        paths.append(relative)
    if len(paths) != len(wanted):
        return False
    fresh: list[Claim] = []
    for relative, (_, claim), proven in zip(paths, claims, ledger.proves(claims), strict=True):
        if proven:
            continue
        try:
            stat = check_file(view / relative, wanted[relative], legacy)
        except OSError:
            return False
        if stat is None:
            return False
        fresh.append((stat, claim))
    if fresh:
        ledger.note(fresh)
    return True


def build(
    view: Path,
    store: ObjectStore,
    files: list[File],
    legacy: bool,
    proven: dict[str, os.stat_result],
    ledger: Ledger,
) -> None:
    """Build the view of verified objects and put it in place at once.

    Raises
    ------
    CorruptObject
        When an object changes under our hands.
    ViewFailed
        When the disk is full or refuses.
    """
    try:
        view.parent.mkdir(parents=True, exist_ok=True)
        _sweep(view.parent)
        temporary = view.parent / f"{_BUILDING}{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            ledger.note(_fill(temporary, store, files, legacy, proven))
            if not _put_in_place(temporary, view):
                # Either another process was faster, or what stands there fails its check.
                if is_intact(view, files, legacy, ledger):
                    remove(temporary)
                else:
                    _replace(temporary, view)
        except BaseException:
            remove(temporary)
            raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "Free some disk space and try again." if full else "Check the rights on that folder and try again."
        raise ViewFailed(f"The view {view} could not be built: {error.strerror or error}.", hint) from error


def remove(view: Path) -> None:
    """Remove a view (its folders are read-only) or what is left of one; objects in the cache stay."""
    if view.is_file():
        view.unlink(missing_ok=True)
    for folder, _, _ in os.walk(view):
        with suppress(OSError):
            os.chmod(folder, 0o700)
    shutil.rmtree(view, ignore_errors=True)


def _fill(
    folder: Path, store: ObjectStore, files: list[File], legacy: bool, proven: dict[str, os.stat_result]
) -> list[Claim]:
    folders = sorted({os.path.dirname(file.path) for file in files} - {""})
    for name in folders:
        os.makedirs(folder / name, exist_ok=True)
    base = os.fspath(folder)
    stamps: dict[tuple[int, int], Claim] = {}
    for file in files:
        target = os.path.join(base, file.path)
        stat = _link(store.path(file.md5, legacy), target, proven[file.md5], file, legacy)
        # Linking moves ctime, so the proof is renewed with the stat from after the last link to this inode.
        stamps[stat.st_dev, stat.st_ino] = (stat, hash_name(file.md5, legacy))
    for inner, _, _ in os.walk(base, topdown=False):
        os.chmod(inner, 0o555)
    return list(stamps.values())


def _link(source: Path, target: str, proven: os.stat_result, file: File, legacy: bool) -> os.stat_result:
    owned = proven.st_uid == os.geteuid() and not source.is_symlink()
    linked = False
    if owned:
        try:
            os.link(source, target)
            linked = True
        except OSError as error:
            # Other file system, too many links to one object, or a system that forbids it: the next best way is tried.
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP):
                raise
    if not linked:
        try:
            os.symlink(source.absolute(), target)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return _copy(source, target, file, legacy)
    now = os.stat(target)
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (proven.st_ino, proven.st_size, proven.st_mtime_ns):
        raise CorruptObject(
            f"{file.path} was changed in the cache while it was being used ({source}).",
            "Find out which program writes into DVC's cache, then use the version again.",
        )
    return now


def _copy(source: Path, target: str, file: File, legacy: bool) -> os.stat_result:
    shutil.copyfile(source, target)
    os.chmod(target, 0o444)
    stat = check_file(Path(target), file.md5, legacy)
    if stat is None:
        raise CorruptObject(f"The copy of {file.path} differs from the original ({source}).", "Check the disk.")
    return stat


def _put_in_place(temporary: Path, view: Path) -> bool:
    try:
        os.rename(temporary, view)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def _replace(temporary: Path, view: Path) -> None:
    # What reads from the broken view keeps its open files.
    broken = view.parent / f"{_BROKEN}{uuid.uuid4().hex}"
    with suppress(FileNotFoundError):
        os.rename(view, broken)
    if not _put_in_place(temporary, view):
        remove(temporary)
    remove(broken)


def _sweep(folder: Path) -> None:
    for name in os.listdir(folder):
        if name.startswith((_BUILDING, _BROKEN)):
            with suppress(OSError):
                if time.time() - os.stat(folder / name).st_mtime > _ABANDONED_AFTER:
                    remove(folder / name)


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    waiting = [("", os.fspath(folder))]
    while waiting:
        prefix, path = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    yield prefix + entry.name, entry.path


def _file_name(name: str) -> str:
    """Turn a dataset's name into one safe path component that people still recognise."""
    safe = "".join(f"%{ord(c):02X}" if c in "/%\\:" or ord(c) < 32 else c for c in name)
    safe = f"%2E{safe[1:]}" if safe.startswith(".") else safe
    if len(safe.encode()) > _LONGEST_NAME:
        short = md5_digest(name.encode(), usedforsecurity=False).hexdigest()
        safe = safe.encode()[: _LONGEST_NAME - 40].decode(errors="ignore") + short
    return safe

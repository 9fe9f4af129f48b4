"""Proof that objects in the cache are the bytes that a version was made of.

DVC itself trusts every cache file of mode 0444, so a flipped byte passes its checkout, get, status and pull.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from .errors import CorruptObject, MissingObjects
from .ledger import Claim, Ledger, hash_name
from .model import Problem
from .objects import File, ObjectStore, md5_of

Report = Callable[[str], None]

_WORKERS = min(8, os.cpu_count() or 1)
_BATCH = 64


def verify_objects(
    store: ObjectStore,
    files: Iterable[File],
    legacy: bool,
    ledger: Ledger,
    report: Report | None = None,
    *,
    fetched: Collection[str] = (),
) -> dict[str, os.stat_result]:
    """Prove every object that `files` need, by the ledger or by hashing.

    Parameters
    ----------
    fetched
        Objects that came from the remote a moment ago: where one of them is corrupt, so is the remote's.

    Returns
    -------
    dict
        Per md5, the stat of the proven object.

    Raises
    ------
    CorruptObject, MissingObjects
        Naming the file of the dataset and the object in the cache.
    """
    names = {file.md5: file.path for file in reversed(list(files))}
    stats: dict[str, os.stat_result] = {}
    for md5, name in names.items():
        path = store.path(md5, legacy)
        try:
            stats[md5] = _protect(path)
        except OSError:
            raise _gone(name, path) from None
    proven = ledger.proves([(stat, hash_name(md5, legacy)) for md5, stat in stats.items()])
    unproven = [md5 for md5, known in zip(stats, proven, strict=True) if not known]
    if unproven:
        if report:
            report(f"Verifying {len(unproven)} of {len(names)} files")
        problems: list[Problem] = []
        fresh: list[Claim] = []
        paths = [(names[md5], store.path(md5, legacy), md5) for md5 in unproven]
        for md5, (stat, problem) in zip(unproven, _hash_all(paths, legacy), strict=True):
            if problem is not None:
                problems.append(problem)
            elif stat is not None:
                stats[md5] = stat
                fresh.append((stat, hash_name(md5, legacy)))
        ledger.note(fresh)
        if problems:
            corrupt = {problem.object for problem in problems if problem.kind == "corrupt"}
            came = [md5 for md5 in unproven if md5 in fetched and str(store.path(md5, legacy)) in corrupt]
            # All of them: what is left in the cache would be taken for damage of the cache next time.
            refusals = [corrupt_remote(names[md5], store, md5, legacy) for md5 in came]
            raise refusals[0] if refusals else _refusal(problems)
    return stats


def corrupt_remote(what: str, store: ObjectStore, md5: str, legacy: bool) -> CorruptObject:
    """Take an object that was fetched corrupt out of the cache again, and say where the damage is."""
    path = store.path(md5, legacy)
    # DVC would trust it: it trusts every read-only object.
    with suppress(OSError):
        path.unlink()
    return CorruptObject(
        f"{what} is corrupt in the remote: what was fetched from there are not the bytes of this version.",
        f"Fetching it again cannot help. Whoever has the version intact must delete {path.relative_to(store.root)} "
        "in the remote and run dvc push.",
    )


def inspect(store: ObjectStore, files: Iterable[File], legacy: bool, ledger: Ledger) -> list[Problem]:
    """Hash every object anew, whatever the ledger says, and list what is wrong."""
    names = {file.md5: file.path for file in reversed(list(files))}
    paths = [(name, store.path(md5, legacy), md5) for md5, name in names.items()]
    results = _hash_all(paths, legacy)
    ledger.note(
        (stat, hash_name(md5, legacy))
        for (_, _, md5), (stat, problem) in zip(paths, results, strict=True)
        if stat is not None and problem is None
    )
    return [problem for _, problem in results if problem is not None]


def check_file(path: Path, md5: str, legacy: bool) -> os.stat_result | None:
    """Hash one file; give its stat when the hash is right and the file held still meanwhile."""
    with open(path, "rb") as stream:
        before = os.fstat(stream.fileno())
        actual = md5_of(stream, legacy)
        after = os.fstat(stream.fileno())
    still = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return after if actual == md5 and still else None


def _hash_all(paths: list[tuple[str, Path, str]], legacy: bool) -> list[tuple[os.stat_result | None, Problem | None]]:
    def check(item: tuple[str, Path, str]) -> tuple[os.stat_result | None, Problem | None]:
        name, path, md5 = item
        try:
            stat = check_file(path, md5, legacy)
        except FileNotFoundError:
            return None, Problem(name, "missing", str(path))
        except OSError:
            return None, Problem(name, "unreadable", str(path))
        return stat, (None if stat else Problem(name, "corrupt", str(path)))

    def check_some(some: list[tuple[str, Path, str]]) -> list[tuple[os.stat_result | None, Problem | None]]:
        return [check(item) for item in some]

    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    if len(batches) < 2:
        return check_some(paths)
    # hashlib lets go of the interpreter lock, so threads use every core.
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="mlops_lab-verify")
    try:
        return [result for some in pool.map(check_some, batches) for result in some]
    finally:
        # After an interrupt nobody wants the rest hashed.
        pool.shutdown(wait=False, cancel_futures=True)


def _protect(path: Path) -> os.stat_result:
    stat = path.stat()
    if stat.st_mode & 0o222 and stat.st_uid == os.geteuid():
        # What DVC does to every object it makes. It stops accidents only: root writes through mode 0444, and through a
        # hard link into the cache, which is why a view is checked against the ledger each time it is used.
        os.chmod(path, 0o444)
        stat = path.stat()
    return stat


def _gone(name: str, path: Path) -> MissingObjects:
    return MissingObjects(f"{name} is not in the cache ({path}).", "Use the version again to fetch it.")


def _refusal(problems: list[Problem]) -> CorruptObject | MissingObjects:
    first = problems[0]
    more = f" ({len(problems) - 1} more files have problems.)" if len(problems) > 1 else ""
    if first.kind == "missing":
        return _gone(first.path, Path(first.object))
    if first.kind == "unreadable":
        return MissingObjects(
            f"{first.path} cannot be read from the cache: {first.object}.{more}",
            "Ask the owner of the cache for the right to read it.",
        )
    return CorruptObject(
        f"{first.path} is corrupt: its bytes in the cache are not those of this version ({first.object}).{more}",
        f"Delete {first.object} and use the version again: the file is then fetched from the remote.",
    )

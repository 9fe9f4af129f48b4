"""The bucket as a folder: `save` copies what is new since the backup before, `load` makes the bucket identical again.

A saved folder holds each distinct content once, under its SHA-256, and a manifest that names every object. The manifest
is written last: a folder without one is an unfinished backup.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from . import bucket
from .settings import ObjectStore, Refusal

MANIFEST = "manifest.jsonl"
CONTENTS = "contents"
FORMAT = "mlops-server objects 1"
_THREADS = 8
_CHUNK = 1 << 20
# Large objects go up in parts one after the other: the threads are busy with other objects.
_TRANSFER = TransferConfig(use_threads=False)


@dataclass(frozen=True)
class Saved:
    """One object of a backup: its name, its content, and what the store needs to give it back unchanged."""

    key: str
    size: int
    sha256: str
    etag: str
    type: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Summary:
    """What a save or load did, in numbers."""

    objects: int
    bytes: int
    copied: int
    unchanged: int
    removed: int = 0
    repaired: int = 0
    """How many of the copied ones the backup before had lost or damaged."""


def save(store: ObjectStore, folder: Path, previous: Path | None = None) -> Summary:
    """Copy the bucket into a folder.

    Parameters
    ----------
    store
        The bucket.
    folder
        A new or empty folder; one with an unfinished backup is continued.
    previous
        A finished backup. What has not changed since is linked to, so that it takes no room; where the two are on
        different disks, it is copied. A content that is not as it was saved is copied from the bucket again.

    Returns
    -------
    Summary
        How many objects there are, how many were copied from the bucket, how many were known, how many repaired.

    Raises
    ------
    Refusal
        If the folder holds a finished backup, the previous one is not whole, or the store does not answer.
    """
    with _errors():
        if (folder / MANIFEST).exists():
            raise Refusal(f"{folder} holds a finished backup already: name a new folder.")
        known = {entry.key: entry for entry in read_manifest(previous)} if previous else {}
    s3 = bucket.client(store)

    def one(listed: dict[str, Any]) -> tuple[Saved | None, bool, bool]:
        before = known.get(listed["Key"])
        same = before and (before.etag, before.size) == (listed["ETag"].strip('"'), listed["Size"])
        if before and previous and same and _take_over(previous, folder, before):
            return before, False, False
        return _download(s3, store.bucket, listed["Key"], folder), True, bool(same)

    with _errors(store), ThreadPoolExecutor(_THREADS) as threads:
        (folder / CONTENTS).mkdir(parents=True, exist_ok=True)
        results = [result for result in threads.map(one, _list(s3, store.bucket)) if result[0]]
        entries = [entry for entry, _, _ in results if entry]
        _write_manifest(folder, store.bucket, entries)
    size, copied = sum(entry.size for entry in entries), sum(new for _, new, _ in results)
    repaired = sum(again for _, _, again in results)
    return Summary(len(entries), size, copied, len(entries) - copied, repaired=repaired)


def check(folder: Path) -> Summary:
    """Compare every content of a finished backup with its checksum, or refuse; the bucket is not needed."""
    with _errors(), ThreadPoolExecutor(_THREADS) as threads:
        entries = list(read_manifest(folder))
        _require_whole(folder, entries, threads)
    return Summary(len(entries), sum(entry.size for entry in entries), 0, len(entries))


def load(store: ObjectStore, folder: Path) -> Summary:
    """Make the bucket what it was when the folder was saved: missing objects come back, extra ones go.

    Every content is compared with its checksum before the first object is touched.

    Parameters
    ----------
    store
        The bucket; it must exist.
    folder
        A finished backup.

    Returns
    -------
    Summary
        How many objects there are, were copied, were right already, and were removed.

    Raises
    ------
    Refusal
        If the backup is unfinished or damaged, or the store does not answer.
    """
    s3 = bucket.client(store)
    with _errors(store), ThreadPoolExecutor(_THREADS) as threads:
        entries = list(read_manifest(folder))
        there = {listed["Key"]: (listed["ETag"].strip('"'), listed["Size"]) for listed in _list(s3, store.bucket)}
        wanted = {entry.key for entry in entries}
        missing = [entry for entry in entries if there.get(entry.key) != (entry.etag, entry.size)]
        _require_whole(folder, entries, threads)
        for _ in threads.map(lambda entry: _upload(s3, store.bucket, entry, folder), missing):
            pass
        extra = sorted(there.keys() - wanted)
        for _ in threads.map(lambda key: s3.delete_object(Bucket=store.bucket, Key=key), extra):
            pass
    size = sum(entry.size for entry in entries)
    return Summary(len(entries), size, len(missing), len(entries) - len(missing), len(extra))


def read_manifest(folder: Path) -> Iterator[Saved]:
    """Give the objects of a finished backup, or refuse."""
    file = folder / MANIFEST
    try:
        with file.open(encoding="utf-8") as lines:
            head = json.loads(next(lines))
            if head.get("format") != FORMAT:
                raise Refusal(f"{file} was written by another version of mlops-server: use that one.")
            entries = [Saved(**json.loads(line)) for line in lines]
    except FileNotFoundError as error:
        raise Refusal(f"{folder} holds no finished backup of the bucket: {MANIFEST} is missing.") from error
    except (ValueError, TypeError, StopIteration) as error:
        raise Refusal(f"{file} is damaged: take another backup.") from error
    if len(entries) != head["objects"]:
        raise Refusal(f"{file} is damaged: it names {len(entries)} of {head['objects']} objects. Take another backup.")
    return iter(entries)


def _list(s3: Any, name: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        yield from page.get("Contents", [])


def _content(folder: Path, sha256: str) -> Path:
    return folder / CONTENTS / sha256[:2] / sha256


def _take_over(previous: Path, folder: Path, entry: Saved) -> bool:
    """Take one content over from the backup before; False where it is not there as it was saved.

    It is read whole each time, for a link to a damaged content would damage every later backup as well.
    """
    if _damage(folder, entry) is None:
        # Another object has the same content, or an unfinished backup is continued.
        return True
    if _damage(previous, entry):
        return False
    source, target = _content(previous, entry.sha256), _content(folder, entry.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
    try:
        os.link(source, part)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP):
            raise
        shutil.copyfile(source, part)
    part.replace(target)
    return True


def _download(s3: Any, name: str, key: str, folder: Path) -> Saved | None:
    """Copy one object; None if it was removed since it was listed."""
    try:
        answer = s3.get_object(Bucket=name, Key=key)
    except ClientError as error:
        if bucket.reason(error) in ("NoSuchKey", "404"):
            return None
        raise
    part = folder / CONTENTS / f"{os.urandom(8).hex()}.part"
    digest, size = hashlib.sha256(), 0
    with part.open("wb") as file:
        for chunk in answer["Body"].iter_chunks(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    if size != answer["ContentLength"]:
        part.unlink()
        raise Refusal(f"The object store broke off in the middle of {key}: run the backup again.")
    target = _content(folder, digest.hexdigest())
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    etag = answer["ETag"].strip('"')
    return Saved(key, size, digest.hexdigest(), etag, answer.get("ContentType"), answer.get("ContentEncoding"))


def _upload(s3: Any, name: str, entry: Saved, folder: Path) -> None:
    extra = {"ContentType": entry.type, "ContentEncoding": entry.encoding}
    given = {field: value for field, value in extra.items() if value}
    s3.upload_file(str(_content(folder, entry.sha256)), name, entry.key, ExtraArgs=given, Config=_TRANSFER)


def _require_whole(folder: Path, entries: Iterable[Saved], threads: ThreadPoolExecutor) -> None:
    for damage in threads.map(lambda entry: _damage(folder, entry), entries):
        if damage:
            raise Refusal(f"The backup {folder} is damaged: {damage} Nothing was changed; take another backup.")


def _damage(folder: Path, entry: Saved) -> str | None:
    digest = hashlib.sha256()
    try:
        with _content(folder, entry.sha256).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return f"the content of {entry.key} is missing."
    except OSError as error:
        return f"the content of {entry.key} cannot be read ({error.strerror})."
    return None if digest.hexdigest() == entry.sha256 else f"the content of {entry.key} has changed since."


def _write_manifest(folder: Path, name: str, entries: Iterable[Saved]) -> None:
    entries = sorted(entries, key=lambda entry: entry.key)
    # What an interrupted download left.
    for part in (folder / CONTENTS).glob("**/*.part"):
        part.unlink()
    part = folder / f"{MANIFEST}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"format": FORMAT, "bucket": name, "objects": len(entries)}) + "\n")
        for entry in entries:
            file.write(json.dumps(asdict(entry)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / MANIFEST)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


@contextmanager
def _errors(store: ObjectStore | None = None) -> Iterator[None]:
    """Say in one sentence what store and disk refuse."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        name = f"The bucket {store.bucket}" if store else "The bucket"
        raise Refusal(
            f"{name} cannot be used ({bucket.reason(error)}). Look at it with ./mlops-server logs objects."
        ) from error
    except OSError as error:
        what = error.filename or "The backup's folder"
        raise Refusal(f"{what} cannot be used: {error.strerror or error}.") from error

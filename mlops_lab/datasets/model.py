"""What the datasets room tells others: datasets, their versions, and where a version can be read."""

from __future__ import annotations

from typing import Literal

import msgspec

Place = Literal["workspace", "cache"]


class DatasetVersion(msgspec.Struct):
    """One content of one dataset. Its identity is the md5; everything else describes it."""

    name: str
    version: str
    """How people call it: the GTO version, else the git tag, else date and short md5."""
    spec: str
    """What to type, e.g. ``"brain@v2.0.0"``."""
    md5: str
    """DVC's hash; ends in ``.dir`` for a folder."""
    path: str
    """Where the dataset stands in the repository, relative to its top, with forward slashes."""
    commit: str
    """The first commit that holds this content, 40 hex digits."""
    author: str
    date: str
    """Author date, ISO 8601 with offset."""
    message: str
    """First line of the commit message."""
    size: int | None = None
    """Bytes."""
    nfiles: int | None = None
    labels: list[str] = []
    """GTO stages, git tags and branches that point at this content."""
    where: list[Place] = []
    """``workspace``: the working copy holds it; ``cache``: DVC's local cache holds it. Empty: it must be fetched."""


class Dataset(msgspec.Struct):
    """One tracked file or folder and its history, newest version first."""

    name: str
    path: str
    versions: list[DatasetVersion]


class Catalogue(msgspec.Struct):
    """Every dataset of one repository."""

    repository: str
    """Absolute path of the working tree's top."""
    head: str
    branch: str | None
    """None on a detached HEAD."""
    datasets: list[Dataset]
    notice: str | None = None
    """Something the reader should know, e.g. that a shallow clone cuts the history."""


class RoleDigest(msgspec.Struct):
    """The files of one role of a dataset version, reduced to a hash: equal digests mean equal bytes."""

    digest: str
    files: int
    subjects: int


class DataUsed(msgspec.Struct):
    """One dataset version that a run was given."""

    name: str
    version: str
    md5: str
    revision: str = ""
    roles: dict[str, RoleDigest] = {}
    """Per role (train, tune, test): what its files are. Empty when the project declares no roles."""


class FileChange(msgspec.Struct):
    """One file that differs between two versions; what does not exist on a side is None there."""

    path: str
    """Relative to the dataset."""
    md5_before: str | None = None
    md5_after: str | None = None
    size_before: int | None = None
    """Bytes; None also where the cache does not hold the file."""
    size_after: int | None = None


class Diff(msgspec.Struct):
    """What changed from one version of a dataset to another."""

    name: str
    before: str
    after: str
    added: list[FileChange]
    removed: list[FileChange]
    modified: list[FileChange]


class Problem(msgspec.Struct):
    """One file of a version that cannot be trusted."""

    path: str
    """Relative to the dataset."""
    kind: Literal["missing", "corrupt", "unreadable"]
    object: str
    """Where the cache keeps (or should keep) its bytes."""

    def __str__(self) -> str:
        return f"{self.path}: {self.kind} ({self.object})"

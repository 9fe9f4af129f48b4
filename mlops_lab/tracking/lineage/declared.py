"""A dataset version that a run was told to use, seen from the files that it read: which of them are its own?

A file is one of the version's if it lies in its view; or, elsewhere, if it is the very same file (a working copy made
of links), or an object of DVC's cache that the version holds, or a copy with the same bytes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ...errors import MlopsLabError

if TYPE_CHECKING:
    from ...datasets import UsedDataset
    from .outside import Stranger

_OBJECT = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{30})$")


@dataclass
class Role:
    """One role of a version (train, tune, test), and what a run read of it."""

    files: int = 0
    seen: int = 0
    trained: int = 0
    """Files that a loader handed out whose batches were trained on."""
    consulted: int = 0
    """Files that another loader handed out before the last batch that was trained on."""


@dataclass
class Declared:
    """One version, and which of its files were seen."""

    used: UsedDataset
    view: str
    """The view's folder."""
    md5: dict[str, str]
    """Per file, relative to the view, its md5."""
    role: dict[str, str]
    """Per file that has one, its role."""
    seen: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    """Those of `seen` that were read from another place than the view."""
    trained: set[str] = field(default_factory=set)
    consulted: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, used: UsedDataset) -> Declared:
        """Take a version as it was given to a run; its roles are read as the project says."""
        single = not used.used.md5.endswith(".dir")
        view = used.path.parent if single else used.path
        files = {file.path: file.md5 for file in used.files}
        role: dict[str, str] = {}
        if used.used.roles:
            from ...datasets.readings import table_of
            from ...datasets.roles import assign

            try:
                role = assign(files, table_of(view), lambda path: (view / path).read_bytes()).role
            except (MlopsLabError, OSError):  # what the run records of its roles stands all the same
                role = {}
        return cls(used, os.path.normpath(view), files, role)

    @property
    def spec(self) -> str:
        """What to call it, e.g. ``"brain@v2.0.0"``."""
        return f"{self.used.used.name}@{self.used.used.version}"

    def inside(self, path: str) -> list[str]:
        """Give the files of this version that `path`, normalised and absolute, stands for: itself, or all below it."""
        view = next((view for view in (self.view, self._real_view) if path.startswith(view)), None)
        if view is None:
            return []
        rest = path[len(view) :]
        if rest and not rest.startswith(os.sep):
            return []
        relative = rest[1:].replace(os.sep, "/")
        if relative in self.md5:
            return [relative]
        below = f"{relative}/" if relative else ""
        return [name for name in self.md5 if name.startswith(below)]

    def same_file(self, file: Stranger) -> str | None:
        """Find the file of this version that `file` is under another name; None where it is none of ours."""
        named = _OBJECT.search(file.real)
        if named is not None and f"{named[1]}{named[2]}" in self._by_md5:
            return self.same_bytes(f"{named[1]}{named[2]}", file.path)
        return self._by_inode.get((file.device, file.inode)) if file.linked else None

    def same_bytes(self, md5: str, path: str) -> str | None:
        """Find the file with this content, of several that which is called most like `path`; None where there is none.

        Where several have different roles and none is called so, it is not known which was meant: the first stands.
        """
        candidates = self._by_md5.get(md5, ())
        parts = path.split(os.sep)[::-1]

        def alike(name: str) -> int:
            pairs = zip(name.split("/")[::-1], parts, strict=False)
            return next((count for count, (mine, theirs) in enumerate(pairs) if mine != theirs), len(parts))

        return max(candidates, key=alike, default=None)

    def roles(self) -> dict[str, Role]:
        """Give per role how many files it has and how many were seen."""
        found: dict[str, Role] = {}
        for path in self.md5:
            role = self.role.get(path)
            if role is None:
                continue
            of_role = found.setdefault(role, Role())
            of_role.files += 1
            of_role.seen += path in self.seen
            of_role.trained += path in self.trained
            of_role.consulted += path in self.consulted
        return dict(sorted(found.items()))

    @cached_property
    def _real_view(self) -> str:
        return os.path.realpath(self.view)

    @cached_property
    def _by_md5(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path, md5 in self.md5.items():
            found.setdefault(md5, []).append(path)
        return found

    @cached_property
    def _by_inode(self) -> dict[tuple[int, int], str]:
        found: dict[tuple[int, int], str] = {}
        for path in self.md5:
            try:
                stat = os.stat(os.path.join(self.view, path))
            except OSError:
                continue
            found[stat.st_dev, stat.st_ino] = path
        return found

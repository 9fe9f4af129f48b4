"""Real git and DVC repositories for tests, written as a user would write them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

_START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

Files = Mapping[str, str | bytes]


@dataclass
class DvcRepository:
    """One repository; every commit is an hour younger than the one before."""

    path: Path
    commits: int = 0
    root: str = "."
    """Folder of the DVC project in the repository."""

    def git(self, *arguments: str) -> str:
        """Run git in the repository and give what it prints."""
        return _run(["git", *arguments], self.path, self._clock())

    def dvc(self, *arguments: str) -> str:
        """Run dvc in a child process, at the top of the DVC project."""
        return _run([sys.executable, "-m", "dvc", *arguments], self.path / self.root, {"DVC_NO_ANALYTICS": "1"})

    def write(self, files: Files) -> None:
        """Write files of the working tree; their folders are made."""
        for name, content in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            # DVC's protected links are read-only: a new file takes the place of one.
            file.unlink(missing_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)

    def add(self, *targets: str) -> None:
        """Hand files or folders to DVC."""
        self.dvc("add", "--quiet", *(os.path.relpath(target, self.root) for target in targets))

    def commit(self, message: str) -> str:
        """Commit everything and give the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        self.commits += 1
        return self.head()

    def save(self, message: str, dataset: str, files: Files) -> str:
        """Make one version: write files into the folder `dataset`, dvc add, commit."""
        self.write({f"{dataset}/{name}": content for name, content in files.items()})
        self.add(dataset)
        return self.commit(message)

    def tag(self, name: str) -> None:
        """Put an annotated tag on HEAD, as GTO does."""
        self.git("tag", "--annotate", name, "--message", name)

    def head(self) -> str:
        """Give HEAD's commit."""
        return self.git("rev-parse", "HEAD").strip()

    def object(self, md5: str) -> Path:
        """Give the place of an object in the default cache."""
        return self.path / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]

    def status(self) -> str:
        """Give all that differs from HEAD, unknown files included."""
        return self.git("status", "--porcelain")

    def _clock(self) -> dict[str, str]:
        now = (_START + timedelta(hours=self.commits)).isoformat()
        return {"GIT_AUTHOR_DATE": now, "GIT_COMMITTER_DATE": now}


def make_repository(path: Path, *, dvc_in: str = ".") -> DvcRepository:
    """Make a repository at `path` with DVC in the folder `dvc_in`, and commit that."""
    path.mkdir(parents=True, exist_ok=True)
    repository = DvcRepository(path, root=dvc_in)
    repository.git("init", "--quiet", "--initial-branch=main")
    (path / dvc_in).mkdir(parents=True, exist_ok=True)
    repository.dvc("init", "--quiet", *(() if dvc_in == "." else ("--subdir",)))
    repository.commit("Start with DVC")
    return repository


@pytest.fixture(scope="session")
def empty_dvc_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with DVC and nothing else; copy it."""
    return make_repository(tmp_path_factory.mktemp("dvc-template") / "repository").path


@pytest.fixture
def dvc_repo(empty_dvc_repository: Path, tmp_path: Path) -> Callable[..., DvcRepository]:
    """A factory of repositories with DVC at the top: ``dvc_repo()`` or ``dvc_repo("name")``."""

    def make(name: str = "project") -> DvcRepository:
        target = tmp_path / name
        shutil.copytree(empty_dvc_repository, target, symlinks=True)
        return DvcRepository(target, commits=1)

    return make


def _run(command: list[str], folder: Path, extra: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **extra}, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} failed: {done.stderr.decode('utf-8', 'replace')}")
    return done.stdout.decode("utf-8", "replace")

"""git is read, never changed, and no secret of a remote's URL gets out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab.datasets import git, read_catalogue
from tests.dvc_repositories import DvcRepository

Factory = Callable[..., DvcRepository]


def test_the_state_of_the_code_is_told(dvc_repo: Factory) -> None:
    repo = dvc_repo("with space ü")
    deep = repo.path / "a" / "b"
    deep.mkdir(parents=True)
    assert git.top(deep) == repo.path
    assert git.commit(deep) == repo.head()
    assert git.branch(deep) == "main"
    repo.write({"notebook.ipynb": "{}"})
    assert not git.dirty(repo.path)
    assert git.dirty(repo.path, untracked=True)
    repo.commit("A notebook")
    repo.write({"notebook.ipynb": "{ }"})
    assert git.dirty(deep)
    repo.git("checkout", "--quiet", "--detach")
    assert git.branch(repo.path) is None
    assert git.remote_url(repo.path) is None


def test_before_the_first_commit_there_is_no_commit(tmp_path: Path) -> None:
    DvcRepository(tmp_path).git("init", "--quiet", "--initial-branch=main")
    assert git.commit(tmp_path) is None
    assert git.branch(tmp_path) == "main"


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://ada:s3cret@example.org/lab/data.git", "https://example.org/lab/data.git"),
        ("https://ghp_token@example.org:8443/x", "https://example.org:8443/x"),
        ("https://example.org/x?token=s3cret#frag", "https://example.org/x"),
        ("ssh://git:s3cret@example.org/x", "ssh://git@example.org/x"),
        ("git@example.org:lab/data.git", "git@example.org:lab/data.git"),
        ("/srv/git/data", "/srv/git/data"),
    ],
)
def test_a_remote_is_told_without_credentials(dvc_repo: Factory, url: str, clean: str) -> None:
    repo = dvc_repo()
    repo.git("remote", "add", "upstream", url)
    assert git.remote_url(repo.path) == clean


def test_origin_is_preferred_and_the_branchs_own_remote_even_more(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.git("remote", "add", "a-mirror", "https://example.org/mirror")
    repo.git("remote", "add", "origin", "https://example.org/origin")
    assert git.remote_url(repo.path) == "https://example.org/origin"
    repo.git("config", "branch.main.remote", "a-mirror")
    assert git.remote_url(repo.path) == "https://example.org/mirror"


@pytest.mark.parametrize("revision", ["", "--all", "nothing", "HEAD:brain", "a\0b", "HEAD\nHEAD"])
def test_odd_revisions_name_no_commit(dvc_repo: Factory, revision: str) -> None:
    assert git.rev_parse(dvc_repo().path, revision) is None


def test_settings_of_another_program_do_not_lead_git_astray(
    dvc_repo: Factory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repo = dvc_repo()
    repo.save("One", "brain", {"a.txt": "1"})
    repo.git("config", "log.showSignature", "true")
    repo.git("config", "log.showRoot", "false")
    repo.git("config", "diff.renames", "copies")
    repo.git("config", "core.fsmonitor", str(tmp_path / "evil"))
    # As inside a git hook, or in a shell that was set up for another repository.
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert [d.name for d in read_catalogue(repo.path).datasets] == ["brain"]


def test_reading_writes_nothing_into_the_repository(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("One", "brain", {"a.txt": "1"})
    before = {path: path.stat().st_mtime_ns for path in repo.path.rglob("*") if path.is_file()}
    read_catalogue(repo.path)
    git.dirty(repo.path)
    assert {path: path.stat().st_mtime_ns for path in repo.path.rglob("*") if path.is_file()} == before

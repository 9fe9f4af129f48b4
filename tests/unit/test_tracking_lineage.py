"""Where a run comes from: real repositories, real scripts, a real login."""

from __future__ import annotations

import configparser
import getpass
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab.connection import tags as names
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import Session, write_session
from mlops_lab.tracking import track
from mlops_lab.tracking.lineage import code as lineage
from mlops_lab.tracking.lineage import context
from tests.unit.test_tracking_block import tags


class Repository:
    """A plain git repository."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "protocol.file.allow=always", *arguments]
        return subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, name: str, text: str) -> str:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.git("add", name)
        self.git("commit", "--quiet", "--message", name)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "study")


def test_the_repository_is_named_by_commit_branch_remote_and_state(repository: Repository) -> None:
    commit = repository.commit("train.py", "pass\n")
    repository.git("remote", "add", "origin", "https://ada:ghp_abcdefghijklmnop1234@git.example.org/group/brain.git")
    repository.git("remote", "add", "other", "https://git.example.org/other.git")
    found = lineage.code_tags(repository.path)
    assert found[names.GIT_COMMIT] == commit
    assert found[names.GIT_BRANCH] == "main"
    assert found[names.GIT_REMOTE] == "https://git.example.org/group/brain.git"
    assert found[names.REPOSITORY] == "brain"
    assert found[names.GIT_DIRTY] == "false"

    repository.git("config", "branch.main.remote", "other")
    assert lineage.code_tags(repository.path)[names.GIT_REMOTE] == "https://git.example.org/other.git"
    (repository.path / "train.py").write_text("print()\n")
    assert lineage.code_tags(repository.path)[names.GIT_DIRTY] == "true"


def test_a_detached_head_has_a_commit_and_no_branch(repository: Repository) -> None:
    commit = repository.commit("a.py", "1\n")
    repository.git("checkout", "--quiet", "--detach")
    found = lineage.code_tags(repository.path)
    assert found[names.GIT_COMMIT] == commit
    assert names.GIT_BRANCH not in found
    assert names.GIT_REMOTE not in found
    assert found[names.REPOSITORY] == "study"


def test_a_repository_without_a_commit_has_a_branch_only(repository: Repository) -> None:
    found = lineage.code_tags(repository.path)
    assert names.GIT_COMMIT not in found
    assert names.GIT_DIRTY not in found
    assert found[names.GIT_BRANCH] == "main"


def test_outside_of_a_repository_there_are_no_git_tags(tmp_path: Path) -> None:
    assert not any(key.startswith(("mlflow.source.git", "mlops_lab.git")) for key in lineage.code_tags(tmp_path))


def test_a_submodule_that_stands_elsewhere_is_an_uncommitted_change(repository: Repository, tmp_path: Path) -> None:
    library = Repository(tmp_path / "library")
    library.commit("a.py", "1\n")
    repository.commit("train.py", "pass\n")
    repository.git("submodule", "add", "--quiet", str(library.path), "library")
    repository.git("commit", "--quiet", "--message", "with the library")
    assert lineage.code_tags(repository.path)[names.GIT_DIRTY] == "false"
    inner = repository.path / "library"
    for command in (["checkout", "--quiet", "--detach"], ["commit", "--quiet", "--allow-empty", "--message", "x"]):
        subprocess.run(["git", *command], cwd=inner, check=True)
    assert lineage.code_tags(repository.path)[names.GIT_DIRTY] == "true"
    assert lineage.code_tags(inner)[names.REPOSITORY] == "library"


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://ada:secret@host/g/x.git", "https://host/g/x.git"),
        ("https://ghp_abcdefghijklmnop1234@host:8443/g/x.git?private_token=abc#f", "https://host:8443/g/x.git"),
        ("https://host/t/tk-123-456/channel", "https://host/t/***/channel"),
        ("git@host:g/x.git", "git@host:g/x.git"),
        ("ada@host:g/x.git", "host:g/x.git"),
        ("oauth2:token123@host:g/x@y.git", "host:g/x@y.git"),
        ("ssh://git@host:22/g/x.git", "ssh://git@host:22/g/x.git"),
        ("ssh://ada:secret@host/g/x.git", "ssh://host/g/x.git"),
        ("/home/ada/repositories/x.git", "x.git"),
        ("file:///home/ada/x", "x"),
        ("../x.git", "x.git"),
        ("http://[broken", ""),
    ],
)
def test_an_address_is_shown_without_credentials_people_and_local_paths(url: str, public: str) -> None:
    assert lineage.public_url(url) == public


@pytest.fixture
def script(repository: Repository) -> Callable[..., str]:
    """Starts a program of the repository in some way and gives what it says of its command."""
    repository.commit("project/__init__.py", "")
    repository.commit(
        "project/train.py",
        "from pathlib import Path\nfrom mlops_lab.tracking.lineage import code as lineage\n"
        "top = Path(__file__).resolve().parents[1]\nprint('COMMAND', lineage.command(top), flush=True)\n",
    )

    def start(*words: str, **variables: str) -> str:
        environment = {**os.environ, **variables}
        done = subprocess.run(
            words, cwd=repository.path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.partition("COMMAND ")[2].splitlines()[0]

    return start


def test_the_command_is_what_one_would_type_without_secrets_and_local_paths(
    script: Callable[..., str], repository: Repository
) -> None:
    python = Path(sys.executable).name
    train = str(repository.path / "project/train.py")
    secrets = ("--api-token", "abc123", "--password=hunter2", "--lr", "0.1")
    masked = "--api-token *** --password=*** --lr 0.1"
    assert script(sys.executable, "-u", train, *secrets) == f"{python} -u project/train.py {masked}"
    assert script(sys.executable, "-m", "project.train", *secrets) == f"{python} -m project.train {masked}"
    inside = str(repository.path / "data" / "set one")
    given = script(sys.executable, "project/train.py", "--data", inside, "--out=/home/ada/Meyer")
    assert given == f"{python} project/train.py --data 'data/set one' --out=Meyer"
    code = "import sys; secret = 'x'; sys.argv[1:] = []; import project.train"
    assert script(sys.executable, "-X", "utf8", "-c", code) == f"{python} -X utf8 -c ..."


def test_torchrun_is_named_as_such(script: Callable[..., str]) -> None:
    run = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert script(*run, "project/train.py", "--lr", "1") == "torchrun --nproc-per-node=2 project/train.py --lr 1"


def test_a_command_that_pip_installed_is_called_by_its_name(script: Callable[..., str], tmp_path: Path) -> None:
    # As pip writes it, beside the interpreter of an environment.
    environment = tmp_path / "environment" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").symlink_to(sys.executable)
    command = environment / "brain-train"
    command.write_text(f"#!{environment / 'python'}\nimport project.train\n")
    command.chmod(0o755)
    path = os.pathsep.join([*(entry for entry in sys.path if entry), "."])
    assert script(str(command), "--lr", "1", PYTHONPATH=path) == "brain-train --lr 1"


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    def write(user: str | None) -> None:
        session = tmp_path / "session.json"
        write_session(session, Session(uri="http://127.0.0.1:9", user=user))
        monkeypatch.setenv("MLOPS_LAB_SESSION", str(session))

    return write


def test_the_person_is_who_the_server_says(tmp_path: Path, login: Callable[[str | None], None]) -> None:
    login("ada.lovelace")
    assert lineage.code_tags(tmp_path)[names.PERSON] == "ada.lovelace"
    assert lineage.user() == "ada.lovelace"


def test_where_the_server_knows_nobody_the_systems_name_is_no_verified_one(
    tmp_path: Path, login: Callable[[str | None], None]
) -> None:
    login(None)
    assert names.PERSON not in lineage.code_tags(tmp_path)
    assert lineage.user() == getpass.getuser()


def test_a_run_on_the_server_says_where_it_comes_from(
    server: TrackingServer, experiment: str, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit("train.py", "pass\n")
    repository.git("remote", "add", "origin", "https://ada:pw@git.example.org/group/brain.git")
    monkeypatch.chdir(repository.path)
    with track(experiment=experiment) as run:
        pass
    assert run.run_id
    found = tags(server.get_run(run.run_id))
    assert found[names.GIT_COMMIT] == commit
    assert found[names.GIT_REMOTE] == "https://git.example.org/group/brain.git"
    assert found[names.COMMAND]
    assert found["mlflow.user"]


def test_the_patch_of_what_is_not_committed_has_no_secret_and_no_notebook(repository: Repository) -> None:
    assert lineage.uncommitted_changes(repository.path) == ""
    repository.commit("train.py", "lr = 0.1\n")
    repository.commit("deep/study.ipynb", '{"outputs": []}\n')
    assert lineage.uncommitted_changes(repository.path) == ""
    (repository.path / "train.py").write_text("lr = 0.2\napi_token = 'abc123secret'\n")
    (repository.path / "deep/study.ipynb").write_text('{"outputs": ["Meyer"]}\n')
    (repository.path / "unknown.py").write_text("unknown = 1\n")
    patch = lineage.uncommitted_changes(repository.path / "deep")
    assert "+lr = 0.2" in patch
    assert "abc123secret" not in patch
    assert "Meyer" not in patch
    assert "unknown" not in patch


def test_a_long_patch_is_cut(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "LONGEST_PATCH", 100)
    repository.commit("train.py", "x = 1\n")
    (repository.path / "train.py").write_text("x = 2\n" * 100)
    assert "cut here" in lineage.uncommitted_changes(repository.path)


SCRIPT = """
import mlops_lab
import {module}

max_epochs = 4
api_token = 'abc123secret'
if __name__ == "__main__":
    with mlops_lab.track(offline=True) as run:
        with mlops_lab.track() as inner:
            pass
    start = run.start.tags
    print("TOLD", start["mlops_lab.git.dirty"], run.params.get("max_epochs"), inner.params.get("max_epochs"))
    for file in sorted(run.folder.rglob("*.py")):
        print(file.name, file.read_text())
"""


def test_a_script_is_recorded_and_one_that_the_commit_lacks_is_an_uncommitted_change(
    repository: Repository, mlops_home: Path
) -> None:
    repository.commit("project/__init__.py", "")
    repository.commit("project/network.py", "layers = 3\n")
    repository.commit("project/train.py", SCRIPT.format(module="project.network"))
    repository.commit("train.py", SCRIPT.format(module="project.loss"))
    (repository.path / "project/loss.py").write_text("weight = 1\n")
    (repository.path / "train_new.py").write_text(SCRIPT.format(module="project.network"))

    def start(*words: str, told: str | None = None) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=repository.path,
            input=told,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.partition("TOLD ")[2]

    known = start("-m", "project.train")
    assert known.startswith("false 4 None\n"), "the commit holds the script and what it imports, not what lies about"
    assert "max_epochs = 4" in known
    assert "abc123secret" not in known
    assert start("train.py").startswith("true 4 None\n"), "an imported module is not in the commit"
    assert start("train_new.py").startswith("true 4 None\n"), "the script is not in the commit"
    assert start("-", told=SCRIPT.format(module="project.network")) == "false None None\n"
    assert start("-c", SCRIPT.format(module="project.network")) == "false None None\n"


PLAIN_RUN = """
import mlflow, sys
from mlflow.tracking.context import registry
from mlops_lab.tracking.lineage import context

context.LONGEST_WAIT = 60  # however busy this machine is
known = list(registry._run_context_provider_registry)
if not any(isinstance(provider, context.CodeContext) for provider in known):
    registry._run_context_provider_registry.register(context.CodeContext)
mlflow.set_experiment(sys.argv[1])
with mlflow.start_run() as run:
    print("RUN", run.info.run_id)
"""


def test_a_plain_mlflow_run_gets_the_code_tags(server: TrackingServer, experiment: str, repository: Repository) -> None:
    commit = repository.commit("train.py", PLAIN_RUN)
    repository.git("remote", "add", "origin", "https://ada:pw@git.example.org/group/brain.git")
    done = subprocess.run(
        [sys.executable, "train.py", experiment],
        cwd=repository.path,
        env={**os.environ, "MLFLOW_TRACKING_URI": server.uri},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = tags(server.get_run(done.stdout.split("RUN ")[1].split()[0]))
    assert found[names.GIT_COMMIT] == commit
    assert found[names.GIT_BRANCH] == "main"
    assert found[names.GIT_DIRTY] == "false"
    assert found[names.GIT_REMOTE] == "https://git.example.org/group/brain.git"
    assert found["mlflow.source.name"] == "train.py"


def test_a_folder_without_a_repository_is_no_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    provider = context.CodeContext()
    assert provider.in_context() is False
    assert provider.tags() == {}


def test_a_run_is_not_given_the_commit_of_the_run_before(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.path)
    provider = context.CodeContext()
    monkeypatch.setattr(context, "LONGEST_WAIT", 0.0)
    repository.commit("train.py", "pass\n")
    provider.in_context()  # whatever is known after no time at all
    monkeypatch.setattr(context, "LONGEST_WAIT", 60.0)
    commit = repository.commit("more.py", "pass\n")
    assert provider.in_context()
    assert provider.tags()[names.GIT_COMMIT] == commit


def test_mlflow_finds_the_provider_by_its_entry_point() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    lines = setup["options.entry_points"]["mlflow.run_context_provider"]
    (name, _, target), *_ = (line.partition(" = ") for line in lines.strip().splitlines())
    module, _, attribute = target.partition(":")
    assert name == "mlops_lab"
    assert getattr(importlib.import_module(module), attribute) is context.CodeContext


def test_a_provider_whose_folder_is_gone_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    assert context.CodeContext().in_context() is False

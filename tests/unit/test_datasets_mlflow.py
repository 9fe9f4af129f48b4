"""A run's record in MLflow leads back to the bytes, and holds no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab.datasets import use
from mlops_lab.datasets.mlflow_source import DIGEST_LENGTH, digest, source_of
from tests.dvc_repositories import DvcRepository

Factory = Callable[..., DvcRepository]

pytestmark = pytest.mark.usefixtures("mlops_home")


def test_the_source_names_the_version_and_not_the_password_of_the_remote(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    commit = repo.save("One", "data/brain", {"a.txt": "1"})
    repo.tag("brain@v1.0.0")
    repo.git("remote", "add", "origin", "https://ada:s3cret@example.org/lab/brain.git")
    used = use("brain@v1.0.0", repo.path)
    kind, text = source_of(used)
    assert kind == "dvc"
    assert json.loads(text) == {
        "repository": "https://example.org/lab/brain.git",
        "name": "brain",
        "version": "v1.0.0",
        "path": "data/brain",
        "md5": used.used.md5,
        "revision": commit,
    }
    assert str(repo.path) not in text
    assert len(digest(used.used)) == DIGEST_LENGTH


def test_mlflow_reads_the_source_back_and_loads_the_bytes(dvc_repo: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.data.dataset_source import DatasetSource

    from mlops_lab.datasets.mlflow_source import DvcDatasetSource

    repo = dvc_repo()
    repo.save("One", "data/brain", {"a.txt": "1"})
    used = use("brain", repo.path)
    repo.save("Two", "data/brain", {"a.txt": "2"})
    _, text = source_of(used)
    source = DvcDatasetSource.from_json(text)
    assert isinstance(source, DatasetSource)
    assert source.to_json() == json.dumps(json.loads(text))
    monkeypatch.chdir(repo.path)
    assert (Path(source.load()) / "a.txt").read_text() == "1"
    assert DvcDatasetSource._can_resolve(used)
    assert not DvcDatasetSource._can_resolve("s3://bucket")
    assert json.loads(DvcDatasetSource._resolve(used).to_json()) == json.loads(text)

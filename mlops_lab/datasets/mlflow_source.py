"""A dataset version as MLflow's dataset input: how a run's record leads back to the bytes.

The plugin class needs mlflow, whose import takes seconds; a kernel that only records a source never loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .access import UsedDataset
from .model import DataUsed

if TYPE_CHECKING:
    from .mlflow_plugin import DvcDatasetSource as DvcDatasetSource

SOURCE_TYPE = "dvc"
DIGEST_LENGTH = 36
"""MLflow stores no longer digest; the hash of a DVC folder has exactly this length."""


def source_of(used: UsedDataset) -> tuple[str, str]:
    """Give MLflow's source type and the source document (JSON) of a used dataset, without any credential."""
    import orjson

    return SOURCE_TYPE, orjson.dumps(describe(used)).decode()


def describe(used: UsedDataset) -> dict[str, Any]:
    """Give the document that names a version: repository, path, revision and hash."""
    from . import git

    return {
        "repository": git.remote_url(used.repository) or used.repository.name,
        "name": used.used.name,
        "version": used.used.version,
        "path": used.version.path,
        "md5": used.used.md5,
        "revision": used.used.revision,
    }


def digest(data: DataUsed | Mapping[str, Any]) -> str:
    """Give the digest under which MLflow files the dataset."""
    md5 = data.md5 if isinstance(data, DataUsed) else str(data["md5"])
    return md5[:DIGEST_LENGTH]


def __getattr__(name: str) -> Any:
    if name == "DvcDatasetSource":
        from .mlflow_plugin import DvcDatasetSource

        return DvcDatasetSource
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

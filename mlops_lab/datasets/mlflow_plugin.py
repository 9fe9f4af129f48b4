"""MLflow's side of a DVC dataset version (entry point ``mlflow.dataset_source``); only mlflow loads this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.data.dataset_source import DatasetSource

from .access import UsedDataset, use
from .mlflow_source import SOURCE_TYPE, describe


class DvcDatasetSource(DatasetSource):
    """A version of a DVC dataset in a git repository.

    Parameters
    ----------
    document
        What :func:`mlops_lab.datasets.mlflow_source.describe` gives.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    def load(self, path: str | Path = ".") -> str:
        """Fetch and verify the version; give the path of its read-only view.

        Parameters
        ----------
        path
            Any file or folder of a clone of the repository; the current folder by default.
        """
        return str(use(f"{self._document['path']}@{self._document['md5']}", path=path).path)

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, UsedDataset)

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcDatasetSource:
        return cls(describe(raw_source))

    def to_dict(self) -> dict[str, Any]:
        """Give the document that names the version; it holds no credential and no path of this machine."""
        return dict(self._document)

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> DvcDatasetSource:
        """Read the document back."""
        return cls(dict(source_dict))

"""DVC datasets: every version read from git, and read-only views whose bytes are verified before use."""

from __future__ import annotations

from .access import UsedDataset, diff, use, verify
from .catalogue import read_catalogue
from .model import Catalogue, Dataset, DatasetVersion, DataUsed, Diff, FileChange, Problem, RoleDigest
from .specs import resolve

__all__ = [
    "Catalogue",
    "DataUsed",
    "Dataset",
    "DatasetVersion",
    "Diff",
    "FileChange",
    "Problem",
    "RoleDigest",
    "UsedDataset",
    "diff",
    "read_catalogue",
    "resolve",
    "use",
    "verify",
]

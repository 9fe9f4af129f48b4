"""What can go wrong between a person and a dataset version, each as one sentence and one next step."""

from __future__ import annotations

from typing import ClassVar

from ..errors import MlopsLabError


class DatasetsError(MlopsLabError):
    """Base of the datasets room's errors."""

    code: ClassVar[str] = "datasets"


class NoGit(DatasetsError):
    """The git command is not on this machine."""

    code: ClassVar[str] = "no_git"
    http_status: ClassVar[int] = 503


class GitFailed(DatasetsError):
    """git refused or broke in a way that has no error of its own."""

    code: ClassVar[str] = "git_failed"
    http_status: ClassVar[int] = 500


class NoRepository(DatasetsError):
    """The folder belongs to no git repository, or does not exist."""

    code: ClassVar[str] = "no_repository"
    http_status: ClassVar[int] = 404


class ForeignRepository(DatasetsError):
    """Another user owns the repository and git therefore does not read it."""

    code: ClassVar[str] = "foreign_repository"
    http_status: ClassVar[int] = 403


class NotDvc(DatasetsError):
    """A git repository without DVC."""

    code: ClassVar[str] = "not_dvc"
    http_status: ClassVar[int] = 404


class NoDvc(DatasetsError):
    """The dvc package is not installed where it is needed."""

    code: ClassVar[str] = "no_dvc"
    http_status: ClassVar[int] = 503


class UnknownDataset(DatasetsError):
    """No dataset has this name."""

    code: ClassVar[str] = "unknown_dataset"
    http_status: ClassVar[int] = 404


class UnknownVersion(DatasetsError):
    """The dataset exists, this version of it does not."""

    code: ClassVar[str] = "unknown_version"
    http_status: ClassVar[int] = 404


class AmbiguousVersion(DatasetsError):
    """The words name more than one dataset or version.

    Parameters
    ----------
    choices
        What to type instead, one string per possibility.
    """

    code: ClassVar[str] = "ambiguous_version"
    http_status: ClassVar[int] = 409

    def __init__(self, message: str, hint: str = "", choices: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.choices = choices


class CorruptObject(DatasetsError):
    """Bytes in the cache, or in the remote, are not the bytes that the version was made of."""

    code: ClassVar[str] = "corrupt_object"
    http_status: ClassVar[int] = 409


class UnsafeManifest(DatasetsError):
    """A folder's manifest names files outside the folder, or cannot be read."""

    code: ClassVar[str] = "unsafe_manifest"
    http_status: ClassVar[int] = 409


class MissingObjects(DatasetsError):
    """Files of a version are neither in the cache nor in a remote that answers."""

    code: ClassVar[str] = "missing_objects"
    http_status: ClassVar[int] = 404


class FetchFailed(MissingObjects):
    """DVC was asked for missing files and reported an error."""

    code: ClassVar[str] = "fetch_failed"
    http_status: ClassVar[int] = 502


class ViewFailed(DatasetsError):
    """The read-only view of a version could not be written, e.g. because the disk is full."""

    code: ClassVar[str] = "view_failed"
    http_status: ClassVar[int] = 507


class BadProjectFile(DatasetsError):
    """``mlops.toml`` cannot be read or says something impossible."""

    code: ClassVar[str] = "bad_project_file"
    http_status: ClassVar[int] = 400


class BadDvcConfig(DatasetsError):
    """One of DVC's settings files cannot be read, so neither the cache nor the remotes are known."""

    code: ClassVar[str] = "bad_dvc_config"
    http_status: ClassVar[int] = 400

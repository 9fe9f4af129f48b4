"""Names of the MLflow run tags that rooms agree on: tracking writes them, runs reads them."""

import re

RUN_KEY = "mlops_lab.run_key"
"""Our own key of a run, given before any server has heard of it."""
DATA = "mlops_lab.data"
"""JSON list of :class:`mlops_lab.datasets.model.DataUsed`, for programs."""
GIT_DIRTY = "mlops_lab.git.dirty"
"""``"true"`` or ``"false"``: did the working tree differ from the commit?"""
NOTEBOOK = "mlops_lab.notebook"
"""Path of the notebook, relative to its repository where it has one."""
REPOSITORY = "mlops_lab.git.repository"
"""Name of the repository: as its remote calls it, else its folder."""
CELL = "mlops_lab.cell"
"""Execution count of the cell that began the run."""
CELL_ID = "mlops_lab.cell.id"
"""Its id in the notebook file, where Jupyter tells it."""
CELL_INDEX = "mlops_lab.cell.index"
"""Its place among all cells of the saved notebook, counted from 1."""
COMMAND = "mlops_lab.command"
"""How the program was started, its secrets masked."""
PERSON = "mlops_lab.user"
"""Who the server says that we are; ``mlflow.user`` is what a client says of itself."""

PYTHON = "mlops_lab.python"
TORCH = "mlops_lab.torch"
MONAI = "mlops_lab.monai"
GPU = "mlops_lab.gpu"
PACKAGES = "mlops_lab.packages"
"""sha256 of the sorted list of packages and versions: equal values, equal environments."""

DATA_SEEN = "mlops_lab.data_seen"
"""How many files of each declared version were read, e.g. ``"brain@v2.0.0: 64 of 120"``."""
DATA_OUTSIDE = "mlops_lab.data_outside"
"""Number of data files that were read and belong to no declared version."""
SEEN_ROLES = "mlops_lab.seen_roles"
"""The same per role, e.g. ``"train: 48 of 48, test: 8 of 64"``."""

ENDED_BY = "mlops_lab.ended_by"
"""What ended a run that is not FINISHED: the exception's class, or ``SIGTERM``."""

RESUMED = "mlops_lab.resumed"
"""How often the run was gone on with after an end."""

GIT_COMMIT = "mlflow.source.git.commit"
GIT_BRANCH = "mlflow.source.git.branch"
GIT_REMOTE = "mlflow.source.git.repoURL"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
USER = "mlflow.user"
RUN_NAME = "mlflow.runName"


def data_version(name: str) -> str:
    """Give the tag that holds the version of dataset `name` in plain words, for people and MLflow filters."""
    return f"mlops_lab.data.{_allowed(name)}"


def data_md5(name: str) -> str:
    """Give the tag that holds the md5 of dataset `name`."""
    return f"mlops_lab.data.{_allowed(name)}.md5"


def _allowed(name: str) -> str:
    # MLflow refuses a key with any other character, or with an empty part between slashes.
    return re.sub(r"/{2,}", "/", re.sub(r"[^/\w.\- :]", "_", name)).strip("/")

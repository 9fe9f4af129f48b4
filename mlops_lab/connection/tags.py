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

GIT_COMMIT = "mlflow.source.git.commit"
GIT_BRANCH = "mlflow.source.git.branch"
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

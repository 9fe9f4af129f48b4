"""What blocks lend to MLflow through the environment, which is also how programs that a cell starts find the run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

EXPERIMENT_ID = "MLFLOW_EXPERIMENT_ID"
_RUN_ID = "MLFLOW_RUN_ID"
_URI = "MLFLOW_TRACKING_URI"
_AUTH = "MLFLOW_TRACKING_AUTH"
_SESSION = "MLOPS_LAB_SESSION"
_SHORT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""With MLflow's defaults a single call blocks for minutes on a dead server."""


class Environment:
    """The variables that are lent while blocks are open; what somebody else has set stays."""

    def __init__(self) -> None:
        self._lent: dict[str, str] = {}
        self._run_before: str | None = None

    def begin(self) -> None:
        """Lend what holds for all blocks."""
        self._lend(_SHORT)
        self._run_before = os.environ.get(_RUN_ID)

    def lead(self, uri: str) -> None:
        """Lead MLflow to the server that a run is on."""
        self._lend({_URI: uri})
        if os.environ.get(_SESSION):
            self._lend({_AUTH: "mlops_lab"})

    def point(self, run_id: str | None) -> None:
        """Name the run that programs record to; none where no server holds one."""
        if run_id:
            os.environ[_RUN_ID] = run_id
        else:
            os.environ.pop(_RUN_ID, None)

    def end(self) -> None:
        """Take back what was lent."""
        lent, self._lent = self._lent, {}
        for name, value in lent.items():
            if os.environ.get(name) == value:  # a login or the user may have set it anew meanwhile
                del os.environ[name]
        self.point(self._run_before)

    def _lend(self, wanted: dict[str, str]) -> None:
        for name, value in wanted.items():
            if name not in os.environ:
                self._lent[name] = os.environ[name] = value


@contextlib.contextmanager
def without_run_id() -> Iterator[None]:
    """MLflow prefers the variable to everything but an explicit id, and takes it away once it was read."""
    before = os.environ.pop(_RUN_ID, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_RUN_ID] = before

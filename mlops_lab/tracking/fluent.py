"""Lets the user's own ``mlflow.*`` calls inside a block land in the block's run, instead of making a second one.

MLflow adopts the run that ``MLFLOW_RUN_ID`` names when it needs one and none is active; so nothing is imported
and nothing is sent until the cell really calls MLflow.
"""

from __future__ import annotations

import os
import sys

_SHORT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""With MLflow's defaults a single call blocks for minutes on a dead server."""


class Binding:
    """Undoes :func:`bind`."""

    def __init__(self, run_id: str | None, before: dict[str, str | None]) -> None:
        self._run_id = run_id
        self._before = before

    def release(self) -> None:
        """Take the run out of MLflow's hands; its final status is set by the journal's projection afterwards."""
        mlflow = sys.modules.get("mlflow")
        if self._run_id and mlflow is not None and hasattr(mlflow, "active_run"):
            try:
                active = mlflow.active_run()
                if active is not None and active.info.run_id == self._run_id:
                    mlflow.end_run()
            except Exception:
                pass
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def bind(run_id: str | None) -> Binding:
    """Point MLflow at the run `run_id`; None (no server holds the run yet) only shortens its waits."""
    wanted = {name: value for name, value in _SHORT.items() if name not in os.environ}
    if run_id:
        wanted["MLFLOW_RUN_ID"] = run_id
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    return Binding(run_id, before)

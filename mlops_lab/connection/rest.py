"""The one client that speaks MLflow's REST API: httpx and orjson, so that no process needs to import mlflow for it.

It repeats nothing by itself: whoever calls knows whether a request may wait (the run's journal does) or not (a panel).
It sends no ``Origin`` header, which MLflow would refuse, and follows no redirect, so a secret stays with its server.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_lab.connection.api import Api
from mlops_lab.connection.errors import Forbidden, NotMlflow, Refused
from mlops_lab.connection.session import Session
from mlops_lab.connection.sharing import explain

MAX_RUNS_PER_PAGE = 100
"""Above this the server's own work per row dominates (see the benchmarks), so no page is longer."""
MAX_HISTORY_RUNS = 100
MAX_HISTORY_POINTS = 2500

_INFINITE = 1.797e308
"""What a server gives back at or above this was an infinity: databases keep the largest double in its place."""


class TrackingServer(Api):
    """One MLflow tracking server; the parameters are those of :class:`~mlops_lab.connection.api.Api`."""

    @classmethod
    def of(cls, session: Session, timeout: float = 10.0) -> TrackingServer:
        """Give the server that `session` is logged in to."""
        return cls(
            session.uri,
            auth=session.auth,
            username=session.username,
            password=session.password,
            token=session.token,
            ca_bundle=session.ca_bundle,
            user=session.user or "",
            timeout=timeout,
        )

    # The server

    def version(self, anonymous: bool = False) -> str | None:
        """Ask for MLflow's version; None where the server does not say it."""
        from mlops_lab.connection.transport import check_status

        response = self.raw("GET", "/version", anonymous=anonymous)
        check_status(response, self.uri)
        text = response.text[:40].strip()
        return text if re.fullmatch(r"\d+\.\d+[\w.+-]*", text) else None

    def whoami(self) -> str | None:
        """Ask for the name that the server knows us by; None where it has no users."""
        try:
            user = self.get("users/current").get("user", {})
        except (NotMlflow, Refused):
            # A server without the auth app answers 404, as HTML or as JSON.
            return None
        name = user.get("username") if isinstance(user, dict) else None
        return name if isinstance(name, str) else None

    # Experiments

    def search_experiments(
        self, filter: str = "", max_results: int = 1000, order_by: Sequence[str] = (), view_type: str = "ACTIVE_ONLY"
    ) -> list[dict[str, Any]]:
        """List experiments that we may see, at most `max_results`, asking page by page."""
        found: list[dict[str, Any]] = []
        token: str | None = None
        while len(found) < max_results:
            body: dict[str, Any] = {"max_results": min(max_results - len(found), 1000), "view_type": view_type}
            if filter:
                body["filter"] = filter
            if order_by:
                body["order_by"] = list(order_by)
            if token:
                body["page_token"] = token
            page = self.post("experiments/search", body)
            found.extend(page.get("experiments", []))
            token = page.get("next_page_token")
            if not token:
                break
        return found

    def experiment_by_name(self, name: str) -> dict[str, Any] | None:
        """Find an experiment, deleted ones (``lifecycle_stage``) included; None where there is none."""
        try:
            answer = self.get("experiments/get-by-name", {"experiment_name": name})
        except Refused as refusal:
            if refusal.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        experiment = answer.get("experiment")
        return experiment if isinstance(experiment, dict) else None

    def create_experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Create an experiment and give its id."""
        answer = self.post("experiments/create", {"name": name, "tags": _pairs(tags)})
        return str(answer["experiment_id"])

    def ensure_experiment(self, name: str) -> str:
        """Give the id of the experiment `name`, creating it where needed; two who ask at once get the same one.

        Raises
        ------
        Refused
            When an experiment of that name was deleted: MLflow keeps the name until it is purged.
        ExperimentClosed
            When it is somebody else's, or would have to be created and we may not.
        """
        experiment = self._visible(name)
        if experiment is None:
            try:
                return self.create_experiment(name)
            except Refused as refusal:
                if refusal.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self._visible(name)
                if experiment is None:
                    raise
            except Forbidden as refusal:
                raise explain(self, refusal, name, "create") from refusal
        if experiment.get("lifecycle_stage") == "deleted":
            raise Refused(
                f"The experiment '{name}' was deleted on the server.",
                "Restore it on the MLflow page, or choose another name.",
                error_code="RESOURCE_DELETED",
            )
        return str(experiment["experiment_id"])

    def _visible(self, name: str) -> dict[str, Any] | None:
        try:
            return self.experiment_by_name(name)
        except Forbidden as refusal:
            raise explain(self, refusal, name, "read") from refusal

    # Runs

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter: str = "",
        max_results: int = 100,
        order_by: Sequence[str] = (),
        page_token: str | None = None,
        view_type: str = "ACTIVE_ONLY",
    ) -> dict[str, Any]:
        """Search one page of runs: ``{"runs": [...], "next_page_token": ...}``, metric values as floats.

        `max_results` above :data:`MAX_RUNS_PER_PAGE` is cut to it; ask for the next page with ``next_page_token``.
        """
        body: dict[str, Any] = {
            "experiment_ids": list(experiment_ids),
            "max_results": min(max_results, MAX_RUNS_PER_PAGE),
            "run_view_type": view_type,
        }
        if filter:
            body["filter"] = filter
        if order_by:
            body["order_by"] = list(order_by)
        if page_token:
            body["page_token"] = page_token
        page = self.post("runs/search", body)
        page.setdefault("runs", [])
        for run in page["runs"]:
            _restore(run)
        return page

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Read one run: ``{"info": ..., "data": ..., "inputs": ...}``, metric values as floats."""
        run: dict[str, Any] = self.get("runs/get", {"run_id": run_id})["run"]
        return _restore(run)

    def find_run(self, experiment_ids: Sequence[str], tag: str, value: str) -> dict[str, Any] | None:
        """Find the newest run whose `tag` is `value`, e.g. by our own run key; None where there is none."""
        quote = '"' if "'" in value else "'"
        page = self.search_runs(experiment_ids, f"tags.`{tag}` = {quote}{value}{quote}", max_results=1)
        run: dict[str, Any] | None = next(iter(page["runs"]), None)
        return run

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Create a run. Ask :meth:`find_run` for our key first: a repeat after a lost answer makes a second run.

        Parameters
        ----------
        start_time
            Milliseconds since 1970; by default now.
        """
        # Left out, MLflow would date the run 1970.
        started = int(time.time() * 1000) if start_time is None else start_time
        body: dict[str, Any] = {"experiment_id": experiment_id, "start_time": started, "tags": _pairs(tags)}
        if run_name:
            body["run_name"] = run_name
        run: dict[str, Any] = self.post("runs/create", body)["run"]
        return _restore(run)

    def update_run(
        self, run_id: str, status: str | None = None, end_time: int | None = None, run_name: str | None = None
    ) -> dict[str, Any]:
        """Change state (``"FINISHED"``, ``"FAILED"``, ``"KILLED"``, ``"RUNNING"``), end (ms since 1970) or name."""
        body = {"run_id": run_id, "status": status, "end_time": end_time, "run_name": run_name}
        return self.post("runs/update", {key: value for key, value in body.items() if value is not None})

    def delete_run(self, run_id: str) -> None:
        """Delete a run (MLflow keeps it restorable)."""
        self.post("runs/delete", {"run_id": run_id})

    def log_batch(
        self,
        run_id: str,
        metrics: Iterable[Mapping[str, Any]] = (),
        params: Mapping[str, str] | Iterable[Mapping[str, str]] | None = None,
        tags: Mapping[str, str] | Iterable[Mapping[str, str]] | None = None,
    ) -> None:
        """Store metrics, params and tags in one request: all or nothing. Repeating it stores each point once.

        Parameters
        ----------
        metrics
            ``{"key", "value", "timestamp" (ms), "step"}``; values may be NaN
            or infinite.
        params, tags
            A mapping, or a list of ``{"key", "value"}``; at most 100 of each, and with the metrics at most 1000 in all.
        """
        body = {"run_id": run_id, "metrics": list(metrics), "params": _pairs(params), "tags": _pairs(tags)}
        self.post("runs/log-batch", body)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set one tag of a run."""
        self.post("runs/set-tag", {"run_id": run_id, "key": key, "value": value})

    def log_inputs(self, run_id: str, datasets: Sequence[Mapping[str, Any]]) -> None:
        """Record which datasets the run read: ``{"dataset": {...}, "tags": [...]}``, as MLflow words it."""
        self.post("runs/log-inputs", {"run_id": run_id, "datasets": list(datasets)})

    def metric_history_bulk(
        self,
        run_ids: Sequence[str],
        metric: str,
        max_results: int = 320,
        start_step: int | None = None,
        end_step: int | None = None,
    ) -> list[dict[str, Any]]:
        """Read one metric of up to 100 runs, each down-sampled by the server to about `max_results` points.

        Returns
        -------
        list of dict
            ``{"run_id", "key", "value", "timestamp" (ms), "step"}``, values as floats, NaN and infinities restored.
        """
        params: dict[str, Any] = {
            "run_ids": list(run_ids),
            "metric_key": metric,
            "max_results": max(1, min(max_results, MAX_HISTORY_POINTS)),
        }
        if start_step is not None and end_step is not None:
            params |= {"start_step": start_step, "end_step": end_step}
        return _restore_metrics(self.get("metrics/get-history-bulk-interval", params).get("metrics", []))

    # Artifacts

    def upload_artifact(self, run_id_or_artifact_uri: str, local_path: str | Path, artifact_path: str = "") -> str:
        """Upload a file, or a folder with all it holds, and give its path among the run's artifacts.

        Parameters
        ----------
        run_id_or_artifact_uri
            A run id, or the ``artifact_uri`` of a run.
        local_path
            What to upload; it keeps its name (a folder: its content goes straight into `artifact_path`, as in MLflow).
        artifact_path
            Folder among the run's artifacts to put it in; empty for the top.
        """
        from mlops_lab.connection.artifacts import upload

        return upload(self, self.artifact_root(run_id_or_artifact_uri), Path(local_path), artifact_path)

    def download_artifact(self, run_id_or_artifact_uri: str, artifact_path: str, local_path: str | Path) -> Path:
        """Download one file of a run to `local_path` (a folder: into it), whole or not at all; give where it lies."""
        from mlops_lab.connection.artifacts import download

        return download(self, self.artifact_root(run_id_or_artifact_uri), artifact_path, Path(local_path))

    def list_artifacts(self, run_id: str, path: str = "") -> list[dict[str, Any]]:
        """List one folder of a run's artifacts: ``{"path", "is_dir", "file_size"}``."""
        params = {"run_id": run_id} | ({"path": path} if path else {})
        files: list[dict[str, Any]] = self.get("artifacts/list", params).get("files", [])
        return files

    def artifact_root(self, run_id_or_artifact_uri: str) -> str:
        """Give the artifact URI of a run (an URI is given back as it is)."""
        if ":" in run_id_or_artifact_uri:
            return run_id_or_artifact_uri
        return str(self.get_run(run_id_or_artifact_uri)["info"]["artifact_uri"])


def metric_value(value: Any) -> float:
    """Give a metric value as it was logged: NaN travels as a string, and infinities come back as the largest double."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return math.copysign(math.inf, number) if abs(number) >= _INFINITE else number


def _pairs(values: Mapping[str, str] | Iterable[Mapping[str, str]] | None) -> list[Mapping[str, str]]:
    if values is None:
        return []
    if isinstance(values, Mapping):
        return [{"key": key, "value": value} for key, value in values.items()]
    return list(values)


def _restore(run: dict[str, Any]) -> dict[str, Any]:
    _restore_metrics(run.get("data", {}).get("metrics", []))
    return run


def _restore_metrics(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for metric in metrics:
        metric["value"] = metric_value(metric.get("value", 0.0))
        metric.setdefault("step", 0)
    return metrics

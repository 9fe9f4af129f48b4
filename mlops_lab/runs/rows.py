"""Reads MLflow's JSON of a run into a :class:`RunRow`, whoever made the run and whatever is missing in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

import msgspec

from ..connection import tags
from ..connection.rest import metric_value
from ..datasets.model import DataUsed
from ..wire import to_number
from .model import RunRow, RunStatus

_STATUSES = frozenset(get_args(RunStatus))


def run_row(run: Mapping[str, Any], experiments: Mapping[str, str], server: str) -> RunRow:
    """Read one run as MLflow's REST API gives it.

    Parameters
    ----------
    run
        The ``run`` object of ``runs/get`` or one of ``runs`` of ``runs/search``.
    experiments
        Names of experiments by id; an id that is absent (a deleted experiment) is shown as it is.
    server
        URI of the tracking server, for the link.
    """
    info: Mapping[str, Any] = run.get("info") or {}
    data: Mapping[str, Any] = run.get("data") or {}
    tag = pairs(data.get("tags"))
    run_id = str(info.get("run_id") or info.get("run_uuid") or "")
    experiment_id = str(info.get("experiment_id") or "")
    status = info.get("status")
    end_time = info.get("end_time")
    return RunRow(
        run_id=run_id,
        name=info.get("run_name") or tag.get(tags.RUN_NAME) or run_id[:8],
        experiment_id=experiment_id,
        experiment=experiments.get(experiment_id, experiment_id),
        # A server newer than this package may know states that we do not: such a run is at least not over.
        status=cast(RunStatus, status) if status in _STATUSES else "RUNNING",
        start_time=int(info.get("start_time") or 0),
        end_time=int(end_time) if end_time else None,
        user=tag.get(tags.USER) or info.get("user_id") or "",
        data=data_used(tag.get(tags.DATA)),
        commit=tag.get(tags.GIT_COMMIT, ""),
        dirty={"true": True, "false": False}.get(tag.get(tags.GIT_DIRTY, "").lower()),
        metrics={item["key"]: to_number(metric_value(item.get("value"))) for item in data.get("metrics") or ()},
        params=pairs(data.get("params")),
        link=run_link(server, experiment_id, run_id),
    )


def pairs(items: Any) -> dict[str, str]:
    """Read MLflow's list of ``{key, value}`` objects; a missing value is an empty string, as MLflow means it."""
    return {item["key"]: item.get("value") or "" for item in items or ()}


def data_used(tag: str | None) -> list[DataUsed]:
    """Read the tag that names the dataset versions of a run; one that we cannot read counts as none recorded."""
    if not tag:
        return []
    try:
        return msgspec.json.decode(tag, type=list[DataUsed])
    except msgspec.DecodeError:
        return []


def run_link(server: str, experiment_id: str, run_id: str) -> str:
    """Give the address of a run's page in MLflow's own UI."""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"

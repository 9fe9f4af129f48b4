"""Builds rows and comparison documents for tests, without a server."""

from __future__ import annotations

from typing import Any

from mlops_lab.datasets.model import DataUsed, RoleDigest
from mlops_lab.runs.document import SCHEMA_VERSION, labels, metric_rows, param_rows
from mlops_lab.runs.model import Comparison, Curve, RunRow
from mlops_lab.runs.notes import notes
from mlops_lab.runs.shared import shared_data


def role(digest: str, files: int, subjects: int) -> RoleDigest:
    return RoleDigest(digest=digest, files=files, subjects=subjects)


def data(name: str, version: str, md5: str, roles: dict[str, RoleDigest] | None = None) -> DataUsed:
    return DataUsed(name=name, version=version, md5=md5, roles=roles or {})


def row(name: str, *used: DataUsed, **facts: Any) -> RunRow:
    run_id = facts.pop("run_id", f"id-{name}")
    known: dict[str, Any] = {
        "experiment_id": "1",
        "experiment": "brain",
        "status": "FINISHED",
        "start_time": 1_795_413_820_000,
        "end_time": 1_795_413_892_000,
        "user": "ada",
        "commit": "a" * 40,
        "dirty": False,
        "metrics": {},
        "params": {},
        "link": f"http://127.0.0.1:5000/#/experiments/1/runs/{run_id}",
    }
    return RunRow(run_id=run_id, name=name, data=list(used), **(known | facts))


def comparison(runs: list[RunRow], curves: list[Curve] | None = None) -> Comparison:
    called = labels(runs)
    return Comparison(
        schema_version=SCHEMA_VERSION,
        created="2026-11-23T06:00:00+00:00",
        server="http://127.0.0.1:5000",
        runs=runs,
        shared=shared_data(runs, called),
        params=param_rows(runs),
        metrics=metric_rows(runs),
        curves=curves or [],
        notes=notes(runs, called, curves or []),
    )

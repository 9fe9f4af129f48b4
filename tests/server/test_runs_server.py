"""Search and comparison against a real MLflow server, with runs of ours and of others."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from mlops_lab import runs
from mlops_lab.connection import tags
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.runs.pages import MAX_PAGE


@pytest.fixture
def server(mlflow_server: str) -> TrackingServer:
    return TrackingServer(mlflow_server)


@pytest.fixture
def experiment(server: TrackingServer) -> str:
    """An experiment of this test alone."""
    return server.create_experiment(f"runs-{uuid.uuid4().hex}")


def make_run(
    server: TrackingServer,
    experiment: str,
    name: str,
    *,
    series: dict[str, list[float]] | None = None,
    params: dict[str, str] | None = None,
    given: dict[str, str] | None = None,
    status: str | None = "FINISHED",
    start: int | None = None,
) -> str:
    """Log a run as our journal does; `series` are values from step 1 on."""
    now = int(time.time() * 1000)
    run_id = str(server.create_run(experiment, start or now, name, given)["info"]["run_id"])
    metrics = [
        {"key": key, "value": value, "timestamp": now + step, "step": step}
        for key, values in (series or {}).items()
        for step, value in enumerate(values, 1)
    ]
    server.log_batch(run_id, metrics, params)
    if status:
        server.update_run(run_id, status, now + 1000)
    return run_id


def data_tag(version: str, md5: str, train: str) -> dict[str, str]:
    roles = {
        "test": {"digest": "same-test", "files": 24, "subjects": 6},
        "train": {"digest": train, "files": 60, "subjects": 15},
    }
    return {tags.DATA: json.dumps([{"name": "brain", "version": version, "md5": md5, "roles": roles}])}


def test_runs_come_newest_first_in_pages(server: TrackingServer, experiment: str):
    made = [make_run(server, experiment, f"run {i}", start=1_700_000_000_000 + i) for i in range(5)]
    seen: list[str] = []
    token = None
    while True:
        page = runs.search(server, [experiment], page_token=token, max_results=2)
        seen += [row.run_id for row in page]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]


def test_a_page_never_exceeds_a_hundred(server: TrackingServer, experiment: str):
    for i in range(MAX_PAGE + 1):
        server.create_run(experiment, 1_700_000_000_000 + i, f"r{i}")
    page = runs.search(server, [experiment], max_results=5000)
    assert len(page) == MAX_PAGE
    assert page.next_page_token


def test_all_experiments_are_searched_when_none_is_chosen(server: TrackingServer, experiment: str):
    run_id = make_run(server, experiment, "somewhere", params={"mark": uuid.uuid4().hex})
    mark = runs.refresh(server, [run_id])[0].params["mark"]
    found = runs.search(server, filter=f"params.mark = '{mark}'")
    assert [row.run_id for row in found] == [run_id]
    names = {one.experiment_id: one.name for one in runs.list_experiments(server)}
    assert found.runs[0].experiment == names[experiment]


def test_the_filter_is_mlflows_own(server: TrackingServer, experiment: str):
    good = make_run(server, experiment, "good", series={"dice": [0.9]}, params={"lr": "0.1"})
    make_run(server, experiment, "bad", series={"dice": [0.2]}, params={"lr": "0.1"})
    found = runs.search(server, [experiment], filter=" metrics.dice > 0.5 and params.lr = '0.1' ")
    assert [row.run_id for row in found] == [good]


@pytest.mark.parametrize("filter", ["metrics.a > 1 or metrics.b > 1", "dice > 0.5", "params.lr ==", "'; drop table"])
def test_a_filter_that_mlflow_refuses_gives_one_sentence(server: TrackingServer, experiment: str, filter: str):
    with pytest.raises(runs.BadFilter) as caught:
        runs.search(server, [experiment], filter=filter)
    assert caught.value.message.startswith("The tracking server does not understand this filter: ")
    assert "\n" not in str(caught.value)
    assert "metrics.val_mean_dice > 0.8" in caught.value.hint


def test_a_page_that_never_was_gives_one_sentence(server: TrackingServer, experiment: str):
    with pytest.raises(runs.BadPage, match="no longer exists"):
        runs.search(server, [experiment], page_token="no token")


def test_running_runs_are_refreshed_in_the_order_asked_for(server: TrackingServer, experiment: str):
    first = make_run(server, experiment, "first", status=None)
    second = make_run(server, experiment, "second", status=None)
    assert [row.status for row in runs.refresh(server, [second, first])] == ["RUNNING", "RUNNING"]
    server.update_run(first, "FAILED", int(time.time() * 1000))
    fresh = runs.refresh(server, [second, first, "0" * 32, "x' OR '1"])
    assert [(row.run_id, row.status) for row in fresh] == [(second, "RUNNING"), (first, "FAILED")]


def test_more_runs_than_a_page_are_refreshed(server: TrackingServer, experiment: str):
    made = [str(server.create_run(experiment, 1, f"r{i}")["info"]["run_id"]) for i in range(MAX_PAGE + 3)]
    assert [row.run_id for row in runs.refresh(server, made)] == made


def test_nan_and_infinity_come_back_as_they_were_logged(server: TrackingServer, experiment: str):
    values = {"nan": [math.nan], "up": [math.inf], "down": [-math.inf], "fine": [0.5]}
    run_id = make_run(server, experiment, "odd", series=values)
    row = runs.refresh(server, [run_id])[0]
    assert row.metrics == {"nan": "NaN", "up": "Infinity", "down": "-Infinity", "fine": 0.5}


PLAIN = """
import mlflow
mlflow.set_experiment(experiment_id={experiment!r})
with mlflow.start_run() as run:
    mlflow.log_param("lr", 0.1)
    for step in range(3):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
print("RUN", run.info.run_id)
"""


def test_runs_that_plain_mlflow_made_are_listed_and_compared(
    server: TrackingServer, experiment: str, mlflow_server: str, tmp_path: Path
):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_server}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN.format(experiment=experiment)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    plain = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("RUN "))
    ours = make_run(server, experiment, "ours", series={"loss": [0.9, 0.4]}, given=data_tag("v1", "aa.dir", "t"))
    comparison = runs.compare(server, [plain, ours])
    assert [row.run_id for row in comparison.runs] == [plain, ours]
    assert comparison.shared[0].same is None
    assert comparison.runs[0].name in comparison.shared[0].statement
    assert "recorded no dataset" in comparison.shared[0].statement
    assert [len(series.steps) for series in comparison.curves[0].series] == [3, 2]


def test_the_comparison_says_what_is_shared_and_what_differs(server: TrackingServer, experiment: str):
    a = make_run(
        server, experiment, "old labels",
        series={"loss": [1.0, math.nan, 0.5], "test_dice": [0.7]},
        params={"lr": "0.1", "net": "UNet"},
        given=data_tag("v1.0.0", "aaaa1111.dir", "t1") | {tags.GIT_COMMIT: "c" * 40, tags.GIT_DIRTY: "false"},
    )  # fmt: skip
    b = make_run(
        server, experiment, "new labels",
        series={"loss": [1.0, math.inf, 0.25], "val_dice": [0.1, 0.8]},
        params={"lr": "0.1", "net": "UNet"},
        given=data_tag("v2.0.0", "bbbb2222.dir", "t2") | {tags.GIT_COMMIT: "c" * 40, tags.GIT_DIRTY: "true"},
    )  # fmt: skip
    found = runs.compare(server, [a, b])
    assert found.schema_version == 1
    assert found.server == server.uri
    assert found.shared[0].statement == "Both runs were given the same test data: 24 files of 6 subjects."
    assert [(one.role, one.same) for one in found.shared] == [("test", True), ("train", False)]
    assert [(one.name, one.differs) for one in found.params] == [
        ("data: brain", True), ("git commit", True), ("lr", False), ("net", False),
    ]  # fmt: skip
    assert found.params[0].values == ["v1.0.0 (aaaa1111)", "v2.0.0 (bbbb2222)"]
    assert [(one.name, one.values) for one in found.metrics] == [
        ("test_dice", [0.7, None]), ("val_dice", [None, 0.8]), ("loss", [0.5, 0.25]),
    ]  # fmt: skip
    curves = {curve.metric: curve.series for curve in found.curves}
    assert list(curves) == ["val_dice", "loss"], "a single value is no curve"
    assert [series.values for series in curves["loss"]] == [[1.0, "NaN", 0.5], [1.0, "Infinity", 0.25]]
    assert [series.run_id for series in curves["val_dice"]] == [b]


def test_long_series_are_thinned_and_keep_their_ends(server: TrackingServer, experiment: str):
    values = [1.0 / step for step in range(1, 801)]
    made = [make_run(server, experiment, name, series={"loss": values}) for name in "ab"]
    for series in runs.compare(server, made).curves[0].series:
        assert len(series.steps) <= 330
        assert (series.steps[0], series.steps[-1]) == (1, 800)
        assert series.steps == sorted(set(series.steps))


def test_a_step_that_was_logged_twice_keeps_the_later_value(server: TrackingServer, experiment: str):
    made = [make_run(server, experiment, name, series={"loss": [1.0, 0.9]}) for name in "ab"]
    server.log_batch(made[0], [{"key": "loss", "value": 0.5, "timestamp": int(time.time() * 1000) + 9999, "step": 2}])
    assert runs.compare(server, made).curves[0].series[0].values == [1.0, 0.5]


def test_three_runs_are_compared_in_the_order_asked_for(server: TrackingServer, experiment: str):
    made = [make_run(server, experiment, name, given=data_tag("v1", "aa.dir", "t")) for name in "abc"]
    found = runs.compare(server, made[::-1])
    assert [row.name for row in found.runs] == ["c", "b", "a"]
    assert found.shared[0].statement == "All 3 runs were given the same test data: 24 files of 6 subjects."


def test_a_deleted_run_of_a_deleted_experiment_is_still_compared_and_said_to_be_deleted(
    server: TrackingServer, experiment: str
):
    made = [make_run(server, experiment, name) for name in "ab"]
    name = server.get("experiments/get", {"experiment_id": experiment})["experiment"]["name"]
    server.delete_run(made[0])
    server.post("experiments/delete", {"experiment_id": experiment})
    found = runs.compare(server, made)
    assert found.runs[0].experiment == name
    assert any(note.startswith("'a' was deleted in MLflow") for note in found.notes)
    assert experiment not in {one.experiment_id for one in runs.list_experiments(server)}
    assert runs.search(server, [experiment]).runs == []


@pytest.mark.parametrize(
    ("pick", "error", "sentence"),
    [
        (lambda a: [], runs.NotComparable, "A comparison needs at least two runs."),
        (lambda a: [a], runs.NotComparable, "A comparison needs at least two runs."),
        (lambda a: [a, a], runs.NotComparable, "is named twice."),
        (lambda a: [a, f" {a} "], runs.NotComparable, "is named twice."),
        (lambda a: [a, "f" * 32], runs.UnknownRun, "has no run ffff"),
        (lambda a: [a, "../../etc"], runs.UnknownRun, "is not a run id."),
        (lambda a: [a, ""], runs.UnknownRun, "is not a run id."),
        (lambda a: [f"{i:032x}" for i in range(21)], runs.NotComparable, "21 runs are too many"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    server: TrackingServer, experiment: str, pick: Any, error: type[Exception], sentence: str
):
    with pytest.raises(error) as caught:
        runs.compare(server, pick(make_run(server, experiment, "a")))
    assert sentence in caught.value.message
    assert "\n" not in str(caught.value)


def test_files_that_differ_are_counted_where_the_cache_has_both_versions(
    server: TrackingServer, experiment: str, demo_project: Path, mlops_home: Path
):
    from mlops_lab import datasets

    versions = {one.version: one.md5 for one in datasets.read_catalogue(demo_project).datasets[0].versions}
    made = [
        make_run(server, experiment, version, given=data_tag(version, versions[version], version))
        for version in ("v1.0.0", "v2.0.0")
    ]
    told = [note for note in runs.compare(server, made, project=demo_project).notes if note.startswith("Files of")]
    assert told == ["Files of brain from v1.0.0 to v2.0.0: 12 changed."]
    assert not [note for note in runs.compare(server, made, project=mlops_home.parent).notes if "Files of" in note]


def test_the_public_calls_use_the_connection_of_this_process(
    server: TrackingServer, experiment: str, mlflow_server: str, monkeypatch: pytest.MonkeyPatch, mlops_home: Path
):
    import mlops_lab

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    name = server.get("experiments/get", {"experiment_id": experiment})["experiment"]["name"]
    made = [make_run(server, experiment, one, start=1_700_000_000_000 + i) for i, one in enumerate("ab")]
    found = mlops_lab.search_runs(experiment=name)
    assert [row.run_id for row in found] == made[::-1]
    assert set(mlops_lab.compare_runs(found)._repr_mimebundle_()) >= {"text/html", "image/png"}
    with pytest.raises(runs.RunsError, match="There is no experiment 'nowhere'"):
        mlops_lab.search_runs(experiment="nowhere")
    with pytest.raises(runs.NotComparable):
        mlops_lab.compare_runs(made[0])

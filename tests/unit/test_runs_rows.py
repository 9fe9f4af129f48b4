"""Runs come from anybody: what is missing or odd in them never breaks a list."""

from __future__ import annotations

import json
import sys

import pytest

from mlops_lab import wire
from mlops_lab.connection import tags
from mlops_lab.runs.rows import run_row

SERVER = "https://mlflow.example.org/team/"


def test_a_run_of_plain_mlflow_is_a_row_without_our_tags():
    run = {
        "info": {"run_uuid": "ab12" * 8, "experiment_id": "3", "status": "FINISHED", "start_time": 5, "end_time": 9},
        "data": {"params": [{"key": "lr", "value": "0.1"}], "metrics": [{"key": "loss", "value": 0.5}]},
    }
    row = run_row(run, {"3": "brain"}, SERVER)
    assert (row.name, row.experiment, row.user, row.commit, row.dirty) == ("ab12ab12", "brain", "", "", None)
    assert (row.data, row.params, row.metrics) == ([], {"lr": "0.1"}, {"loss": 0.5})
    assert row.link == f"https://mlflow.example.org/team/#/experiments/3/runs/{'ab12' * 8}"


def test_a_run_that_has_only_just_begun_is_a_row():
    row = run_row({"info": {"run_id": "r", "experiment_id": "0", "status": "RUNNING"}}, {}, SERVER)
    assert (row.status, row.start_time, row.end_time, row.metrics) == ("RUNNING", 0, None, {})
    assert row.experiment == "0", "an experiment without a name is shown by its id"


def test_a_state_that_we_do_not_know_does_not_break_the_row():
    assert run_row({"info": {"run_id": "r", "status": "PAUSED"}}, {}, SERVER).status == "RUNNING"


def test_our_tags_are_read():
    data = [{"name": "brain", "version": "v2.0.0", "md5": "c0ffee.dir", "roles": {"test": ROLE}}]
    given = {tags.DATA: json.dumps(data), tags.GIT_COMMIT: "a" * 40, tags.GIT_DIRTY: "true", tags.USER: "ada"}
    run = {"info": {"run_id": "r"}, "data": {"tags": [{"key": k, "value": v} for k, v in given.items()]}}
    row = run_row(run, {}, SERVER)
    assert (row.commit, row.dirty, row.user) == ("a" * 40, True, "ada")
    assert row.data[0].roles["test"].subjects == 6


@pytest.mark.parametrize("tag", ["", "no json", "{}", '[{"name": "brain"}]', "[1]"])
def test_a_data_tag_that_cannot_be_read_counts_as_none_recorded(tag: str):
    run = {"info": {"run_id": "r"}, "data": {"tags": [{"key": tags.DATA, "value": tag}]}}
    assert run_row(run, {}, SERVER).data == []


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (sys.float_info.max, "Infinity"),
        (-sys.float_info.max, "-Infinity"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        (float("inf"), "Infinity"),
        (0.25, 0.25),
        (None, "NaN"),
    ],
)
def test_a_value_that_json_lacks_comes_back_by_its_name(stored: object, shown: object):
    run = {"info": {"run_id": "r"}, "data": {"metrics": [{"key": "loss", "value": stored}]}}
    assert run_row(run, {}, SERVER).metrics == {"loss": shown}


def test_a_row_crosses_the_wire_with_nan_and_infinity():
    run = {"info": {"run_id": "r"}, "data": {"metrics": [{"key": "a", "value": "NaN"}, {"key": "b", "value": 1.8e308}]}}
    row = run_row(run, {}, SERVER)
    assert wire.decode(wire.encode(row), type(row)).metrics == {"a": "NaN", "b": "Infinity"}


ROLE = {"digest": "d" * 32, "files": 24, "subjects": 6}

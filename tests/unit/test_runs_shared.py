"""The verdict on the data: same, different, or not to be known, and never a guess."""

from __future__ import annotations

from mlops_lab.runs.model import SharedData
from mlops_lab.runs.shared import shared_data
from tests.unit.comparisons import data, role, row

OLD, NEW = "aaaa1111.dir", "bbbb2222.dir"
FULL = {"train": role("t1", 60, 15), "tune": role("u1", 12, 3), "test": role("e1", 24, 6)}


def verdicts(*runs: object) -> dict[str, SharedData]:
    labels = [f"'{run.name}'" for run in runs]
    return {one.role: one for one in shared_data(runs, labels)}


def test_same_test_files_are_the_same_though_the_versions_differ():
    fixed = FULL | {"train": role("t2", 60, 15)}
    found = verdicts(row("a", data("brain", "v1", OLD, FULL)), row("b", data("brain", "v2", NEW, fixed)))
    assert list(found) == ["test", "tune", "train"], "the test data come first"
    assert found["test"].same is True
    assert found["test"].statement == "Both runs were given the same test data: 24 files of 6 subjects."
    assert found["tune"].statement == "Both runs were given the same tune data: 12 files of 3 subjects."
    assert found["train"].same is False
    assert found["train"].statement == (
        "The runs were given different train data ('a': 60 files of 15 subjects of brain v1; "
        "'b': 60 files of 15 subjects of brain v2)."
    )


def test_other_test_files_are_different_even_when_there_are_as_many():
    other = FULL | {"test": role("e2", 24, 6)}
    found = verdicts(row("a", data("brain", "v1", OLD, FULL)), row("b", data("brain", "v2", NEW, other)))
    assert found["test"].same is False
    assert found["test"].statement.startswith("The runs were given different test data ('a': 24 files")


def test_of_three_runs_those_that_agree_are_named_together():
    other = FULL | {"test": role("e2", 1, 1)}
    found = verdicts(
        row("a", data("brain", "v1", OLD, FULL)),
        row("b", data("brain", "v2", NEW, other)),
        row("c", data("brain", "v1", OLD, FULL)),
    )
    assert found["test"].statement == (
        "The runs were given different test data ('a' and 'c': the same 24 files of 6 subjects of brain v1; "
        "'b': 1 file of 1 subject of brain v2)."
    )
    assert found["train"].statement == "All 3 runs were given the same train data: 60 files of 15 subjects."


def test_a_run_that_recorded_no_dataset_leaves_it_open():
    found = verdicts(row("a", data("brain", "v1", OLD, FULL)), row("b"))
    assert found["test"].same is None
    assert found["test"].statement == ("'b' recorded no dataset: whether both runs saw the same data cannot be known.")
    assert list(found) == ["test"]


def test_without_roles_the_same_content_is_the_same_dataset_and_the_split_is_left_to_the_reader():
    found = verdicts(row("a", data("brain", "v1", OLD)), row("b", data("brain", "renamed", OLD)))
    assert found["dataset"].same is True
    assert "byte for byte" in found["dataset"].statement
    assert "check that the code split it in the same way" in found["dataset"].statement
    assert "test" not in found


def test_without_roles_other_content_leaves_the_test_data_open():
    found = verdicts(row("a", data("brain", "v1", OLD)), row("b", data("brain", "v2", NEW)))
    assert found["test"].same is None
    assert "not declared for 'a' and 'b'" in found["test"].statement
    assert found["dataset"].same is False
    assert found["dataset"].statement == (
        "The runs were given different dataset versions ('a': brain v1; 'b': brain v2)."
    )


def test_one_run_without_roles_and_other_content_leaves_it_open():
    found = verdicts(row("a", data("brain", "v1", OLD, FULL)), row("b", data("brain", "v2", NEW)))
    assert found["test"].same is None
    assert "not declared for 'b'" in found["test"].statement


def test_a_role_that_one_project_does_not_declare_is_left_open_and_the_others_are_judged():
    untuned = {name: digest for name, digest in FULL.items() if name != "tune"}
    found = verdicts(row("a", data("brain", "v1", OLD, FULL)), row("b", data("brain", "v2", NEW, untuned)))
    assert found["test"].same is True
    assert found["tune"].same is None
    assert found["tune"].statement == "'b' declared no tune data: whether both runs share them cannot be known."


def test_no_test_role_anywhere_is_said_first():
    only_train = {"train": FULL["train"]}
    found = verdicts(row("a", data("brain", "v1", OLD, only_train)), row("b", data("brain", "v1", OLD, only_train)))
    assert next(iter(found)) == "test"
    assert found["test"].same is None
    assert found["train"].same is True


def test_several_datasets_count_together_whatever_their_order():
    first, second = data("brain", "v1", OLD, FULL), data("liver", "v3", NEW, {"test": role("z", 10, 5)})
    found = verdicts(row("a", first, second), row("b", second, first))
    assert found["test"].statement == "Both runs were given the same test data: 34 files of 11 subjects."


def test_a_role_of_the_projects_own_is_judged_too():
    external = FULL | {"external": role("x1", 5, 5)}
    other = FULL | {"external": role("x2", 7, 7)}
    found = verdicts(row("a", data("brain", "v1", OLD, external)), row("b", data("brain", "v2", NEW, other)))
    assert found["external"].same is False
    assert found["external"].statement == (
        "The runs were given different external data ('a': 5 files of 5 subjects of brain v1; "
        "'b': 7 files of 7 subjects of brain v2)."
    )


def test_equal_test_files_are_no_proof_when_files_without_a_role_differ():
    one, other = (FULL | {"unassigned": role(digest, 1, 0)} for digest in ("n1", "n2"))
    found = verdicts(row("a", data("brain", "v1", OLD, one)), row("b", data("brain", "v2", NEW, other)))
    assert {name: verdict.same for name, verdict in found.items()} == {"test": None, "tune": None, "train": None}
    assert found["test"].statement == (
        "The test files are the same 24 files of 6 subjects, but files that belong to no role differ between the "
        "versions, and labels may be among them."
    )


def test_files_without_a_role_in_one_version_only_leave_it_open_too():
    more = FULL | {"unassigned": role("n1", 1, 0)}
    found = verdicts(row("a", data("brain", "v1", OLD, FULL)), row("b", data("brain", "v2", NEW, more)))
    assert found["test"].same is None


def test_equal_files_without_a_role_disturb_no_verdict_and_have_none_of_their_own():
    rest = {"unassigned": role("n1", 1, 0)}
    fixed = FULL | rest | {"train": role("t2", 60, 15)}
    found = verdicts(row("a", data("brain", "v1", OLD, FULL | rest)), row("b", data("brain", "v2", NEW, fixed)))
    assert {name: verdict.same for name, verdict in found.items()} == {"test": True, "tune": True, "train": False}


def test_other_test_files_are_different_whatever_else_differs():
    one = FULL | {"unassigned": role("n1", 1, 0)}
    other = FULL | {"unassigned": role("n2", 1, 0), "test": role("e2", 24, 6)}
    found = verdicts(row("a", data("brain", "v1", OLD, one)), row("b", data("brain", "v2", NEW, other)))
    assert found["test"].same is False


def test_nothing_but_files_without_a_role_counts_as_no_roles_at_all():
    one, other = ({"unassigned": role(digest, 1, 0)} for digest in ("n1", "n2"))
    found = verdicts(row("a", data("brain", "v1", OLD, one)), row("b", data("brain", "v2", NEW, other)))
    assert {name: verdict.same for name, verdict in found.items()} == {"test": None, "dataset": False}

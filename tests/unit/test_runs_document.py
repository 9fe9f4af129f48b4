"""The comparison document's rows and notes: what differs comes first, and what a colleague would say is said."""

from __future__ import annotations

from mlops_lab.runs.document import labels, metric_rows, param_rows
from mlops_lab.runs.model import Curve, Series
from tests.unit.comparisons import comparison, data, row


def test_what_differs_comes_first_and_the_data_before_all():
    a = row("a", data("brain", "v1", "aaaa1111.dir"), params={"zoom": "1", "lr": "0.1", "Seed": "0", "only_a": "x"})
    b = row("b", data("brain", "v2", "bbbb2222.dir"), params={"zoom": "1", "lr": "0.2", "Seed": "0"})
    rows = param_rows([a, b])
    assert [(one.name, one.differs) for one in rows] == [
        ("data: brain", True),
        ("lr", True),
        ("only_a", True),
        ("git commit", False),
        ("Seed", False),
        ("zoom", False),
    ]
    assert rows[0].values == ["v1 (aaaa1111)", "v2 (bbbb2222)"]
    assert rows[2].values == ["x", None]


def test_a_version_name_that_was_moved_to_other_content_differs():
    rows = param_rows([row("a", data("brain", "v1", "aaaa1111.dir")), row("b", data("brain", "v1", "bbbb2222.dir"))])
    assert rows[0].name == "data: brain"
    assert rows[0].differs is True


def test_uncommitted_changes_differ_from_the_clean_commit():
    rows = param_rows([row("a"), row("b", dirty=True)])
    assert rows[0].values == ["aaaaaaaaaa", "aaaaaaaaaa + uncommitted changes"]
    assert rows[0].differs is True


def test_runs_without_a_commit_have_no_such_row():
    assert param_rows([row("a", commit="", dirty=None), row("b", commit="", dirty=None)]) == []


def test_metrics_are_the_union_test_first_and_nan_equals_nan():
    a = row("a", metrics={"train_loss": 0.1, "val_dice": "NaN", "system/cpu": 1.0, "test_dice": 0.8})
    b = row("b", metrics={"train_loss": 0.1, "val_dice": "NaN", "test_dice": 0.9, "extra": 1.0})
    rows = {one.name: one for one in metric_rows([a, b])}
    assert list(rows) == ["test_dice", "val_dice", "extra", "train_loss", "system/cpu"]
    assert [rows[name].differs for name in rows] == [True, False, True, False, True]
    assert rows["extra"].values == [None, 1.0]


def test_runs_of_the_same_name_are_told_apart():
    assert labels([row("x", run_id="abcdef0123"), row("x", run_id="987654321"), row("y")]) == [
        "'x' (abcdef)",
        "'x' (987654)",
        "'y'",
    ]


def test_one_run_each_is_said_to_be_little():
    notes = comparison([row("a", params={"lr": "1", "seed": "0"}), row("b", params={"lr": "2", "seed": "0"})]).notes
    assert any(note.startswith("One run each: these are two checkpoints, not two methods.") for note in notes)


def test_repeats_with_other_seeds_are_recognised_as_chance():
    notes = comparison([row("a", params={"lr": "1", "seed": "0"}), row("b", params={"lr": "1", "seed": "1"})]).notes
    assert any("what differs between them is chance" in note for note in notes)
    assert not any(note.startswith("One run each") for note in notes)


def test_a_param_that_only_sounds_like_seed_is_a_setting():
    notes = comparison([row("a", params={"seedling": "1"}), row("b", params={"seedling": "2"})]).notes
    assert any(note.startswith("One run each") for note in notes)


def test_what_makes_the_figures_doubtful_is_said():
    runs = [
        row("clean"),
        row("dirty", dirty=True, commit="b" * 40),
        row("running", status="RUNNING", end_time=None),
        row("failed", status="FAILED", metrics={"loss": "NaN"}),
        row("killed", status="KILLED", commit="", dirty=None),
    ]
    notes = "\n".join(comparison(runs).notes)
    assert "'running' has not finished" in notes
    assert "'failed' failed" in notes
    assert "'killed' was stopped" in notes
    assert "'failed' ends with a value that is not a finite number in loss." in notes
    assert "The working tree was dirty: the commit alone does not give back the code of 'dirty'." in notes
    assert "different git commits" in notes
    assert "No git commit is known for 'killed'." in notes


def test_runs_of_other_length_are_named():
    curve = Curve("loss", [Series("id-a", [1, 10], [1.0, 0.5]), Series("id-b", [1, 20], [1.0, 0.4])])
    notes = comparison([row("a"), row("b")], [curve]).notes
    assert "The runs are not equally long: loss ends for 'a' at step 10, 'b' at step 20." in notes


def test_equal_clean_finished_repeats_need_no_other_note():
    assert len(comparison([row("a"), row("b")]).notes) == 1

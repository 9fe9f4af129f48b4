"""Which files a recipe trains on: by role, by subject, on any dataset laid out in this way."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lab.training import datalist
from mlops_lab.training.errors import DatalistError

TABLE = "participant_id\trole\tage\nsub-1\ttrain\t61\nsub-10\ttest\t58\nsub-2\ttune\t70\nsub-3\ttrain\t44\n"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "participants.tsv").write_text(TABLE)
    for name in (
        "sub-1/sub-1_slice-1",
        "sub-1/deeper/anything",
        "sub-10/sub-10_slice-1",
        "flat/sub-2_slice-1",
        "sub-3_x",
    ):
        for kind in ("image", "label"):
            path = tmp_path / f"{name}_{kind}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return tmp_path


def names(pairs: list[dict[str, str]], root: Path) -> list[str]:
    return [Path(pair["image"]).relative_to(root).as_posix() for pair in pairs]


def test_a_role_gets_the_pairs_of_its_subjects_in_order(dataset: Path) -> None:
    pairs = datalist.by_role(dataset, "train")
    expected = ["sub-1/deeper/anything_image.nii.gz", "sub-1/sub-1_slice-1_image.nii.gz", "sub-3_x_image.nii.gz"]
    assert sorted(names(pairs, dataset)) == expected
    assert pairs == sorted(pairs, key=lambda pair: (str(Path(pair["image"]).parent), pair["image"]))
    for pair in pairs:
        assert pair["label"] == pair["image"].replace("_image.", "_label.")
        assert set(pair) == {"image", "label"}


def test_sub_1_is_not_sub_10(dataset: Path) -> None:
    assert names(datalist.by_role(dataset, "test"), dataset) == ["sub-10/sub-10_slice-1_image.nii.gz"]


def test_a_subject_is_also_found_at_the_start_of_a_file_name(dataset: Path) -> None:
    assert names(datalist.by_role(dataset, "tune"), dataset) == ["flat/sub-2_slice-1_image.nii.gz"]


def test_a_view_made_of_links_reads_like_the_folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    view = tmp_path_factory.mktemp("view")
    for part in dataset.iterdir():
        (view / part.name).symlink_to(part)
    assert names(datalist.by_role(view, "train"), view) == names(datalist.by_role(dataset, "train"), dataset)


def test_other_column_names_can_be_given(dataset: Path) -> None:
    (dataset / "patients.tsv").write_text("patient\tset\nsub-2\ttraining\n")
    pairs = datalist.by_role(
        dataset, "training", participants="patients.tsv", subject_column="patient", role_column="set"
    )
    assert names(pairs, dataset) == ["flat/sub-2_slice-1_image.nii.gz"]


def test_a_table_with_a_byte_order_mark_is_read(dataset: Path) -> None:
    (dataset / "participants.tsv").write_text("\ufeff" + TABLE, encoding="utf-8")
    assert len(datalist.by_role(dataset, "test")) == 1


def test_a_dataset_without_a_table_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatalistError, match=r"has no participants\.tsv") as refusal:
        datalist.by_role(tmp_path, "train")
    assert "\n" not in str(refusal.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatalistError, match=r"has no participants\.tsv"):
        datalist.by_role(tmp_path / "nowhere", "train")


def test_a_missing_column_is_named(dataset: Path) -> None:
    (dataset / "participants.tsv").write_text("participant_id,role\nsub-1,train\n")
    with pytest.raises(DatalistError, match="no column 'participant_id'"):
        datalist.by_role(dataset, "train")


def test_a_role_that_nobody_has_is_refused_with_the_roles_there_are(dataset: Path) -> None:
    with pytest.raises(DatalistError, match="role 'external'") as refusal:
        datalist.by_role(dataset, "external")
    assert "test, train, tune" in refusal.value.hint


def test_subjects_without_images_are_refused_with_the_naming_rule(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text(TABLE)
    with pytest.raises(DatalistError, match="No images were found for the 2 subjects") as refusal:
        datalist.by_role(tmp_path, "train")
    assert "_image.nii.gz" in refusal.value.hint


@pytest.mark.parametrize(("lost", "kept"), [("label", "image"), ("image", "label")])
def test_half_a_pair_is_refused_and_named(dataset: Path, lost: str, kept: str) -> None:
    (dataset / f"sub-1/sub-1_slice-1_{lost}.nii.gz").unlink()
    with pytest.raises(DatalistError, match=rf"sub-1_slice-1_{kept}\.nii\.gz has no {lost}"):
        datalist.by_role(dataset, "train")


def test_the_role_of_another_subject_does_not_suffer_from_half_a_pair(dataset: Path) -> None:
    (dataset / "sub-1/sub-1_slice-1_label.nii.gz").unlink()
    assert len(datalist.by_role(dataset, "test")) == 1

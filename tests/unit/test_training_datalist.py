"""Which files a recipe trains on: those of the role that a run records, on any dataset that tells its roles."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab.datasets import readings, use
from mlops_lab.training import datalist
from mlops_lab.training.errors import DatalistError
from tests.dvc_repositories import DvcRepository

pytestmark = pytest.mark.usefixtures("mlops_home")

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
    (dataset / "participants.tsv").write_text("patient\trole\nsub-1\ttrain\n")
    with pytest.raises(DatalistError, match="no column participant_id"):
        datalist.by_role(dataset, "train")
    with pytest.raises(DatalistError, match="no column set"):
        datalist.by_role(dataset, "train", subject_column="patient", role_column="set")


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


@pytest.mark.parametrize("written", ["Train", "TRAINING", "train"])
def test_roles_are_understood_as_the_catalogue_understands_them(dataset: Path, written: str) -> None:
    (dataset / "participants.tsv").write_text(f"participant_id,role\nsub-3,{written}\nsub-2,Val\nsub-10,TEST\n")
    assert names(datalist.by_role(dataset, "train"), dataset) == ["sub-3_x_image.nii.gz"]
    assert names(datalist.by_role(dataset, "tune"), dataset) == ["flat/sub-2_slice-1_image.nii.gz"]
    assert names(datalist.by_role(dataset, "test"), dataset) == ["sub-10/sub-10_slice-1_image.nii.gz"]


def test_folders_named_after_roles_do_without_a_table(tmp_path: Path) -> None:
    for place in ("train/a", "val/b", "test/c"):
        for kind in ("image", "label"):
            path = tmp_path / f"{place}_{kind}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
    found = {role: names(datalist.by_role(tmp_path, role), tmp_path) for role in ("train", "tune", "test")}
    assert found == {"train": ["train/a_image.png"], "tune": ["val/b_image.png"], "test": ["test/c_image.png"]}
    with pytest.raises(DatalistError, match="role 'external'") as refusal:
        datalist.by_role(tmp_path, "external")
    assert "test, train, tune" in refusal.value.hint


def test_a_subject_with_two_roles_is_refused_in_the_rooms_own_words(dataset: Path) -> None:
    (dataset / "participants.tsv").write_text(TABLE + "sub-1\ttest\n")
    with pytest.raises(DatalistError, match="two roles, train and test"):
        datalist.by_role(dataset, "train")


@pytest.fixture
def own_words(dvc_repo: Callable[..., DvcRepository]) -> DvcRepository:
    """A project whose mlops.toml names a table of its own, with its cache far away from the repository."""
    repo = dvc_repo()
    repo.dvc("cache", "dir", str(repo.path.parent / "cache of the group"))
    repo.write({"mlops.toml": '[datasets.brain]\nparticipants = "people.csv"\nsubject = "id"\nrole = "use"\n'})
    files = {"people.csv": "id,use\np1,Training\np2,val\np3,test\n"}
    files |= {f"p{n}/x_{kind}.nii": f"{n} {kind}" for n in (1, 2, 3) for kind in ("image", "label")}
    repo.save("One", "data/brain", files)
    repo.tag("brain@v1.0.0")
    return repo


def test_a_view_is_read_as_the_mlops_toml_of_its_repository_says(
    own_words: DvcRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    view = use("brain@v1.0.0", own_words.path).path
    assert not view.is_relative_to(own_words.path)
    monkeypatch.chdir(tmp_path)
    found = {role: names(datalist.by_role(view, role), view) for role in ("train", "tune", "test")}
    assert found == {"train": ["p1/x_image.nii"], "tune": ["p2/x_image.nii"], "test": ["p3/x_image.nii"]}


def test_another_process_reads_the_view_in_the_same_way(own_words: DvcRepository, tmp_path: Path) -> None:
    view = use("brain@v1.0.0", own_words.path).path
    code = f"from mlops_lab.training.datalist import by_role; print(by_role({str(view)!r}, 'test')[0]['image'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(view / "p3" / "x_image.nii")


def test_a_folder_of_the_working_tree_is_read_as_its_repository_says(own_words: DvcRepository) -> None:
    folder = own_words.path / "data" / "brain"
    assert names(datalist.by_role(folder, "test"), folder) == ["p3/x_image.nii"]


def test_a_state_folder_that_cannot_be_written_keeps_nobody_from_the_data(
    own_words: DvcRepository, mlops_home: Path
) -> None:
    view = use("brain@v1.0.0", own_words.path).path
    notes = mlops_home / "readings"
    for file in notes.iterdir():
        file.unlink()
    notes.rmdir()
    notes.write_text("not a folder")
    assert use("brain@v1.0.0", own_words.path).path == view
    assert readings.table_of(view).participants == "people.csv"

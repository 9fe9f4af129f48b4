"""Roles: which files are for training and which for testing, and digests that tell whether two tests are the same."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import pytest

from mlops_lab.datasets import DataUsed, use
from mlops_lab.datasets.errors import BadProjectFile
from mlops_lab.datasets.objects import File
from mlops_lab.datasets.participants import Table, project_table
from mlops_lab.datasets.roles import role_digests, subject_of
from tests.dvc_repositories import DvcRepository

Factory = Callable[..., DvcRepository]

TABLE = "participant_id\trole\nsub-1\ttrain\nsub-2\tvalidation\nsub-3\tTest\nsub-4\tn/a\n"


def files_of(content: dict[str, str]) -> list[File]:
    """List files as a manifest would."""
    return [File(path, md5(text.encode()).hexdigest()) for path, text in content.items()]


def digests(tmp_path: Path, content: dict[str, str], name: str = "brain") -> dict[str, tuple[int, int]]:
    """Count files and subjects per role."""
    table = project_table(tmp_path, name)
    roles, _ = role_digests(table, files_of(content), lambda file: content[file.path].encode())
    return {role: (found.files, found.subjects) for role, found in roles.items()}


def hashes(content: dict[str, str]) -> dict[str, str]:
    """Give the digest of each role, without any project file."""
    roles, _ = role_digests(Table(), files_of(content), lambda file: content[file.path].encode())
    return {role: found.digest for role, found in roles.items()}


def read(table: bytes, path: str = "participants.tsv") -> tuple[dict[str, tuple[int, int]], str | None]:
    """Read the roles of four subjects from the bytes of a table; also give the notice."""
    files = [File(path, "0" * 32), *(File(f"sub-{n}/image.nii", f"{n}" * 32) for n in range(1, 5))]
    roles, notice = role_digests(Table(path), files, lambda _: table)
    return {role: (found.files, found.subjects) for role, found in roles.items()}, notice


@pytest.mark.usefixtures("mlops_home")
def test_an_untouched_test_role_has_the_same_digest_in_both_versions_and_a_corrected_one_has_not(
    dvc_repo: Factory,
) -> None:
    repo = dvc_repo()
    repo.write(
        {
            "mlops.toml": '[datasets.brain]\nparticipants = "tables/people.csv"\nsubject = "id"\nrole = "use"\n',
        }
    )
    repo.save(
        "One",
        "data/brain",
        {
            "tables/people.csv": "id,use\r\np1,train\r\np2,tune\r\np3,test\r\n",
            "p1/p1_image.txt": "i1",
            "p1/p1_label.txt": "wrong",
            "p2/p2_image.txt": "i2",
            "p3/p3_image.txt": "i3",
            "p3/p3_label.txt": "l3",
        },
    )
    repo.tag("brain@v1.0.0")
    repo.save("Two", "data/brain", {"p1/p1_label.txt": "right"})
    repo.tag("brain@v2.0.0")
    first, second = (use(f"brain@{version}", repo.path).used for version in ("v1.0.0", "v2.0.0"))
    assert isinstance(first, DataUsed)
    assert list(first.roles) == ["test", "train", "tune"]
    assert first.roles["test"] == second.roles["test"]
    assert first.roles["tune"] == second.roles["tune"]
    assert first.roles["train"].digest != second.roles["train"].digest
    assert (first.roles["test"].files, first.roles["test"].subjects) == (2, 1)
    row = '[["id", "p3"], ["use", "test"]]\n'
    lines = f"{row}p3/p3_image.txt {md5(b'i3').hexdigest()}\np3/p3_label.txt {md5(b'l3').hexdigest()}\n"
    assert first.roles["test"].digest == md5(lines.encode()).hexdigest()


LABELLED = {
    "participants.tsv": "participant_id\trole\tdiagnosis\nsub-1\ttrain\t0\nsub-2\ttrain\t1\nsub-3\ttest\t0\n",
    "sub-1.nii": "1",
    "sub-2.nii": "2",
    "sub-3.nii": "3",
}


def test_a_corrected_row_of_a_test_subject_changes_the_test_digest_and_no_other() -> None:
    before = hashes(LABELLED)
    table = LABELLED["participants.tsv"].replace("sub-3\ttest\t0", "sub-3\ttest\t1")
    after = hashes(LABELLED | {"participants.tsv": table})
    assert before["test"] != after["test"]
    assert before["train"] == after["train"]
    assert list(before) == ["test", "train"], "the table itself belongs to no other group"


def test_a_corrected_row_of_a_training_subject_leaves_the_test_digest_alone() -> None:
    table = LABELLED["participants.tsv"].replace("sub-1\ttrain\t0", "sub-1\ttrain\t1")
    before, after = hashes(LABELLED), hashes(LABELLED | {"participants.tsv": table})
    assert before["test"] == after["test"]
    assert before["train"] != after["train"]


def test_rows_and_columns_in_another_order_say_the_same() -> None:
    table = "role\tdiagnosis\tparticipant_id\r\ntest\t0\tsub-3\r\ntrain\t1\tsub-2\r\ntrain\t0\tsub-1\r\n"
    assert hashes(LABELLED | {"participants.tsv": table}) == hashes(LABELLED)


@pytest.mark.parametrize("folders", [False, True])
def test_files_without_a_role_are_reduced_to_a_digest_of_their_own(folders: bool) -> None:
    base = {"train/a.png": "a", "test/b.png": "b"} if folders else LABELLED
    assert "unassigned" not in hashes(base)
    first, second = hashes(base | {"labels.csv": "a,0\n"}), hashes(base | {"labels.csv": "a,1\n"})
    assert first["unassigned"] != second["unassigned"]
    assert first["test"] == second["test"] == hashes(base)["test"]


def test_the_files_of_a_subject_whose_role_is_empty_are_unassigned_and_not_taken_for_another_subjects(
    tmp_path: Path,
) -> None:
    table = "participant_id\trole\nsub-1\ttest\nsub-1_b\tn/a\nsub-2\tunassigned\n"
    content = {"participants.tsv": table, "sub-1/a": "1", "sub-1_b/a": "2", "sub-2/a": "3"}
    assert digests(tmp_path, content) == {"test": (1, 1), "unassigned": (2, 0)}


SEPARATED = "participant_id\trole\nsub-1\ttrain\nsub-2\tval\nsub-3\ttest\n"
FOUND = {"test": (1, 1), "train": (1, 1), "tune": (1, 1), "unassigned": (1, 0)}


@pytest.mark.parametrize(
    "table",
    [
        SEPARATED.replace("\n", "\r").encode(),
        SEPARATED.encode("utf-16"),
        SEPARATED.encode("utf-16-le"),
        SEPARATED.replace("\t", ";").encode("utf-8-sig"),
        SEPARATED.replace("participant_id\trole", "Participant_ID\tROLE ").encode(),
        (SEPARATED + "Mül-1\ttrain\n").encode("latin-1"),
        SEPARATED.replace("role", "role\tnote").replace("train", 'train\t"large" lesion').encode(),
    ],
    ids=["old Mac", "UTF-16", "UTF-16 without mark", "semicolons", "capitals", "Latin-1", "stray quotes"],
)
def test_a_table_is_read_however_a_spreadsheet_wrote_it(table: bytes) -> None:
    assert read(table) == (FOUND, None)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (SEPARATED.encode() + b"sub-4\t" + b"x" * 200_000 + b"\n", "cannot be read as a table"),
        (b"participant_id\tage\nsub-1\t40\n", "no column role"),
        (b"participant_id\trole\nsub-1\tn/a\n", "gives no subject a role"),
        (b"participant_id\trole\nother-1\ttrain\n", "belongs to a subject"),
        (b"", "no column participant_id and no column role"),
    ],
)
def test_a_table_that_gives_no_roles_is_said_in_one_sentence(table: bytes, said: str) -> None:
    roles, notice = read(table)
    assert roles == {}
    assert notice is not None
    assert said in notice
    assert notice.endswith("so its files have no roles." if "belongs" in said else "so the files have no roles.")


def test_a_declared_table_that_cannot_be_read_is_an_error_of_ours() -> None:
    table = Table(declared=True)
    with pytest.raises(BadProjectFile, match="cannot be read as a table"):
        role_digests(table, [File("participants.tsv", "0" * 32)], lambda _: b"participant_id\trole\n" + b"x" * 200_000)


def test_a_table_in_the_dataset_gives_roles_without_any_project_file(tmp_path: Path) -> None:
    content = {
        "participants.tsv": TABLE,
        "sub-1/image.nii.gz": "a",
        "flat/sub-2_label.nii.gz": "b",
        "sub-3.nii.gz": "c",
        "sub-4/image.nii.gz": "no role",
        "sub-30/image.nii.gz": "another subject",
        "README": "none",
    }
    assert digests(tmp_path, content) == {"test": (1, 1), "train": (1, 1), "tune": (1, 1), "unassigned": (3, 0)}


def test_folders_named_after_roles_give_roles_where_there_is_no_table(tmp_path: Path) -> None:
    content = {"Training/a.png": "a", "training/b.png": "b", "val/c.png": "c", "test/d/e.png": "d", "other/f.png": "e"}
    assert digests(tmp_path, content) == {"test": (1, 0), "train": (2, 0), "tune": (1, 0), "unassigned": (1, 0)}


def test_a_dataset_without_any_sign_of_roles_has_none(tmp_path: Path) -> None:
    assert digests(tmp_path, {"a.png": "a", "train.png": "b"}) == {}
    assert digests(tmp_path, {"participants.tsv": "participant_id\tage\nsub-1\t40\n", "sub-1/a": "x"}) == {}


def test_a_project_file_for_another_dataset_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text('[datasets.lung]\nparticipants = "p.tsv"\n')
    assert digests(tmp_path, {"participants.tsv": TABLE, "sub-3/a": "x"}) == {"test": (1, 1)}


def test_a_version_from_before_the_table_says_that_it_has_no_roles(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("[datasets.brain]\n")
    roles, notice = role_digests(project_table(tmp_path, "brain"), files_of({"sub-1/a": "x"}), lambda _: b"")
    assert roles == {}
    assert notice is not None
    assert "participants.tsv" in notice


@pytest.mark.parametrize(
    ("project", "table", "complaint"),
    [
        ("[datasets.brain", TABLE, "cannot be read"),
        ("[datasets]\nbrain = 3\n", TABLE, "not a table"),
        ("[datasets.brain]\nsubject = 3\n", TABLE, "not a text"),
        ('[datasets.brain]\nsubject = "patient"\n', TABLE, "no column patient"),
        ("[datasets.brain]\n", TABLE + "sub-1\ttest\n", "two roles, train and test"),
    ],
)
def test_a_wrong_project_file_is_one_sentence(tmp_path: Path, project: str, table: str, complaint: str) -> None:
    (tmp_path / "mlops.toml").write_text(project)
    with pytest.raises(BadProjectFile, match=complaint):
        digests(tmp_path, {"participants.tsv": table, "sub-1/a": "x"})


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-1/anat/x.nii.gz", "sub-1"),
        ("images/sub-1_slice-2_label.nii.gz", "sub-1"),
        ("sub-1.nii.gz", "sub-1"),
        ("sub-1_b/image.png", "sub-1_b"),
        ("1.2.840.113/1.dcm", "1.2.840.113"),
        ("1.2.840.113.dcm", "1.2.840.113"),
        ("sub-12/x.png", None),
        ("xsub-1_a.png", None),
        ("participants.tsv", None),
    ],
)
def test_a_file_belongs_to_the_subject_that_its_path_names(path: str, subject: str | None) -> None:
    subjects = dict.fromkeys(("sub-1", "sub-1_b", "1.2.840.113"), "train")
    assert subject_of(path, subjects) == subject

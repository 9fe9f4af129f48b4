"""The catalogue tells every version of every dataset, whatever shape the history has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab import wire
from mlops_lab.datasets import Catalogue, Dataset, read_catalogue, resolve
from mlops_lab.datasets.errors import (
    AmbiguousVersion,
    ForeignRepository,
    NoGit,
    NoRepository,
    NotDvc,
    UnknownDataset,
    UnknownVersion,
)
from tests.dvc_repositories import DvcRepository, make_repository

Factory = Callable[..., DvcRepository]


def dataset(catalogue: Catalogue, name: str) -> Dataset:
    """Pick one dataset by name."""
    return next(d for d in catalogue.datasets if d.name == name)


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> DvcRepository:
    """Seven versions of ``brain``: main, a discarded branch, and a merge that changes data on its own."""
    repo = make_repository(tmp_path_factory.mktemp("branched") / "my project ü")
    repo.save("Version one", "brain", {"a.txt": "1", "b.txt": "b"})
    repo.tag("brain@v1.0.0")
    repo.save("Version two", "brain", {"a.txt": "2"})
    repo.git("checkout", "--quiet", "-b", "side")
    repo.save("Version three, on a side branch", "brain", {"a.txt": "3"})
    repo.save("Version four, on a side branch", "brain", {"a.txt": "4"})
    repo.git("checkout", "--quiet", "main")
    repo.dvc("checkout", "--quiet")
    repo.save("Version five", "brain", {"a.txt": "5"})
    # The discarded branch: merged with "ours", so that its versions leave no trace in the simplified history.
    repo.git("merge", "--quiet", "--strategy=ours", "--no-edit", "side")
    repo.commits += 1
    repo.git("branch", "--quiet", "-D", "side")
    repo.git("checkout", "--quiet", "-b", "notes")
    repo.write({"notes.md": "n"})
    repo.commit("Notes")
    repo.git("checkout", "--quiet", "main")
    repo.save("Version six", "brain", {"a.txt": "6"})
    repo.git("merge", "--quiet", "--no-commit", "--no-ff", "notes")
    repo.save("Merge that also changes data", "brain", {"a.txt": "7"})
    repo.tag("brain@v2.0.0")
    repo.tag("brain#prod#1")
    return repo


def test_every_version_is_found_in_a_history_with_a_discarded_branch_and_a_merge_that_changes_data(
    branched: DvcRepository,
) -> None:
    brain = dataset(read_catalogue(branched.path), "brain")
    messages = [version.message for version in brain.versions]
    assert len(messages) == 7
    assert messages[0] == "Merge that also changes data"
    assert messages[-1] == "Version one"
    assert {version.nfiles for version in brain.versions} == {2}
    assert all(version.size == 2 for version in brain.versions)


def test_the_newest_version_is_in_the_working_copy_and_all_are_in_the_cache(branched: DvcRepository) -> None:
    brain = dataset(read_catalogue(branched.path / "brain"), "brain")
    assert brain.versions[0].where == ["workspace", "cache"]
    assert [version.where for version in brain.versions[1:]] == [["cache"]] * 6


def test_gto_versions_name_contents_and_stages_and_branches_label_them(branched: DvcRepository) -> None:
    newest, *_, oldest = dataset(read_catalogue(branched.path), "brain").versions
    assert (newest.version, newest.spec) == ("v2.0.0", "brain@v2.0.0")
    assert set(newest.labels) == {"#prod", "main"}
    assert oldest.version == "v1.0.0"
    untagged = resolve("brain@HEAD~1", branched.path)
    assert untagged.version == f"{untagged.date[:10]}-{untagged.md5[:7]}"
    assert resolve(untagged.spec, branched.path).md5 == untagged.md5
    assert resolve(f"brain@{untagged.version}", branched.path).md5 == untagged.md5


def test_a_version_is_found_by_version_stage_branch_commit_and_md5(branched: DvcRepository) -> None:
    newest = resolve("brain@v2.0.0", branched.path)
    head = branched.head()
    for spec in (
        "brain",
        "brain@prod",
        "brain#prod",
        "brain@main",
        "brain@HEAD",
        f"brain@{head[:9]}",
        "brain@refs/heads/main",
    ):
        assert resolve(spec, branched.path).md5 == newest.md5, spec
    assert resolve(f"brain@{newest.md5[:6]}", branched.path).md5 == newest.md5


def test_a_wrong_name_or_version_is_answered_with_what_exists(branched: DvcRepository) -> None:
    with pytest.raises(UnknownDataset) as wrong_name:
        resolve("brian@v1.0.0", branched.path)
    assert "brain" in wrong_name.value.hint
    for nameless in ("", " ", "@v1.0.0"):
        with pytest.raises(UnknownDataset, match=r"^No dataset is named\.") as no_name:
            resolve(nameless, branched.path)
        assert "Datasets here: brain" in no_name.value.hint
    with pytest.raises(UnknownVersion) as wrong_version:
        resolve("brain@v1.0.1", branched.path)
    assert "Did you mean v1.0.0?" in wrong_version.value.hint
    first = branched.git("rev-list", "--max-parents=0", "HEAD").strip()
    with pytest.raises(UnknownVersion, match="did not exist"):
        resolve(f"brain@{first}", branched.path)


def test_a_commit_on_a_detached_head_is_listed_and_a_new_commit_refreshes_the_listing(branched: DvcRepository) -> None:
    clone = DvcRepository(branched.path.parent / "detached", commits=50)
    shutil.copytree(branched.path, clone.path, symlinks=True)
    assert len(dataset(read_catalogue(clone.path), "brain").versions) == 7
    clone.git("checkout", "--quiet", "--detach")
    clone.save("On a detached HEAD", "brain", {"a.txt": "8"})
    found = read_catalogue(clone.path)
    assert found.branch is None
    assert next(version.message for version in dataset(found, "brain").versions) == "On a detached HEAD"
    assert resolve("brain", clone.path).message == "On a detached HEAD"
    clone.git("checkout", "--quiet", "main")
    assert len(dataset(read_catalogue(clone.path), "brain").versions) == 7


def test_a_shallow_clone_says_that_its_history_is_cut(branched: DvcRepository) -> None:
    target = branched.path.parent / "shallow"
    branched.git("clone", "--quiet", "--depth=1", f"file://{branched.path}", str(target))
    found = read_catalogue(target)
    assert found.notice is not None
    assert "shallow" in found.notice
    assert len(dataset(found, "brain").versions) == 1
    assert dataset(found, "brain").versions[0].where == []


def test_a_linked_worktree_sees_the_same_history(branched: DvcRepository) -> None:
    target = branched.path.parent / "worktree"
    branched.git("worktree", "add", "--quiet", "--detach", str(target), "HEAD~1")
    found = read_catalogue(target)
    assert found.repository == str(target)
    assert len(dataset(found, "brain").versions) == 7
    assert resolve("brain", target).message == "Version six"
    branched.git("worktree", "remove", "--force", str(target))


def test_the_catalogue_survives_the_wire(branched: DvcRepository) -> None:
    found = read_catalogue(branched.path)
    assert wire.decode(wire.encode(found), Catalogue) == found


def test_a_revert_adds_no_version(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("One", "brain", {"a.txt": "1"})
    repo.save("Two", "brain", {"a.txt": "2"})
    repo.save("Back to one", "brain", {"a.txt": "1"})
    brain = dataset(read_catalogue(repo.path), "brain")
    assert [version.message for version in brain.versions] == ["Two", "One"]
    assert brain.versions[1].where == ["workspace", "cache"]
    assert resolve("brain", repo.path).message == "One"


def test_a_renamed_dataset_stays_one_dataset(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("One", "brain", {"a.txt": "1"})
    repo.tag("brain@v1.0.0")
    repo.dvc("move", "--quiet", "brain", "head mri")
    repo.commit("A better name")
    repo.save("Two", "head mri", {"a.txt": "2"})
    found = read_catalogue(repo.path)
    assert [d.name for d in found.datasets] == ["head mri"]
    assert [version.message for version in found.datasets[0].versions] == ["Two", "One"]
    assert resolve("head mri@v1.0.0", repo.path).message == "One"
    assert resolve("brain@v1.0.0", repo.path).message == "One"


def test_datasets_that_share_a_name_go_by_their_paths(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("A", "siteA/images", {"a.txt": "1"})
    repo.save("B", "siteB/images", {"a.txt": "2"})
    assert [d.name for d in read_catalogue(repo.path).datasets] == ["siteA/images", "siteB/images"]
    assert resolve("siteB/images@HEAD", repo.path).path == "siteB/images"
    with pytest.raises(AmbiguousVersion) as refused:
        resolve("images", repo.path)
    assert refused.value.choices == ("siteA/images", "siteB/images")


def test_a_dataset_in_a_sub_directory_root_with_spaces_and_umlauts_goes_by_its_artifact_name(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "monorepo", dvc_in="study one")
    repo.save("Data", "study one/data/gehirn ä", {"bild 1.txt": "1"})
    repo.write({"study one/dvc.yaml": "artifacts:\n  brain:\n    path: data/gehirn ä\n    type: dataset\n"})
    repo.commit("Name it")
    repo.save("More data", "study one/data/gehirn ä", {"bild 2.txt": "2"})
    repo.write({"study one/params.yaml": "x: 1\n"})
    repo.commit("Unrelated")
    found = read_catalogue(repo.path / "study one" / "data")
    assert [d.name for d in found.datasets] == ["brain"]
    assert found.datasets[0].path == "study one/data/gehirn ä"
    assert found.datasets[0].versions[0].where == ["workspace", "cache"]
    assert resolve("study one/data/gehirn ä", repo.path).nfiles == 2


def test_a_gto_tag_with_a_folder_names_the_artifact_in_that_folder(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "monorepo", dvc_in="sub")
    repo.write({"sub/dvc.yaml": "artifacts:\n  brain:\n    path: images\n"})
    repo.save("Data", "sub/images", {"a.txt": "1"})
    repo.tag("sub=brain@v1.2.3")
    repo.tag("sub=brain#approved")
    version = resolve("brain@v1.2.3", repo.path)
    assert version.labels == ["#approved", "main"]
    assert resolve("sub:brain@approved", repo.path).md5 == version.md5


def test_a_stage_moves_and_a_withdrawn_version_loses_its_name(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("One", "brain", {"a.txt": "1"})
    repo.tag("brain@v1.0.0")
    repo.tag("brain#approved#1")
    repo.save("Two", "brain", {"a.txt": "2"})
    repo.tag("brain@v2.0.0")
    repo.tag("brain#approved#2")
    repo.tag("brain@v2.0.0!")
    two, one = dataset(read_catalogue(repo.path), "brain").versions
    assert one.version == "v1.0.0"
    assert "#approved" not in one.labels
    assert "#approved" in two.labels
    assert two.version != "v2.0.0"


def test_plain_tags_name_versions_that_gto_does_not(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("One", "brain", {"a.txt": "1"})
    repo.git("tag", "miccai-2026")
    repo.write({"train.py": "pass"})
    repo.commit("Code only")
    repo.tag("resubmission")
    only = dataset(read_catalogue(repo.path), "brain").versions
    assert [(v.version, v.spec) for v in only] == [("miccai-2026", "brain@miccai-2026")]
    assert only[0].labels == ["resubmission", "main"]
    assert resolve("brain@resubmission", repo.path).md5 == only[0].md5


def test_stage_outputs_are_listed_but_metrics_and_models_are_not(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.write(
        {
            "dvc.yaml": (
                "stages:\n"
                "  prepare:\n    wdir: work\n"
                "    cmd: mkdir -p out && echo 1 > out/a.txt && echo 2 > m.json && echo 3 > net.pt\n"
                "    outs:\n    - out\n    - net.pt\n    metrics:\n    - m.json:\n        cache: false\n"
                "artifacts:\n  unet:\n    path: work/net.pt\n    type: model\n"
            ),
            "work/.keep": "",
        }
    )
    repo.dvc("repro", "--quiet")
    repo.commit("A pipeline")
    found = read_catalogue(repo.path)
    assert [(d.name, d.path) for d in found.datasets] == [("out", "work/out")]
    assert found.datasets[0].versions[0].where == ["workspace", "cache"]


def test_a_single_file_and_an_old_definition_are_datasets_too(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.write(
        {
            "old.dvc": (
                "md5: 3f7c6e3c1a6b0a2a0b4d8f0e9d6c5b4a\n"
                "outs:\n- md5: 6f5902ac237024bdd0c176cb93063dc4\n  path: old.txt\n"
            ),
            "quoted.dvc": (
                "outs:\n- md5: '6f5902ac237024bdd0c176cb93063dc5'\n"
                "  hash: md5\n  size: 12\n  path: 'it''s a, name.csv'\n"
            ),
            "cloud.dvc": "outs:\n- path: bucket\n  size: 3\n  nfiles: 1\n",
            "broken.dvc": "outs: [\n",
            "outside.dvc": "outs:\n- md5: 6f5902ac237024bdd0c176cb93063dc6\n  hash: md5\n  path: ../../etc/passwd\n",
        }
    )
    repo.commit("Files of many kinds")
    found = read_catalogue(repo.path)
    assert [(d.name, d.versions[0].size, d.versions[0].where) for d in found.datasets] == [
        ("it's a, name.csv", 12, []),
        ("old.txt", None, []),
    ]
    assert found.notice is not None
    assert "2 tracked outputs" in found.notice


def test_a_deleted_dataset_keeps_its_versions_and_gives_up_its_name(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("Old", "old/brain", {"a.txt": "1"})
    repo.git("rm", "--quiet", "old/brain.dvc")
    repo.commit("Delete it")
    repo.save("New", "new/brain", {"a.txt": "2"})
    found = read_catalogue(repo.path)
    assert [(d.name, d.path) for d in found.datasets] == [("brain", "new/brain"), ("old/brain", "old/brain")]
    assert found.datasets[1].versions[0].where == ["cache"]


def test_a_version_whose_files_are_partly_missing_is_not_said_to_be_in_the_cache(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    repo.save("One", "brain", {"a.txt": "1", "b.txt": "2"})
    assert "cache" in resolve("brain", repo.path).where
    repo.object("c4ca4238a0b923820dcc509a6f75849b").unlink()
    assert "cache" not in resolve("brain", repo.path).where


def test_an_empty_repository_has_an_empty_catalogue_and_says_why(tmp_path: Path) -> None:
    repo = DvcRepository(tmp_path)
    repo.git("init", "--quiet", "--initial-branch=main")
    repo.dvc("init", "--quiet")
    found = read_catalogue(tmp_path)
    assert (found.head, found.branch, found.datasets) == ("", "main", [])
    assert found.notice is not None
    assert "committed" in found.notice
    with pytest.raises(UnknownDataset, match="none yet"):
        resolve("brain", tmp_path)


def test_a_repository_without_dvc_is_told_apart_from_no_repository(tmp_path: Path) -> None:
    with pytest.raises(NoRepository) as none:
        read_catalogue(tmp_path)
    assert "git init" in none.value.hint
    DvcRepository(tmp_path).git("init", "--quiet")
    with pytest.raises(NotDvc) as plain:
        read_catalogue(tmp_path)
    assert "dvc init" in plain.value.hint


def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoGit, match="git is not installed"):
        read_catalogue(tmp_path)


def test_a_repository_of_another_user_is_refused_with_the_mend(
    dvc_repo: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = dvc_repo()
    # git's own switch for testing this without a second account.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ForeignRepository) as refused:
        read_catalogue(repo.path)
    assert "safe.directory" in refused.value.hint


def test_a_path_that_does_not_exist_yet_is_looked_up_from_its_folder(branched: DvcRepository) -> None:
    assert read_catalogue(branched.path / "new folder" / "new notebook.ipynb").datasets

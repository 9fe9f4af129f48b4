"""The demo project is a real repository, honest about its data, and never half built."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlops_lab import datasets
from mlops_lab.demo import build_demo
from mlops_lab.demo.errors import DirectoryInUse, MissingComponent

V1, V2 = "brain@v1.0.0", "brain@v2.0.0"


def git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def md5_of(project: Path, revision: str) -> str:
    """Read the dataset's md5 as DVC recorded it in a commit."""
    import yaml

    recorded: str = yaml.safe_load(git(project, "show", f"{revision}:data/brain.dvc"))["outs"][0]["md5"]
    return recorded


def stored(project: Path, md5: str, place: str = "cache") -> Path:
    return project / ".dvc" / place / "files" / "md5" / md5[:2] / md5[2:]


def manifest(project: Path, revision: str) -> dict[str, str]:
    """Give the md5 of every file of the dataset at `revision`."""
    listed = json.loads(stored(project, md5_of(project, revision)).read_text())
    return {entry["relpath"]: entry["md5"] for entry in listed}


def pixels(path: Path) -> Any:
    import nibabel
    import numpy as np

    return np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes())).dataobj)


def participants(project: Path) -> dict[str, str]:
    lines = (project / "data/brain/participants.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["participant_id", "role", "simulated"]
    rows = [line.split("\t") for line in lines[1:]]
    assert {row[2] for row in rows} == {"true"}
    return {row[0]: row[1] for row in rows}


def test_every_subject_has_a_role_and_four_slices(demo_original: Path) -> None:
    roles = participants(demo_original)
    assert sorted(roles.values()) == ["test"] * 8 + ["train"] * 12 + ["tune"] * 4
    files = set(manifest(demo_original, V2))
    assert len(files) == 24 * 4 * 2 + 1
    for subject in roles:
        for index in (1, 2, 3, 4):
            for kind in ("image", "label"):
                assert f"{subject}/{subject}_slice-{index}_{kind}.nii.gz" in files


def test_the_versions_differ_in_twelve_training_labels_and_in_nothing_else(demo_original: Path) -> None:
    roles, old, new = participants(demo_original), manifest(demo_original, V1), manifest(demo_original, V2)
    assert old.keys() == new.keys()
    changed = [path for path in new if old[path] != new[path]]
    assert len(changed) == 12
    assert all(path.endswith("_label.nii.gz") for path in changed)
    assert {roles[path.partition("/")[0]] for path in changed} == {"train"}


def test_the_wrong_labels_are_the_right_ones_with_grey_and_white_swapped(demo_original: Path) -> None:
    import numpy as np

    old, new = manifest(demo_original, V1), manifest(demo_original, V2)
    for path in (path for path in new if old[path] != new[path]):
        wrong, right = (pixels(stored(demo_original, md5)) for md5 in (old[path], new[path]))
        assert set(np.unique(right)) == {0, 1, 2}
        assert np.array_equal(np.array([0, 2, 1])[right], wrong)


def test_labels_follow_the_anatomy_of_their_image(demo_original: Path) -> None:
    """White matter is bright, grey matter darker, background darkest: a label that slipped would not show that."""
    for index in (1, 2, 3, 4):
        slice_ = demo_original / "data/brain/sub-020" / f"sub-020_slice-{index}"
        image, label = (pixels(slice_.with_name(f"{slice_.name}_{kind}.nii.gz")) for kind in ("image", "label"))
        assert image.shape == label.shape == (160, 192)
        dark, grey, white = (image[label == value].mean() for value in (0, 1, 2))
        assert dark < 0.6 * grey
        assert grey < 0.95 * white


def test_no_two_subjects_are_alike(demo_original: Path) -> None:
    images = [md5 for path, md5 in manifest(demo_original, V2).items() if path.endswith(".nii.gz")]
    assert len(set(images)) == len(images)


def test_it_is_a_clean_git_and_dvc_repository_with_two_gto_versions(demo_original: Path) -> None:
    assert git(demo_original, "status", "--porcelain") == ""
    assert git(demo_original, "for-each-ref", "--format=%(refname:short) %(objecttype)", "refs/tags").splitlines() == [
        f"{V1} tag",
        f"{V2} tag",
    ]
    assert git(demo_original, "rev-parse", f"{V2}^{{commit}}") == git(demo_original, "rev-parse", "main")
    assert git(demo_original, "log", "-1", "--format=%s", V2) == "Correct twelve training labels"
    first, second = (int(git(demo_original, "log", "-1", "--format=%at", tag)) for tag in (V1, V2))
    assert first < second
    assert "No changes" in dvc(demo_original, "data", "status", "--granular")


def dvc(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_both_versions_are_published(demo_original: Path) -> None:
    for version in (V1, V2):
        listed = manifest(demo_original, version)
        for md5 in {md5_of(demo_original, version), *listed.values()}:
            assert stored(demo_original, md5, "storage").is_file()


def test_nothing_leaves_the_machine_unasked(demo_original: Path) -> None:
    settings = (demo_original / ".dvc" / "config").read_text()
    assert "analytics = false" in settings
    assert "check_update = false" in settings


def test_the_catalogue_reads_it(demo_original: Path) -> None:
    (brain,) = datasets.read_catalogue(demo_original).datasets
    assert [version.spec for version in brain.versions] == [V2, V1]
    assert [version.md5 for version in brain.versions] == [md5_of(demo_original, V2), md5_of(demo_original, V1)]


def test_a_lost_cache_is_fetched_and_the_test_subjects_are_the_same_bytes(demo_project: Path) -> None:
    import shutil

    shutil.rmtree(demo_project / ".dvc" / "cache")
    old, new = (datasets.use(version, path=demo_project) for version in (V1, V2))
    assert old.used.md5 != new.used.md5
    assert old.used.roles["test"] == new.used.roles["test"]
    assert old.used.roles["tune"] == new.used.roles["tune"]
    assert old.used.roles["train"] != new.used.roles["train"]
    assert {role: digest.subjects for role, digest in new.used.roles.items()} == {"train": 12, "tune": 4, "test": 8}


@pytest.mark.parametrize("document", ["README.md", "quickstart.ipynb"])
def test_it_says_plainly_what_the_data_are(demo_original: Path, document: str) -> None:
    text = (demo_original / document).read_text()
    assert "ONE averaged brain" in text
    assert "simulated" in text
    assert "patient" in text


def test_a_finished_project_is_used_again(demo_original: Path) -> None:
    before, said = git(demo_original, "rev-parse", "HEAD"), list[str]()
    assert build_demo(demo_original, report=said.append) == demo_original
    assert said == [f"The demo project stands already in {demo_original}."]
    assert git(demo_original, "rev-parse", "HEAD") == before


def test_another_build_has_the_same_bytes_for_a_stranger_to_git(
    demo_original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder that exists, without a git identity, after a build that was killed."""
    for name in list(os.environ):
        if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another repository"))
    target = tmp_path / "the démo"
    target.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left_over = target.with_name(f".{target.name}.building-{ended.pid}")
    (left_over / "data").mkdir(parents=True)
    being_built = target.with_name(f".{target.name}.building-{os.getppid()}")
    being_built.mkdir()

    build_demo(target, report=lambda sentence: None)

    monkeypatch.delenv("GIT_DIR")
    assert [md5_of(target, tag) for tag in (V1, V2)] == [md5_of(demo_original, tag) for tag in (V1, V2)]
    assert git(target, "log", "-1", "--format=%an") == "mlops_lab demo"
    assert not left_over.exists()
    assert being_built.exists()


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DirectoryInUse, match="not a finished demo project"):
        build_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_project_without_its_history_is_refused(demo_project: Path) -> None:
    git(demo_project, "tag", "--delete", V1)
    with pytest.raises(DirectoryInUse):
        build_demo(demo_project)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("")
    with pytest.raises(DirectoryInUse, match="not a directory"):
        build_demo(tmp_path / "demo")


def test_without_git_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingComponent, match="git is not installed"):
        build_demo(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "demo"
    program = f"from mlops_lab.demo import build_demo; build_demo({str(target)!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".demo.building-*/data/brain/sub-002")) and time.monotonic() < deadline:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    assert list(tmp_path.iterdir()) == []

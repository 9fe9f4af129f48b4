"""A version that is used is complete, proven byte by byte, read-only, and costs the working tree nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab.datasets import diff, objects, read_catalogue, resolve, use, verify, views
from mlops_lab.datasets.errors import (
    BadDvcConfig,
    CorruptObject,
    FetchFailed,
    MissingObjects,
    UnknownVersion,
    UnsafeManifest,
    ViewFailed,
)
from tests.dvc_repositories import DvcRepository, make_repository

Factory = Callable[..., DvcRepository]

pytestmark = pytest.mark.usefixtures("mlops_home")

FIRST = {
    "images/sub-01 scan.txt": "image 1",
    "images/sub-02 ü.txt": "image 2",
    "blank/a.txt": "blank",
    "blank/b.txt": "blank",
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> DvcRepository:
    """A repository whose remote holds v1.0.0 and v2.0.0 but not the version after them, and a single-file dataset."""
    base = tmp_path_factory.mktemp("published")
    (base / "remote").mkdir()
    repo = make_repository(base / "project")
    repo.dvc("remote", "add", "--quiet", "--default", "storage", "../remote")
    repo.save("One", "brain", FIRST)
    repo.tag("brain@v1.0.0")
    repo.dvc("push", "--quiet")
    repo.save("Two", "brain", {"images/sub-02 ü.txt": "image 2, corrected", "images/new.txt": "new"})
    repo.tag("brain@v2.0.0")
    repo.write({"table, final.csv": "a,b\r\n1,2\r\n"})
    repo.add("table, final.csv")
    repo.commit("A table")
    repo.dvc("push", "--quiet")
    repo.save("Never pushed", "brain", {"images/late.txt": "late"})
    return repo


@pytest.fixture
def project(published: DvcRepository, tmp_path: Path) -> DvcRepository:
    """A copy with its whole cache; its remote lies beside it."""
    shutil.copytree(published.path.parent, tmp_path / "work", symlinks=True)
    return DvcRepository(tmp_path / "work" / "project", commits=20)


@pytest.fixture
def clone(project: DvcRepository) -> DvcRepository:
    """A fresh clone beside the original: no object is in its cache."""
    target = project.path.parent / "a clone"
    project.git("clone", "--quiet", str(project.path), str(target))
    return DvcRepository(target, commits=20)


def content(folder: Path) -> dict[str, bytes]:
    """Read a whole folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def expected(files: dict[str, str]) -> dict[str, bytes]:
    """Turn texts into what a folder would hold."""
    return {name: text.encode() for name, text in files.items()}


def md5(text: str) -> str:
    """Name the object of a text."""
    return hashlib.md5(text.encode()).hexdigest()


def flip(file: Path, *, keep_mtime: bool = True) -> None:
    """Flip one bit of an object and hide it as well as a fault can: same size, mode and mtime."""
    before = file.stat()
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    with file.open("r+b") as stream:
        stream.write(data)
    file.chmod(0o444)
    if keep_mtime:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_old_version_is_available_without_touching_the_working_tree(project: DvcRepository) -> None:
    before = content(project.path / "brain"), project.status(), project.git("stash", "list")
    used = use("brain@v1.0.0", project.path)
    assert content(used.path) == expected(FIRST)
    assert used.used.version == "v1.0.0"
    assert used.used.revision == project.git("rev-list", "-1", "brain@v1.0.0").strip()
    assert used.repository == project.path
    assert (content(project.path / "brain"), project.status(), project.git("stash", "list")) == before


def test_versions_stand_side_by_side_and_a_view_is_used_again(project: DvcRepository) -> None:
    first = use("brain@v1.0.0", project.path)
    second = use("brain@v2.0.0", project.path)
    inode = first.path.stat().st_ino
    told: list[str] = []
    again = use("brain@v1.0.0", project.path, report=told.append)
    assert again.path == first.path
    assert again.path.stat().st_ino == inode
    assert told == [], "nothing is fetched, hashed or built a second time"
    assert second.path != first.path
    assert (first.path / "images/sub-02 ü.txt").read_text() == "image 2"
    assert (second.path / "images/sub-02 ü.txt").read_text() == "image 2, corrected"


def test_a_view_is_read_only_and_shares_its_bytes_with_the_cache(project: DvcRepository) -> None:
    view = use("brain@v1.0.0", project.path).path
    for path in (view, *view.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222, path
    blank = project.object(md5("blank")).stat().st_ino
    assert (view / "blank/a.txt").stat().st_ino == blank
    assert (view / "blank/b.txt").stat().st_ino == blank


def test_a_single_file_dataset_gives_the_path_of_the_file(project: DvcRepository) -> None:
    used = use("table, final.csv", project.path)
    assert used.path.name == "table, final.csv"
    assert used.path.read_bytes() == b"a,b\r\n1,2\r\n"
    assert used.path != project.path / "table, final.csv"


def test_a_flipped_byte_in_a_read_only_object_is_refused_and_the_file_named(project: DvcRepository) -> None:
    flip(project.object(md5("image 2")))
    with pytest.raises(CorruptObject) as refused:
        use("brain@v1.0.0", project.path)
    assert "images/sub-02 ü.txt" in refused.value.message
    assert str(project.object(md5("image 2"))) in refused.value.hint
    assert [problem.path for problem in verify("brain@v1.0.0", project.path)] == ["images/sub-02 ü.txt"]
    views_of_brain = project.path / ".dvc/cache/mlops_lab/views/brain"
    assert not views_of_brain.exists() or not any(views_of_brain.iterdir()), "no part of a view is left"
    assert use("brain@v2.0.0", project.path).path.is_dir(), "a version without the object is not affected"


def test_a_byte_flipped_after_the_view_was_built_is_found_even_with_a_forged_mtime(project: DvcRepository) -> None:
    view = use("brain@v1.0.0", project.path).path
    flip(view / "images/sub-02 ü.txt")
    with pytest.raises(CorruptObject, match="sub-02 ü"):
        use("brain@v1.0.0", project.path)


def test_a_truncated_object_is_refused(project: DvcRepository) -> None:
    file = project.object(md5("image 1"))
    file.chmod(0o644)
    file.write_text("image")
    with pytest.raises(CorruptObject, match="sub-01 scan"):
        use("brain@v1.0.0", project.path)


def test_a_corrupt_list_of_files_is_refused(project: DvcRepository) -> None:
    flip(project.object(resolve("brain@v1.0.0", project.path).md5))
    with pytest.raises(CorruptObject, match="list of files"):
        use("brain@v1.0.0", project.path)
    assert [problem.kind for problem in verify("brain@v1.0.0", project.path)] == ["corrupt"]


def test_an_object_that_lost_its_protection_is_protected_again(project: DvcRepository) -> None:
    file = project.object(md5("image 1"))
    file.chmod(0o644)
    use("brain@v1.0.0", project.path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o444


def test_a_view_that_was_tampered_with_is_built_anew(project: DvcRepository) -> None:
    view = use("brain@v1.0.0", project.path).path
    (view / "images").chmod(0o755)
    (view / "images" / "intruder.txt").write_text("x")
    (view / "images" / "sub-01 scan.txt").unlink()
    assert content(use("brain@v1.0.0", project.path).path) == expected(FIRST)


def test_missing_objects_are_fetched_from_the_remote(clone: DvcRepository) -> None:
    assert resolve("brain@v1.0.0", clone.path).where == []
    told: list[str] = []
    used = use("brain@v1.0.0", clone.path, report=told.append)
    assert content(used.path) == expected(FIRST)
    assert any("Fetching" in line for line in told)
    assert clone.status() == "", "the clone's own files are untouched"
    assert resolve("brain@v1.0.0", clone.path).where == ["cache"]


def test_a_fetch_leaves_no_private_project_with_settings_behind(clone: DvcRepository, mlops_home: Path) -> None:
    use("brain@v2.0.0", clone.path)
    assert list((mlops_home / "fetch").iterdir()) == []


def test_only_what_is_missing_is_fetched_after_an_interruption(clone: DvcRepository) -> None:
    use("brain@v1.0.0", clone.path)
    lost = clone.object(md5("image 1"))
    kept = clone.object(md5("image 2")).stat().st_ino
    shutil.rmtree(clone.path / ".dvc/cache/mlops_lab")
    lost.unlink()
    told: list[str] = []
    assert content(use("brain@v1.0.0", clone.path, report=told.append).path) == expected(FIRST)
    assert clone.object(md5("image 2")).stat().st_ino == kept


def test_a_fetch_works_while_another_process_holds_dvcs_lock(clone: DvcRepository) -> None:
    script = (
        "import sys\nfrom dvc.repo import Repo\n"
        "with Repo('.').lock:\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script], cwd=clone.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert content(use("brain@v1.0.0", clone.path).path) == expected(FIRST)
    finally:
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait(timeout=30)


def test_a_version_that_was_never_pushed_is_explained(clone: DvcRepository) -> None:
    with pytest.raises(MissingObjects) as refused:
        use("brain", clone.path)
    assert "neither in the cache nor in the remote" in refused.value.message
    assert "ask Ada Researcher to run dvc push" in refused.value.hint


def test_a_corrupt_object_that_comes_from_the_remote_is_refused(clone: DvcRepository) -> None:
    digest = md5("image 2")
    flip(clone.path.parent / "remote" / "files" / "md5" / digest[:2] / digest[2:])
    with pytest.raises(CorruptObject, match="sub-02 ü"):
        use("brain@v1.0.0", clone.path)


def test_a_remote_that_is_itself_corrupt_is_named_each_time_and_no_loop_is_advised(clone: DvcRepository) -> None:
    digest = md5("image 2")
    flip(clone.path.parent / "remote" / "files" / "md5" / digest[:2] / digest[2:])
    for _ in range(2):
        with pytest.raises(CorruptObject, match="corrupt in the remote") as refused:
            use("brain@v1.0.0", clone.path)
        assert "sub-02 ü" in refused.value.message
        assert f"delete files/md5/{digest[:2]}/{digest[2:]} in the remote" in refused.value.hint
        assert not clone.object(digest).exists(), "DVC would trust it"
    assert clone.object(md5("image 1")).exists()


def test_damage_of_the_cache_alone_is_healed_as_advised(clone: DvcRepository) -> None:
    use("brain@v1.0.0", clone.path)
    damaged = clone.object(md5("image 2"))
    flip(damaged)
    with pytest.raises(CorruptObject, match="its bytes in the cache are not those") as refused:
        use("brain@v1.0.0", clone.path)
    assert refused.value.hint.startswith(f"Delete {damaged} and use the version again")
    damaged.unlink()
    assert content(use("brain@v1.0.0", clone.path).path) == expected(FIRST)


@pytest.mark.parametrize("readable", [True, False])
def test_a_list_of_files_that_is_corrupt_in_the_remote_is_named_as_such(clone: DvcRepository, readable: bool) -> None:
    digest = resolve("brain@v1.0.0", clone.path).md5
    listed = clone.path.parent / "remote" / "files" / "md5" / digest[:2] / digest[2:]
    listed.chmod(0o644)
    listed.write_bytes(listed.read_bytes().replace(b"sub-01", b"sub-99") if readable else b"[")
    for _ in range(2):
        with pytest.raises(CorruptObject, match="The list of files is corrupt in the remote"):
            use("brain@v1.0.0", clone.path)


@pytest.mark.parametrize("name", ["config", "config.local"])
def test_dvc_settings_that_cannot_be_read_are_named_and_the_versions_still_listed(
    clone: DvcRepository, name: str
) -> None:
    (clone.path / ".dvc" / name).write_text("[core\n")
    with pytest.raises(BadDvcConfig, match=rf"\.dvc/{name} cannot be read") as refused:
        use("brain@v1.0.0", clone.path)
    assert "\n" not in str(refused.value)
    assert "Correct that file" in refused.value.hint
    assert len(read_catalogue(clone.path).datasets) == 2


def test_a_project_without_a_remote_says_so(clone: DvcRepository) -> None:
    clone.dvc("remote", "remove", "storage")
    with pytest.raises(FetchFailed, match="no DVC remote"):
        use("brain@v1.0.0", clone.path)


def test_private_settings_of_the_user_reach_the_fetch(clone: DvcRepository) -> None:
    hidden = clone.path.parent / "elsewhere, private"
    (clone.path.parent / "remote").rename(hidden)
    clone.dvc("remote", "modify", "--local", "storage", "url", "../elsewhere, private")
    clone.dvc("cache", "dir", "--local", "../group cache")
    used = use("brain@v1.0.0", clone.path)
    assert used.path.is_relative_to(clone.path.parent / "group cache")
    assert content(used.path) == expected(FIRST)


def test_an_interrupted_fetch_leaves_no_process_behind(clone: DvcRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remember(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        process = real(*arguments, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    def interrupt(line: str) -> None:
        if line.startswith("Fetching the list"):
            raise KeyboardInterrupt

    monkeypatch.setattr("mlops_lab.datasets.fetching.subprocess.Popen", remember)
    # A dvc that never answers, as with a remote behind a dead network.
    (clone.path.parent / "bin").mkdir()
    (clone.path.parent / "bin" / "dvc.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(clone.path.parent / "bin"))
    with pytest.raises(KeyboardInterrupt):
        use("brain@v1.0.0", clone.path, report=interrupt)
    fetches = [process for process in started if "fetch" in process.args]
    assert len(fetches) == 1
    assert fetches[0].poll() is not None


def test_other_file_systems_and_link_limits_fall_back_to_symlinks_and_copies(
    project: DvcRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    first = use("brain@v1.0.0", project.path).path
    assert (first / "blank/a.txt").is_symlink()
    assert content(first) == expected(FIRST)

    def no_symlink(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", no_symlink)
    second = use("brain@v2.0.0", project.path).path
    file = second / "images/new.txt"
    assert not file.is_symlink()
    assert file.stat().st_ino != project.object(md5("new")).stat().st_ino
    assert not stat.S_IMODE(file.stat().st_mode) & 0o222
    assert use("brain@v2.0.0", project.path).path == second


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    project: DvcRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(ViewFailed) as refused:
        use("brain@v1.0.0", project.path)
    assert "Free some disk space" in refused.value.hint
    assert list((project.path / ".dvc/cache/mlops_lab/views/brain").iterdir()) == []


def test_two_processes_use_the_same_version_at_once(project: DvcRepository) -> None:
    script = "import sys\nfrom mlops_lab.datasets import use\nprint(use('brain@v1.0.0', sys.argv[1]).path)\n"
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(project.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = {process.communicate(timeout=60)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0] * 4
    assert len(answers) == 1
    view = Path(answers.pop())
    assert content(view) == expected(FIRST)
    assert [path.name for path in view.parent.iterdir()] == [view.name]


def test_the_ledger_is_private_and_a_broken_one_only_costs_time(project: DvcRepository, mlops_home: Path) -> None:
    use("brain@v1.0.0", project.path)
    ledger = mlops_home / "datasets" / "verified.sqlite"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("SELECT count(*) FROM proofs").fetchone() == (3,)
    connection.close()
    ledger.write_bytes(b"this is no database")
    assert content(use("brain@v1.0.0", project.path).path) == expected(FIRST)


def test_objects_of_dvc_2_are_hashed_and_found_as_dvc_2_did(dvc_repo: Factory) -> None:
    repo = dvc_repo()
    windows = b"id,age\r\n1,40\r\n"
    binary = b"\0\1\r\n\2"
    names = [hashlib.md5(windows.replace(b"\r\n", b"\n")).hexdigest(), hashlib.md5(binary).hexdigest()]
    listing = (
        f'[{{"md5": "{names[1]}", "relpath": "image.raw"}}, {{"md5": "{names[0]}", "relpath": "table.csv"}}]'.encode()
    )
    whole = hashlib.md5(listing).hexdigest() + ".dir"
    cache = repo.path / ".dvc" / "cache"
    for name, data in ((names[0], windows), (names[1], binary), (whole, listing)):
        (cache / name[:2]).mkdir(parents=True, exist_ok=True)
        (cache / name[:2] / name[2:]).write_bytes(data)
    repo.write({"old.dvc": f"outs:\n- md5: {whole}\n  size: 19\n  nfiles: 2\n  path: old\n"})
    repo.commit("Made by DVC 2")
    assert resolve("old", repo.path).where == ["cache"]
    assert content(use("old", repo.path).path) == {"image.raw": binary, "table.csv": windows}
    assert verify("old", repo.path) == []
    flip(cache / names[0][:2] / names[0][2:])
    with pytest.raises(CorruptObject, match=r"table\.csv"):
        use("old", repo.path)


@pytest.mark.parametrize("relpath", ["../../escape.txt", "/etc/escape.txt", "a/../../escape.txt", "a//b", ""])
def test_a_list_of_files_that_points_outside_is_refused(dvc_repo: Factory, relpath: str) -> None:
    repo = dvc_repo()
    listing = f'[{{"md5": "{md5("x")}", "relpath": "{relpath}"}}]'.encode()
    whole = hashlib.md5(listing).hexdigest() + ".dir"
    for name, data in ((md5("x"), b"x"), (whole, listing)):
        repo.object(name).parent.mkdir(parents=True, exist_ok=True)
        repo.object(name).write_bytes(data)
    repo.write({"evil.dvc": f"outs:\n- md5: {whole}\n  hash: md5\n  path: evil\n"})
    repo.commit("Hostile")
    assert [d.name for d in read_catalogue(repo.path).datasets] == ["evil"]
    with pytest.raises(UnsafeManifest):
        use("evil", repo.path)
    assert not list(repo.path.parent.rglob("escape.txt"))


@pytest.mark.parametrize("name", ["-rf", "..hidden", "a b ü", "100%"])
def test_strange_dataset_names_make_one_safe_folder(tmp_path: Path, name: str) -> None:
    place = views.place_of(tmp_path, name, "0" * 32)
    assert place.parent.parent == tmp_path / "mlops_lab" / "views"
    assert views.place_of(tmp_path, "a/" + name, "0" * 32).parent.parent == place.parent.parent


def test_dvc_garbage_collection_leaves_views_alone(project: DvcRepository) -> None:
    view = use("brain@v1.0.0", project.path).path
    project.dvc("gc", "--workspace", "--force", "--quiet")
    assert not project.object(md5("image 2")).exists()
    assert content(view) == expected(FIRST)


def test_a_diff_names_changes_with_sizes(project: DvcRepository) -> None:
    found = diff("brain", "v1.0.0", "v2.0.0", project.path)
    assert [change.path for change in found.added] == ["images/new.txt"]
    assert found.removed == []
    (changed,) = found.modified
    assert (changed.path, changed.size_before, changed.size_after) == ("images/sub-02 ü.txt", 7, 18)
    back = diff("brain", "v2.0.0", "v1.0.0", project.path)
    assert [change.path for change in back.removed] == ["images/new.txt"]
    with pytest.raises(UnknownVersion):
        diff("brain", "v1.0.0", "v9.0.0", project.path)


def test_verify_reports_what_the_cache_lacks(project: DvcRepository) -> None:
    assert verify("brain@v1.0.0", project.path) == []
    project.object(md5("image 1")).unlink()
    (problem,) = verify("brain@v1.0.0", project.path)
    assert (problem.path, problem.kind) == ("images/sub-01 scan.txt", "missing")
    assert str(problem).startswith("images/sub-01 scan.txt: missing")


def test_a_missing_object_without_any_list_of_files_is_reported(clone: DvcRepository) -> None:
    assert [problem.kind for problem in verify("brain@v1.0.0", clone.path)] == ["missing"]
    store = objects.ObjectStore(clone.path / ".dvc" / "cache")
    with pytest.raises(MissingObjects):
        store.manifest("0" * 32 + ".dir", False)


def test_abandoned_half_built_views_are_swept(project: DvcRepository) -> None:
    view = use("brain@v1.0.0", project.path).path
    old, young = view.parent / ".building-old", view.parent / ".building-young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    use("brain@v2.0.0", project.path)
    assert not old.exists()
    assert young.exists()


def test_nothing_heavy_is_imported_to_list_and_use(project: DvcRepository) -> None:
    script = textwrap.dedent(
        """
        import sys
        from mlops_lab.datasets import read_catalogue, use
        from mlops_lab.datasets.mlflow_source import source_of
        read_catalogue(sys.argv[1])
        source_of(use("brain@v1.0.0", sys.argv[1]))
        heavy = {"dvc", "mlflow", "torch", "monai", "numpy", "scipy", "pandas", "matplotlib", "pygit2"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(project.path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

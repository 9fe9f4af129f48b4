"""Which files a run really read, against the dataset versions that it was given: real datasets, loaders and readers."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pandas
import pytest
import torch
from monai.data.dataloader import DataLoader as MonaiLoader
from monai.data.dataset import CacheDataset, Dataset, PersistentDataset
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.io.array import LoadImage
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.utility.dictionary import EnsureChannelFirstd, EnsureTyped
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torch.utils.data._utils.collate import default_collate_fn_map

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import Run, track, use_dataset
from mlops_lab.tracking.lineage import seen
from tests.dvc_repositories import DvcRepository, make_repository
from tests.unit.test_tracking_block import tags

ROLES = ("train", "train", "train", "tune", "test", "test")
SUBJECTS = {f"sub-{number}": role for number, role in enumerate(ROLES, 1)}
LOADING = Compose([LoadImaged(keys=["image", "label"]), EnsureChannelFirstd(keys=["image", "label"])])


def image(number: int) -> bytes:
    data = numpy.full((4, 4, 4), number, dtype=numpy.int16)
    encoded: bytes = nibabel.Nifti1Image(data, numpy.eye(4)).to_bytes()
    return encoded


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> DvcRepository:
    """A dataset of six people with roles, version v1; nobody writes into it."""
    repository = make_repository(tmp_path_factory.mktemp("study") / "project")
    files: dict[str, str | bytes] = {
        f"{kind}/{subject}.nii": image(10 * place + number)
        for number, subject in enumerate(SUBJECTS)
        for place, kind in enumerate(("images", "labels"))
    }
    rows = "".join(f"{subject}\t{role}\n" for subject, role in SUBJECTS.items())
    files["participants.tsv"] = f"participant_id\trole\n{rows}"
    repository.save("first", "scans", files)
    repository.git("tag", "v1")
    return repository


@pytest.fixture
def scans(repository: DvcRepository, monkeypatch: pytest.MonkeyPatch, mlops_home: Path) -> DvcRepository:
    """The same, as the current folder."""
    monkeypatch.chdir(repository.path)
    return repository


def items(folder: Path, *roles: str) -> list[dict[str, str]]:
    return [
        {"image": str(folder / "images" / f"{subject}.nii"), "label": str(folder / "labels" / f"{subject}.nii")}
        for subject, role in SUBJECTS.items()
        if role in roles
    ]


def train(loader: Any) -> None:
    network = torch.nn.Conv3d(1, 1, 1)
    for batch in loader:
        pictures = batch["image"] if isinstance(batch, dict) else batch[0]
        network(pictures.float().reshape(-1, 1, 4, 4, 4)).mean().backward()


def look(loader: Any) -> None:
    for _ in loader:
        pass


class Told:
    """What a run said of its files, as the server has it."""

    def __init__(self, server: TrackingServer, run: Run, folder: Path) -> None:
        assert run.run_id
        self.tags = tags(server.get_run(run.run_id))
        self.notices = run.notices
        self.text = ""
        if any(file["path"] == "lineage" for file in server.list_artifacts(run.run_id)):
            self.text = server.download_artifact(run.run_id, "lineage/files.json", folder / "files.json").read_text()
        self.document: dict[str, Any] = json.loads(self.text) if self.text else {}

    @property
    def counts(self) -> tuple[str | None, str | None, str | None]:
        keys = ("mlops_lab.data_seen", "mlops_lab.seen_roles", "mlops_lab.data_outside")
        first, second, third = (self.tags.get(key) for key in keys)
        return first, second, third

    def says(self, words: str) -> bool:
        return any(words in notice for notice in self.notices)


@pytest.fixture
def told(server: TrackingServer, tmp_path: Path) -> Callable[[Run], Told]:
    return lambda run: Told(server, run, tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_files_of_every_batch_are_counted_against_the_declared_version(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, workers: int
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        view = use_dataset("scans@v1")
        loader = MonaiLoader(Dataset(items(view, "train"), LOADING), batch_size=2, num_workers=workers)
        for _ in range(2):
            train(loader)
        look(MonaiLoader(Dataset(items(view, "tune"), LOADING), num_workers=workers))
    found = told(run)
    assert found.counts == ("scans@v1: 8 of 13", "test: 0 of 4, train: 6 of 6, tune: 2 of 2", "0")
    (version,) = found.document["declared"]
    assert version["roles"]["train"] == {"files": 6, "seen": 6, "trained": 6}
    assert version["roles"]["tune"] == {"files": 2, "seen": 2, "trained": 0}
    assert len(version["objects"]) == 8
    assert all(len(md5) == 32 for md5 in version["objects"])
    assert found.document["complete"] is True
    assert "sub-" not in found.text
    assert not found.says("outside")
    assert not found.says("test")


def test_test_files_that_were_trained_on_are_named(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        train(MonaiLoader(Dataset(items(use_dataset("scans@v1"), "train", "test")[:4], LOADING), num_workers=2))
    found = told(run)
    assert found.counts[1] == "test: 2 of 4, train: 6 of 6, tune: 0 of 2"
    assert found.says("2 of 4 test files of scans@v1 were trained on")


def test_test_files_that_were_looked_at_before_the_training_was_over_are_named_too(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        view = use_dataset("scans@v1")
        loader = MonaiLoader(Dataset(items(view, "train"), LOADING))
        for _ in range(2):
            train(loader)
            look(MonaiLoader(Dataset(items(view, "test"), LOADING)))
    found = told(run)
    assert found.says("4 of 4 test files of scans@v1 were looked at before the training was over")
    assert not found.says("trained on")


def test_a_last_test_after_the_training_is_as_it_should_be(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        view = use_dataset("scans@v1")
        train(MonaiLoader(Dataset(items(view, "train"), LOADING)))
        look(MonaiLoader(Dataset(items(view, "test"), LOADING)))
    found = told(run)
    assert found.counts[1] == "test: 4 of 4, train: 6 of 6, tune: 0 of 2"
    assert found.notices == []


def test_an_evaluation_may_read_the_test_files(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        look(MonaiLoader(Dataset(items(use_dataset("scans@v1"), "test"), LOADING)))
    found = told(run)
    assert found.counts[1] == "test: 4 of 4, train: 0 of 6, tune: 0 of 2"
    assert found.notices == []


class Pairs(torch.utils.data.Dataset[Any]):
    """Items in the style of most notebooks: an image with its metadata, and a number."""

    def __init__(self, items: list[dict[str, str]], listed: bool = True) -> None:
        self.files = [item["image"] for item in items] if listed else None
        self.given = lambda: [item["image"] for item in items]
        self.load = LoadImage(ensure_channel_first=True)

    def __len__(self) -> int:
        return len(self.given())

    def __getitem__(self, index: int) -> Any:
        return self.load(self.given()[index]), index


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_that_no_variable_holds_is_seen(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, workers: int
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        dataset = Dataset(items(use_dataset("scans@v1"), "train"), LOADING)
        network = torch.nn.Conv3d(1, 1, 1)
        for batch in MonaiLoader(dataset, batch_size=2, num_workers=workers):
            network(batch["image"].float()).mean().backward()
        for _ in DataLoader(Pairs(items(use_dataset("scans@v1"), "tune")), num_workers=workers):
            pass
    found = told(run)
    assert found.counts == ("scans@v1: 7 of 13", "test: 0 of 4, train: 6 of 6, tune: 1 of 2", "0")
    assert found.document["declared"][0]["roles"]["train"]["trained"] == 6
    assert found.document["complete"] is True


@pytest.mark.parametrize("listed", [True, False])
def test_a_batch_that_names_its_first_file_alone_stands_for_all_of_them(
    told: Callable[[Run], Told],
    experiment: str,
    scans: DvcRepository,
    monkeypatch: pytest.MonkeyPatch,
    listed: bool,
) -> None:
    # MONAI's loaders teach PyTorch's default to keep all names; in a program without one it does not know how.
    monkeypatch.delitem(default_collate_fn_map, MetaTensor, raising=False)
    with track(experiment=experiment, data="scans@v1") as run:
        dataset = Pairs(items(use_dataset("scans@v1"), "train", "tune", "test"), listed)
        train(DataLoader(dataset, batch_size=3, num_workers=1))
    found = told(run)
    assert found.counts[0] == "scans@v1: 6 of 13"  # the workers tell what they open
    trained = sum(role["trained"] for role in found.document["declared"][0]["roles"].values())
    assert trained == (6 if listed else 2)
    assert found.document["complete"] is listed
    assert found.says("do not name all files") is not listed


def read(path: str) -> float:
    return float(nibabel.load(path).get_fdata().mean())


def test_what_a_pool_of_processes_reads_is_seen(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, tmp_path: Path
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        view = use_dataset("scans@v1")
        files = [str(path) for path in sorted(view.glob("images/*.nii"))]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(read, files)
        dataset = persistent(items(view, "train"), tmp_path)
        for _ in range(2):
            look(MonaiLoader(dataset, num_workers=1))
    found = told(run)
    assert found.counts == ("scans@v1: 9 of 13", "test: 2 of 4, train: 6 of 6, tune: 1 of 2", "0")
    assert found.document["complete"] is True


def test_a_version_that_was_used_before_the_block_is_declared_by_reading_it(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    view = use_dataset("scans@v1")
    with track(experiment=experiment) as run:
        train(MonaiLoader(Dataset(items(view, "train"), LOADING), num_workers=1))
    found = told(run)
    assert found.counts == ("scans@v1: 6 of 13", "test: 0 of 4, train: 6 of 6, tune: 0 of 2", "0")
    assert [data.version for data in run.data] == ["v1"]
    assert found.notices == []


def test_files_outside_the_declared_version_are_flagged_and_not_named(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / "ward 7"
    elsewhere.mkdir(parents=True)
    for number in range(3):
        (elsewhere / f"miller-{number}.nii").write_bytes(image(100 + number))
    pandas.DataFrame({"a": [1]}).to_csv(elsewhere / "ages.csv")
    own = [{"image": str(path), "label": str(path)} for path in sorted(elsewhere.glob("*.nii"))]
    with track(experiment=experiment, data="scans@v1") as run:
        view = use_dataset("scans@v1")
        train(MonaiLoader(Dataset([*items(view, "train"), *own], LOADING), num_workers=2))
        pandas.read_csv(elsewhere / "ages.csv")
        # What the run writes itself and reads again is no data of others.
        numpy.save(tmp_path / "mine.npy", numpy.zeros(3))
        numpy.load(tmp_path / "mine.npy")
    found = told(run)
    assert found.counts == ("scans@v1: 6 of 13", "test: 0 of 4, train: 6 of 6, tune: 0 of 2", "4")
    assert found.says(f"4 data files were read outside the declared dataset versions, e.g. 4 in {elsewhere}")
    outside = found.document["outside"]
    assert outside["count"] == 4
    assert sorted(file["suffix"] for file in outside["files"]) == [".csv", ".nii", ".nii", ".nii"]
    assert len({file["md5"] for file in outside["files"]}) == 4
    assert {file["folder"] for file in outside["files"]} == {0}
    assert "miller" not in found.text
    assert "ward" not in found.text


@pytest.mark.parametrize("how", ["link", "symbolic link", "copy"])
def test_a_working_copy_with_the_same_bytes_is_the_declared_version(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, tmp_path: Path, how: str
) -> None:
    place = tmp_path / "working copy"
    (place / "images").mkdir(parents=True)
    view = use_dataset("scans@v1")
    for subject in SUBJECTS:
        name = f"images/{subject}.nii"
        if how == "link":
            (place / name).hardlink_to(view / name)
        elif how == "symbolic link":
            (place / name).symlink_to(view / name)
        else:
            shutil.copy2(view / name, place / name)
    with track(experiment=experiment, data="scans@v1") as run:
        for path in sorted(place.rglob("*.nii")):
            LoadImage()(path)
    found = told(run)
    assert found.counts == ("scans@v1: 6 of 13", "test: 2 of 4, train: 3 of 6, tune: 1 of 2", "0")
    assert found.document["declared"][0]["read_elsewhere"] == 6
    assert found.notices == []


def test_a_copy_that_is_too_large_to_be_compared_is_said(
    told: Callable[[Run], Told],
    experiment: str,
    scans: DvcRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlops_lab.tracking.lineage.outside.LARGEST", 10)
    shutil.copy2(use_dataset("scans@v1") / "images/sub-1.nii", tmp_path / "copy.nii")
    with track(experiment=experiment, data="scans@v1") as run:
        LoadImage()(tmp_path / "copy.nii")
    found = told(run)
    assert found.counts[2] == "1"
    assert found.says("1 too large or too late to be compared by content")


def test_a_declared_version_of_which_nothing_is_read_shows_it(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        seen.watch(run)
    assert told(run).counts == ("scans@v1: 0 of 13", "test: 0 of 4, train: 0 of 6, tune: 0 of 2", "0")


def test_without_a_declared_version_the_data_files_are_counted_and_the_way_is_shown(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    with track(experiment=experiment) as run:
        train(MonaiLoader(Dataset(items(scans.path / "scans", "train"), LOADING), num_workers=2))
    found = told(run)
    assert found.counts == (None, None, "6")
    assert found.says("6 data files were read and no dataset version was declared")
    assert found.says("a working copy of the dataset scans")
    assert found.says("--data")


def test_a_run_that_reads_no_data_says_nothing(told: Callable[[Run], Told], experiment: str, mlops_home: Path) -> None:
    with track(experiment=experiment) as run:
        seen.watch(run)
        train(DataLoader([(torch.rand(1, 4, 4, 4), 1)] * 3))
    found = told(run)
    assert found.counts == (None, None, None)
    assert found.text == ""
    assert found.notices == []


def test_a_version_that_is_declared_after_it_was_read_is_known_all_the_same(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    view = use_dataset("scans@v1")
    with track(experiment=experiment) as run:
        for item in items(view, "train"):
            nibabel.load(item["image"]).get_fdata()
        use_dataset("scans@v1")
    assert told(run).counts == ("scans@v1: 3 of 13", "test: 0 of 4, train: 3 of 6, tune: 0 of 2", "0")


class Folder(torch.utils.data.Dataset[Any]):
    """In the style of torchvision's ImageFolder: paths in a list, plain tensors as items."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.samples = [(str(path), 0) for path in sorted(root.glob("images/*.nii"))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        data = numpy.asarray(nibabel.load(self.samples[index][0]).dataobj)
        return torch.from_numpy(data.copy()), self.samples[index][1]


class Table(torch.utils.data.Dataset[Any]):
    """A class as people write it: names in a table, the folder beside it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "images"
        self.rows = pandas.DataFrame({"file": sorted(path.name for path in self.folder.iterdir()), "age": 50})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        data = numpy.asarray(nibabel.load(self.folder / self.rows["file"][index]).dataobj)
        return torch.from_numpy(data.copy()), 1


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (Folder, 6),
        (Table, 6),
        (lambda view: Subset(Folder(view), [0, 2, 4]), 3),
        (lambda view: ConcatDataset([Subset(Folder(view), [0]), Subset(Folder(view), [5])]), 2),
    ],
    ids=["samples", "table", "subset", "concatenation"],
)
def test_batches_without_names_are_told_by_the_datasets_own_list(
    told: Callable[[Run], Told],
    experiment: str,
    scans: DvcRepository,
    make: Callable[[Path], Any],
    count: int,
) -> None:
    with track(experiment=experiment, data="scans@v1") as run:
        train(DataLoader(make(use_dataset("scans@v1")), num_workers=2))
    found = told(run)
    assert found.counts[0] == f"scans@v1: {count} of 13"
    assert sum(role["trained"] for role in found.document["declared"][0]["roles"].values()) == count
    assert found.says("test files of scans@v1 were trained on")


def cached(files: list[dict[str, str]], folder: Path) -> Any:
    return CacheDataset(files, LOADING, progress=False)


def cached_without_names(files: list[dict[str, str]], folder: Path) -> Any:
    plain = EnsureTyped(keys=["image", "label"], track_meta=False)
    return CacheDataset(files, Compose([LOADING, plain]), progress=False)


def persistent(files: list[dict[str, str]], folder: Path) -> Any:
    return PersistentDataset(files, LOADING, cache_dir=folder / "cache")


@pytest.mark.parametrize("make", [cached, cached_without_names, persistent])
def test_data_that_was_cached_in_an_earlier_cell_is_seen(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, tmp_path: Path, make: Callable[..., Any]
) -> None:
    dataset = make(items(use_dataset("scans@v1"), "train"), tmp_path)
    look(MonaiLoader(dataset))
    with track(experiment=experiment, data="scans@v1") as run:
        train(MonaiLoader(dataset, batch_size=2))
    assert told(run).counts == ("scans@v1: 6 of 13", "test: 0 of 4, train: 6 of 6, tune: 0 of 2", "0")


def test_more_files_than_can_be_kept_are_said(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_lab.tracking.lineage.seen.MOST_FILES", 4)
    with track(experiment=experiment, data="scans@v1") as run:
        look(MonaiLoader(Dataset(items(use_dataset("scans@v1"), "train"), LOADING), num_workers=2))
    found = told(run)
    assert found.counts[0] == "scans@v1: 4 of 13"
    assert found.document["complete"] is False
    assert found.says("More files were read")


def test_a_code_that_changes_its_folder_reads_what_it_reads(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = use_dataset("scans@v1")
    with track(experiment=experiment, data="scans@v1") as run:
        monkeypatch.chdir(view / "images")
        nibabel.load("sub-1.nii").get_fdata()
        monkeypatch.chdir(view / "labels")
        nibabel.load("sub-1.nii").get_fdata()
    assert told(run).counts[0] == "scans@v1: 2 of 13"


def test_a_dataset_of_one_file_is_seen(
    told: Callable[[Run], Told],
    experiment: str,
    dvc_repo: Callable[..., DvcRepository],
    monkeypatch: pytest.MonkeyPatch,
    mlops_home: Path,
) -> None:
    repository = dvc_repo()
    repository.write({"ages.csv": "a,b\n1,2\n"})
    repository.add("ages.csv")
    repository.commit("first")
    repository.git("tag", "v1")
    monkeypatch.chdir(repository.path)
    with track(experiment=experiment, data="ages.csv@v1") as run:
        pandas.read_csv(use_dataset("ages.csv@v1"))
    assert told(run).counts == ("ages.csv@v1: 1 of 1", None, "0")


def test_the_switch_of_the_captures_switches_it_off(
    told: Callable[[Run], Told], experiment: str, scans: DvcRepository
) -> None:
    with track(experiment=experiment, capture=["torch"]) as run:
        nibabel.load(scans.path / "scans/images/sub-1.nii").get_fdata()
    assert told(run).counts == (None, None, None)

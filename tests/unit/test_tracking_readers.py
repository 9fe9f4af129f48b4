"""The doors through which files come into a program, each watched inside a block and left as it was after it."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy
import pandas
from monai.transforms.io.array import LoadImage
from PIL import Image

from mlops_lab.tracking import track
from mlops_lab.tracking.lineage import seen


def written(folder: Path) -> Iterator[tuple[Path, Callable[[Path], object]]]:
    """Files of many kinds, and how each is read."""
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(numpy.zeros((2, 2, 2)), numpy.eye(4)), folder / "a.nii.gz")
    yield folder / "a.nii.gz", lambda path: nibabel.load(path).get_fdata()
    yield folder / "a.nii.gz", lambda path: LoadImage(reader="NibabelReader")(path)
    Image.new("L", (4, 4)).save(folder / "b.png")
    yield folder / "b.png", lambda path: numpy.asarray(Image.open(path))
    yield folder / "b.png", lambda path: Image.open(path.open("rb")).load()
    yield folder / "b.png", lambda path: LoadImage(reader="PILReader")(path)
    numpy.save(folder / "c.npy", numpy.zeros(3))
    yield folder / "c.npy", numpy.load
    yield folder / "c.npy", lambda path: numpy.load(path, mmap_mode="r").sum()
    yield folder / "c.npy", lambda path: LoadImage(reader="NumpyReader")(path)
    numpy.savez(folder / "d.npz", x=numpy.zeros(3))
    yield folder / "d.npz", lambda path: numpy.load(path)["x"]
    numpy.savetxt(folder / "e.txt", numpy.zeros((2, 2)))
    yield folder / "e.txt", numpy.loadtxt
    yield folder / "e.txt", numpy.genfromtxt
    pandas.DataFrame({"a": [1]}).to_csv(folder / "f.csv")
    yield folder / "f.csv", pandas.read_csv
    yield folder / "f.csv", lambda path: pandas.read_csv(path, engine="python")
    yield folder / "f.csv", lambda path: list(csv.DictReader(path.open()))
    pandas.DataFrame({"a": [1]}).to_json(folder / "g.json")
    yield folder / "g.json", pandas.read_json


def test_every_reader_of_the_field_is_seen_at_its_door(mlops_home: Path, tmp_path: Path) -> None:
    for number, (path, read) in enumerate(list(written(tmp_path / "files"))):
        with track(offline=True) as run:
            book = seen.watch(run)
            read(path)
        assert [file.path for file in book.outside.files.values()] == [str(path)], f"reader {number} of {path.name}"


def test_what_the_block_wrote_itself_is_not_data_from_elsewhere(mlops_home: Path, tmp_path: Path) -> None:
    with track(offline=True) as run:
        book = seen.watch(run)
        for path, read in list(written(tmp_path / "files")):
            read(path)
    assert book.outside.files == {}
    assert len(book.outside.made) == 7


def test_what_a_reader_writes_is_not_read(tmp_path: Path, mlops_home: Path) -> None:
    with track(offline=True) as run:
        book = seen.watch(run)
        book.outside._began += 3600  # so that a file of this moment would count
        list(written(tmp_path / "files"))
    assert book.outside.files == {}


def test_files_of_installed_packages_are_no_data(mlops_home: Path) -> None:
    (path, *_) = sorted(Path(nibabel.__file__).parent.glob("tests/data/*.nii.gz"))
    with track(offline=True) as run:
        book = seen.watch(run)
        nibabel.load(path).get_fdata()
    assert book.outside.files == {}


def test_a_readers_function_can_be_pickled_in_a_block_and_everything_is_as_before_after_it(mlops_home: Path) -> None:
    held = (numpy.load, pandas.read_csv, Image.open, nibabel.load, csv.DictReader, numpy.loadtxt)
    doors = [
        (nibabel.openers.Opener, "__init__"),
        (numpy.lib.format, "read_array"),
        (csv, "reader"),
        (LoadImage, "__call__"),
    ]
    before = [vars(owner)[name] for owner, name in doors]
    with track(offline=True):
        for function in held:
            assert pickle.loads(pickle.dumps(function)) is function
        opener = nibabel.openers.Opener
        assert vars(opener)["__init__"] is not before[0], "the door is watched"
    assert [vars(owner)[name] for owner, name in doors] == before

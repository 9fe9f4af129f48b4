"""A bundle really trains: on a small dataset, deterministically, quietly, and with plain errors."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.training import recipe, run_bundle
from mlops_lab.training.errors import DatalistError, TrainingError

SMALL = {"max_epochs": 2, "batch_size": 4, "roi_size": 32}


def write_dataset(folder: Path, *, values: int = 3, shape: tuple[int, ...] = (40, 48)) -> Path:
    """Write discs on noise: what is bright is class 1, what is very bright is class 2."""
    import nibabel
    import numpy as np

    random = np.random.default_rng(5)
    roles = ["train"] * 4 + ["tune"] * 2 + ["test"] * 2
    rows = ["participant_id\trole"]
    for number, role in enumerate(roles):
        name = f"case-{number}"
        rows.append(f"{name}\t{role}")
        y, x = np.mgrid[: shape[0], : shape[1]]
        radius = np.hypot(y - random.integers(12, 28), x - random.integers(12, 36))
        disc = ((radius < 10).astype(np.uint8) + (radius < 5)) % values
        label = np.broadcast_to(disc.reshape(*disc.shape, *(1 for _ in shape[2:])), shape)
        image = label * 100 + random.normal(0, 10, label.shape)
        for kind, pixels in (("image", image.astype(np.float32)), ("label", label)):
            nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), folder / f"{name}_{kind}.nii.gz")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("discs"))


def train(dataset: Path, output: Path, **settings: Any) -> dict[str, Any]:
    """Train and give the weights that were kept."""
    import torch

    output.mkdir()
    run_bundle(recipe("segmentation_2d"), dataset_dir=dataset, output_dir=output, **(SMALL | settings))
    weights: dict[str, Any] = torch.load(output / "model.pt", weights_only=True)
    return weights


def test_the_same_seed_gives_the_same_network_and_another_seed_another(dataset: Path, tmp_path: Path) -> None:
    import torch

    first = train(dataset, tmp_path / "a", seed=3)
    again = train(dataset, tmp_path / "b", seed=3)
    other = train(dataset, tmp_path / "c", seed=4)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("network", ["UNet", "AttentionUnet", "SegResNet"])
def test_every_network_of_the_form_trains(dataset: Path, tmp_path: Path, network: str) -> None:
    assert train(dataset, tmp_path / "out", network=network, max_epochs=1)


def test_it_is_an_ordinary_bundle_that_monai_itself_runs(dataset: Path, tmp_path: Path) -> None:
    from monai.bundle import run

    config = recipe("segmentation_2d") / "configs" / "train.yaml"
    output = tmp_path / "not yet there"
    run(config_file=str(config), dataset_dir=str(dataset), output_dir=str(output), **SMALL)
    assert (output / "model.pt").is_file()


def test_slices_stored_with_a_third_axis_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert train(write_dataset(tmp_path / "data", shape=(40, 48, 1)), tmp_path / "out", max_epochs=1)


def test_it_writes_nothing_on_the_screen(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_bundle(recipe("segmentation_2d"), dataset_dir=dataset, **SMALL)
    assert capfd.readouterr() == ("", "")


def test_it_leaves_the_process_as_it_was(dataset: Path) -> None:
    import torch

    threads, folder = torch.get_num_threads(), Path.cwd()
    run_bundle(recipe("segmentation_2d"), dataset_dir=dataset, **SMALL)
    assert torch.get_num_threads() == threads
    assert not torch.backends.cudnn.deterministic
    assert Path.cwd() == folder


def test_nothing_is_written_beside_the_data(dataset: Path) -> None:
    before = sorted(os.listdir(dataset))
    run_bundle(recipe("segmentation_2d"), dataset_dir=dataset, **SMALL)
    assert sorted(os.listdir(dataset)) == before


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dataset_dir": "/nowhere"}, "has no participants.tsv"),
        ({"num_classes": 2}, "holds the value 2, which is none of the 2 classes"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_in_one_sentence(
    dataset: Path, settings: dict[str, Any], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DatalistError, match=sentence) as refusal:
        run_bundle(recipe("segmentation_2d"), **({"dataset_dir": dataset} | SMALL | settings))
    assert refusal.value.__suppress_context__
    assert capfd.readouterr().out == ""


def test_volumes_are_refused_by_name_and_shape(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, shape=(40, 12, 4))
    with pytest.raises(DatalistError, match=r"case-\d_image\.nii\.gz is not a 2D image.*40 x 12 x 4"):
        run_bundle(recipe("segmentation_2d"), dataset_dir=data, **SMALL)


def test_a_setting_that_the_bundle_lacks_is_refused(dataset: Path) -> None:
    with pytest.raises(TrainingError, match="no setting 'max_epoch'"):
        run_bundle(recipe("segmentation_2d"), dataset_dir=dataset, max_epoch=1)


@pytest.mark.parametrize("text", ["$__import__('os').abort()", "@seed", "%other.yaml"])
def test_a_text_is_never_run_as_code(dataset: Path, text: str) -> None:
    with pytest.raises(TrainingError, match="run it as code"):
        run_bundle(recipe("segmentation_2d"), dataset_dir=dataset, network=text)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not a MONAI bundle"):
        run_bundle(tmp_path)


def test_an_interrupted_training_leaves_the_process_as_it_was(dataset: Path, tmp_path: Path) -> None:
    import torch

    threads, before = torch.get_num_threads(), signal.signal(signal.SIGINT, signal.default_int_handler)
    over = threading.Event()

    def interrupt_once_it_trains() -> None:
        while not over.wait(0.05):
            if (tmp_path / "model.pt").exists():
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt_once_it_trains)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_bundle(
                recipe("segmentation_2d"), dataset_dir=dataset, output_dir=tmp_path, **(SMALL | {"max_epochs": 100000})
            )
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGINT, before)
    assert torch.get_num_threads() == threads

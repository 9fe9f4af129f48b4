"""Validation in the style of MONAI's tutorials leaves one row per case, under the hash of the case's image."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader, Dataset, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.inferers import SlidingWindowInferer, sliding_window_inference
from monai.metrics import (
    ConfusionMatrixMetric,
    Cumulative,
    DiceMetric,
    FBetaScore,
    HausdorffDistanceMetric,
    ROCAUCMetric,
)
from monai.transforms import (
    Activations,
    AsDiscrete,
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
)

from mlops_lab.tracking import Run, track
from mlops_lab.tracking.capture.monai import cases, hashes
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Artifact
from mlops_lab.tracking.options import TrackOptions


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


def block() -> Any:
    return track(experiment="cases", offline=True)


def tables(run: Run) -> dict[str, list[dict[str, str]]]:
    """Read the case tables of a run, by metric."""
    found = {}
    for record, _ in segments.read(run.folder):
        if isinstance(record, Artifact) and record.folder == "cases":
            text = (run.folder / record.file).read_text()
            found[record.name.removesuffix(".csv")] = list(csv.DictReader(io.StringIO(text)))
    return found


def md5(path: str | Path) -> str:
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


HITS = (8, 6, 4, 2)
"""Voxels of 8 that a perfect copy of the image finds in each of the four cases."""
DICE = [2 * hit / (hit + 8) for hit in HITS]


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, str]]:
    """Four cases: an image that shows the prediction, and a label with 8 voxels."""
    found = []
    for number, hit in enumerate(HITS):
        truth, image = np.zeros((8, 8, 4), np.float32), np.zeros((8, 8, 4), np.float32)
        truth[number, :, 0] = 1
        image[number, :hit, 0] = 1
        pair = {}
        for name, array in (("image", image), ("label", truth)):
            pair[name] = str(tmp_path / f"NHS123_{name}_{number}.nii.gz")
            nib.save(nib.Nifti1Image(array, np.eye(4)), pair[name])
        found.append(pair)
    return found


LOAD = [LoadImaged(keys=["image", "label"]), EnsureChannelFirstd(keys=["image", "label"])]


def net(image: torch.Tensor) -> torch.Tensor:
    """A network that sees exactly what is bright: logits of background and foreground."""
    return torch.cat([0.5 - image, image - 0.5], 1)


post_pred = Compose([Activations(softmax=True), AsDiscrete(argmax=True, to_onehot=2)])
post_label = AsDiscrete(to_onehot=2)


def validate(loader: Any, *metrics: Any, window: bool = True) -> list[Any]:
    """Evaluate as the tutorials do."""
    with torch.no_grad():
        for batch in loader:
            images, labels = batch["image"], batch["label"]
            outputs = sliding_window_inference(images, (4, 4, 4), 2, net) if window else net(images)
            predictions = [post_pred(i) for i in decollate_batch(outputs)]
            truths = [post_label(i) for i in decollate_batch(labels)]
            for metric in metrics:
                metric(y_pred=predictions, y=truths)
    results = [metric.aggregate() for metric in metrics]
    for metric in metrics:
        metric.reset()
    return results


def test_each_case_has_its_row_under_the_hash_of_its_image(files: list[dict[str, str]], tmp_path: Path) -> None:
    loader = DataLoader(CacheDataset(files, transform=Compose(LOAD), progress=False), batch_size=3)
    dice_metric = DiceMetric(include_background=False, reduction="mean", get_not_nans=True)
    hausdorff = HausdorffDistanceMetric(include_background=False, percentile=95)
    with block() as run:
        validate(loader, dice_metric, hausdorff)
    found = tables(run)
    assert set(found) == {"dice", "hausdorff"}
    assert list(found["dice"][0]) == ["case", "aggregation", "epoch", "value"]
    assert [row["case"] for row in found["dice"]] == [md5(pair["image"]) for pair in files]
    assert [float(row["value"]) for row in found["dice"]] == pytest.approx(DICE)
    assert [row["case"] for row in found["hausdorff"]] == [md5(pair["image"]) for pair in files]
    everything = "".join(path.read_text(errors="replace") for path in run.folder.rglob("*") if path.suffix == ".csv")
    assert "NHS123" not in everything


def test_every_epoch_is_an_aggregation_and_classes_are_columns(files: list[dict[str, str]]) -> None:
    class_names = ["background", "lesion"]
    loader = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=1)
    dice_metric = DiceMetric(include_background=True, reduction="mean_batch")
    with block() as run:
        for _ in range(2):
            validate(loader, dice_metric, window=False)
    rows = tables(run)["dice"]
    assert list(rows[0])[3:] == class_names
    assert [row["aggregation"] for row in rows] == ["1"] * 4 + ["2"] * 4
    assert [float(row["lesion"]) for row in rows[4:]] == pytest.approx(DICE)
    assert [row["case"] for row in rows[:4]] == [row["case"] for row in rows[4:]]


def test_two_results_of_the_same_rows_are_one_aggregation(files: list[dict[str, str]]) -> None:
    loader = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=4)
    dice_metric = DiceMetric(include_background=False)
    with block() as run:
        for batch in loader:
            dice_metric(net(batch["image"]).argmax(1, keepdim=True), batch["label"])
        dice_metric.aggregate()
        dice_metric.aggregate("mean_batch")
    assert len(tables(run)["dice"]) == 4


def test_a_missing_and_an_empty_label_stay_what_they_are(files: list[dict[str, str]]) -> None:
    empty = dict(files[0])
    image = nib.load(empty["label"])
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), np.eye(4)), empty["label"])
    loader = DataLoader(Dataset([empty, files[1]], transform=Compose(LOAD)), batch_size=1)
    dice_metric = DiceMetric(include_background=False)
    hausdorff = HausdorffDistanceMetric(include_background=False)
    with block() as run:
        validate(loader, dice_metric, hausdorff)
    assert tables(run)["dice"][0]["value"] == "NaN"
    assert tables(run)["hausdorff"][0]["value"] in ("NaN", "inf")


def test_plain_tensors_are_found_through_the_batch_and_through_an_unshuffled_dataset(
    files: list[dict[str, str]],
) -> None:
    plain = EnsureTyped(keys=["image", "label"], track_meta=False)
    images = [md5(pair["image"]) for pair in files]
    untracked = DataLoader(Dataset(files, transform=Compose([*LOAD, plain])), batch_size=2)
    metas = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=2, shuffle=True)
    dice_metric = DiceMetric(include_background=False)
    shuffled_metric = DiceMetric(include_background=False)
    with block() as run:
        for batch in untracked:
            dice_metric(net(batch["image"]).argmax(1, keepdim=True), batch["label"])
        for batch in metas:
            prediction = net(batch["image"].as_tensor()).argmax(1, keepdim=True)
            shuffled_metric(prediction, batch["label"].as_tensor())
        dice_metric.aggregate()
        shuffled_metric.aggregate()
    assert [row["case"] for row in tables(run)["dice"]] == images
    rows = {row["case"]: float(row["value"]) for row in tables(run)["shuffled"]}
    assert rows == dict(zip(images, [pytest.approx(value) for value in DICE], strict=True))


def test_data_without_files_are_numbered_by_the_dataset_where_nothing_is_shuffled() -> None:
    data = torch.utils.data.TensorDataset(torch.rand(5, 1, 4, 4), torch.ones(5, 1, 4, 4))
    in_order = torch.utils.data.DataLoader(data, batch_size=2)
    shuffled = torch.utils.data.DataLoader(data, batch_size=2, shuffle=True)
    dice_metric, other_metric = DiceMetric(), DiceMetric()
    with block() as run:
        for loader, metric in ((in_order, dice_metric), (shuffled, other_metric)):
            for image, label in loader:
                metric((image > 0.5).float(), label)
            metric.aggregate()
    assert [row["case"] for row in tables(run)["dice"]] == [f"index:{number}" for number in range(5)]
    assert [row["case"] for row in tables(run)["other"]] == [f"row:{number}" for number in range(1, 6)]


def test_predictions_that_were_read_from_files_count_for_the_label_of_their_case(
    files: list[dict[str, str]], tmp_path: Path
) -> None:
    pairs = [{"pred": pair["image"], "label": pair["label"]} for pair in files]
    keys = ["pred", "label"]
    loader = DataLoader(Dataset(pairs, transform=Compose([LoadImaged(keys), EnsureChannelFirstd(keys)])), batch_size=1)
    dice_metric = DiceMetric()
    with block() as run:
        for batch in loader:
            dice_metric(y_pred=batch["pred"], y=batch["label"])
        dice_metric.aggregate()
    assert [row["case"] for row in tables(run)["dice"]] == [md5(pair["label"]) for pair in files]


def test_a_classification_keeps_what_was_predicted_and_what_was_true(files: list[dict[str, str]]) -> None:
    class_names = ["healthy", "ill"]
    loader = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=2)
    auc_metric = ROCAUCMetric()
    one_hot = AsDiscrete(to_onehot=2)
    with block() as run:
        for batch in loader:
            score = batch["image"].sum((1, 2, 3, 4)) / 8
            ill = torch.tensor([[1], [0]])
            auc_metric([torch.stack([1 - s, s]) for s in score], [one_hot(i) for i in ill])
        auc_metric.aggregate()
    rows = tables(run)["auc"]
    assert list(rows[0])[3:] == [f"{part}_{name}" for part in ("prediction", "label") for name in class_names]
    assert [float(row["prediction_ill"]) for row in rows] == [1.0, 0.75, 0.5, 0.25]
    assert [float(row["label_ill"]) for row in rows] == [1.0, 0.0, 1.0, 0.0]
    assert [row["case"] for row in rows] == [md5(pair["image"]) for pair in files]


def test_a_confusion_matrix_gives_the_measures_of_each_case(files: list[dict[str, str]]) -> None:
    loader = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=1)
    confusion = ConfusionMatrixMetric(include_background=False, metric_name=["sensitivity", "precision"])
    with block() as run:
        validate(loader, confusion)
    rows = tables(run)["confusion"]
    assert [float(row["sensitivity"]) for row in rows] == [hit / 8 for hit in HITS]
    assert [float(row["precision"]) for row in rows] == [1.0] * 4


def test_what_a_metric_counts_per_case_is_named() -> None:
    class_names = ["background", "liver", "tumour"]
    assert class_names
    ones = torch.ones(2, 3, 4, 4)
    fbeta = FBetaScore(reduction="mean_batch")
    hd95 = HausdorffDistanceMetric(include_background=True, percentile=95, reduction="mean_channel")
    with block() as run:
        fbeta(ones, ones)
        fbeta.aggregate()
        hd95(torch.cat([ones, ones[:1]]), torch.cat([ones, ones[:1]]))
        hd95.aggregate()
    row = tables(run)["fbeta"][0]
    assert (row["tp_liver"], row["fp_liver"]) == ("16.0", "0.0")
    assert "hd95" in run.progress().metrics
    assert "hd95_liver" not in run.progress().metrics, "a mean over the classes has a value per case, not per class"


def test_a_metric_of_the_users_own_has_cases_too(files: list[dict[str, str]]) -> None:
    class Bright(Cumulative):
        def aggregate(self) -> Any:
            return self.get_buffer().mean()

    loader = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=1)
    bright_metric = Bright()
    with block() as run:
        for batch in loader:
            bright_metric.append(batch["image"].sum())
        bright_metric.aggregate()
    assert [float(row["value"]) for row in tables(run)["bright"]] == list(HITS)
    assert [row["case"] for row in tables(run)["bright"]] == [md5(pair["image"]) for pair in files]


def test_the_cases_of_an_evaluator_have_the_name_and_the_epoch_of_its_metric(files: list[dict[str, str]]) -> None:
    post = Compose([AsDiscreted(keys="pred", argmax=True, to_onehot=2), AsDiscreted(keys="label", to_onehot=2)])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=2),
        network=Bright(),
        inferer=SlidingWindowInferer((4, 4, 4), 2),
        postprocessing=post,
        key_val_metric={
            "val_mean_dice": MeanDice(include_background=False, output_transform=from_engine(["pred", "label"]))
        },
    )
    weight = torch.ones(1, requires_grad=True)
    trainer = Engine(lambda engine, batch: (weight * batch).sum().backward())
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda engine: evaluator.run())
    with block() as run:
        trainer.run([1.0], max_epochs=4)
    rows = tables(run)["val_mean_dice"]
    assert [(row["aggregation"], row["epoch"]) for row in rows] == [("1", "2")] * 4 + [("2", "4")] * 4
    assert [row["case"] for row in rows[:4]] == [md5(pair["image"]) for pair in files]
    assert [float(row["value"]) for row in rows[4:]] == pytest.approx(DICE)


class Bright(torch.nn.Module):
    """The network of these tests as a module."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return net(image)


def test_without_the_option_there_are_no_cases(files: list[dict[str, str]]) -> None:
    loader = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=2)
    dice_metric = DiceMetric(include_background=False)
    with track(experiment="cases", offline=True, cases=False) as run:
        [value] = validate(loader, dice_metric)
    assert run.options == TrackOptions(cases=False)
    assert tables(run) == {}
    assert float(value) == pytest.approx(sum(DICE) / 4)


def test_results_are_the_same_with_and_without_us(files: list[dict[str, str]]) -> None:
    loader = DataLoader(Dataset(files, transform=Compose(LOAD)), batch_size=2)
    metrics = [DiceMetric(include_background=False), HausdorffDistanceMetric(include_background=False)]
    torch.manual_seed(1)
    before = validate(loader, *metrics)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    with block():
        assert torch.equal(torch.stack(validate(loader, *metrics)), torch.stack(before))
        assert torch.equal(torch.rand(1), drawn)


def test_of_very_many_rows_the_last_the_best_and_the_worst_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MOST_ROWS", 6)
    dice_metric = DiceMetric()
    with block() as run:
        for level in (0.25, 1.0, 0.0, 0.5, 0.75):
            truth = torch.ones(2, 1, 4, 4)
            guess = torch.zeros(2, 1, 4, 4)
            guess[:, :, :, : int(4 * level)] = 1
            dice_metric(guess, truth)
            dice_metric.aggregate()
            dice_metric.reset()
    rows = tables(run)["dice"]
    assert [row["aggregation"] for row in rows] == ["2", "2", "3", "3", "5", "5"]
    assert any("the best and the worst" in notice for notice in run.notices)


def test_files_that_are_gone_or_too_slow_are_numbered_and_said(
    files: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = DataLoader(CacheDataset(files, transform=Compose(LOAD), progress=False), batch_size=4)
    Path(files[1]["image"]).unlink()
    dice_metric = DiceMetric(include_background=False)
    with block() as run:
        validate(loader, dice_metric)
    found = [row["case"] for row in tables(run)["dice"]]
    assert found == [md5(files[0]["image"]), "row:2", md5(files[2]["image"]), md5(files[3]["image"])]
    assert any("1 of 4 images could not be read" in notice for notice in run.notices)


# Hashes


def test_temporary_files_have_their_hash_although_their_folder_is_removed(tmp_path: Path) -> None:
    known = hashes.Hashes()
    with tempfile.TemporaryDirectory() as folder:
        images = [Path(folder) / f"image{number}.nii.gz" for number in range(3)]
        for image in images:
            image.write_bytes(image.name.encode())
        known.ask(map(str, images))
    found = known.tell(map(str, images), patience=10)
    assert found == {str(image): hashlib.md5(image.name.encode()).hexdigest() for image in images}


def test_a_file_of_a_dataset_version_has_the_hash_that_the_version_gives_it(tmp_path: Path) -> None:
    entries = [{"md5": "0" * 31 + "1", "relpath": "sub/image.nii.gz"}]
    manifest = json.dumps(entries).encode()
    name = hashlib.md5(manifest, usedforsecurity=False).hexdigest()
    place = tmp_path / "files" / "md5" / name[:2] / f"{name[2:]}.dir"
    place.parent.mkdir(parents=True)
    place.write_bytes(manifest)
    view = tmp_path / "mlops_lab" / "views" / "brain" / f"{name}.dir" / "sub" / "image.nii.gz"
    assert hashes.of_view(str(view)) == "0" * 31 + "1", "no byte is read: the file is not even there"
    assert hashes.of_view(str(view.with_name("other.nii"))) is None
    single = tmp_path / "mlops_lab" / "views" / "ct" / ("a" * 32) / "ct.nii"
    assert hashes.of_view(str(single)) == "a" * 32
    assert hashes.of_view(str(tmp_path / "image.nii.gz")) is None


def test_a_changed_file_is_hashed_anew_and_a_folder_as_dvc_does(tmp_path: Path) -> None:
    known = hashes.Hashes()
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    assert known.tell([str(file)], 20) == {str(file): md5(file)}
    file.write_bytes(b"two!")
    assert known.tell([str(file)], 20) == {str(file): md5(file)}
    series = tmp_path / "series"
    series.mkdir()
    for name in ("b.dcm", "a.dcm"):
        (series / name).write_bytes(name.encode())
    listed = [{"md5": md5(series / name), "relpath": name} for name in ("a.dcm", "b.dcm")]
    expected = hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    assert known.tell([str(series)], 20) == {str(series): f"{expected}.dir"}


def test_what_cannot_be_read_has_no_hash_and_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert hashes.Hashes().tell([str(pipe), str(tmp_path / "missing")], 20) == {}

"""What lands on the server from code that nobody wrote for us; each pattern says itself what it has computed.

All of them run in one kernel, one after another, as in a notebook that grows over a day.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import errors, pairs, runs_by_name, text
from tests.patterns import cells

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("patterns")]

PATTERNS = {
    "plain_loop": "",
    "mixed_precision": "--grad-norm",
    "adversarial": "",
    "supervised_trainer": "",
    "evaluation_only": "",
    "second_order": "",
    "regions": "",
    "classification": "",
    "self_supervised": "",
    "ignite_engine": "",
    "bundle": "",
    "folds": "",
    "script": "",
}
"""The patterns, and what their magic is given besides a name."""
EXPECTED = "data files were read and no dataset version was declared"
"""What a cell may say; everything else would be one notice too many."""


@dataclass
class Landed:
    """One run as the server tells it, and what the notebook printed of its own values."""

    server: TrackingServer
    run: dict[str, Any]
    printed: dict[str, Any]
    folder: Path
    status: str = field(init=False)
    params: dict[str, str] = field(init=False)
    metrics: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.status = self.run["info"]["status"]
        self.params = pairs(self.run, "params")
        self.metrics = {name: float(value) for name, value in pairs(self.run, "metrics").items()}

    def series(self, name: str) -> list[float]:
        """Give the values of a metric by step."""
        query = {"run_id": self.run["info"]["run_id"], "metric_key": name, "max_results": 25000}
        points = self.server.get("metrics/get-history", query)["metrics"]
        return [float(point["value"]) for point in sorted(points, key=lambda point: int(point.get("step", 0)))]

    def files(self, folder: str = "") -> set[str]:
        """Give the paths of all artifacts."""
        found: set[str] = set()
        for entry in self.server.list_artifacts(self.run["info"]["run_id"], folder):
            found |= self.files(entry["path"]) if entry.get("is_dir") else {entry["path"]}
        return found

    def read(self, path: str) -> str:
        """Give the text of an artifact."""
        return self.server.download_artifact(
            self.run["info"]["run_id"], path, self.folder / Path(path).name
        ).read_text()

    def pipeline(self, loader: str) -> list[str]:
        """Give the names of the transforms of a loader, in order."""
        steps = yaml.safe_load(self.read(f"transforms/{loader}.yaml"))["transforms"]
        return [step if isinstance(step, str) else next(iter(step)) for step in steps]

    def cases(self, metric: str) -> list[dict[str, str]]:
        """Give the rows of a table of cases."""
        return list(csv.DictReader(self.read(f"cases/{metric}.csv").splitlines()))


@pytest.fixture(scope="module")
def notebook(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Run all patterns; gives the executed cells of each."""
    folder = tmp_path_factory.mktemp("patterns")
    chosen = {
        name: cells(name, f"%%mlops_track --experiment patterns --run-name {name} {given}")
        for name, given in PATTERNS.items()
    }
    sources = ["%load_ext mlops_lab", *cells("data")]
    first = len(sources)
    for pattern in chosen.values():
        sources += pattern
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = NotebookClient(
        made, kernel_name="python3", timeout=180, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, "MLFLOW_TRACKING_URI": mlflow_server, "MLOPS_LAB_HOME": str(folder / "home")})
    found = {}
    for name, pattern in chosen.items():
        found[name] = made.cells[first : first + len(pattern)]
        first += len(pattern)
    return found


@pytest.fixture
def land(notebook: dict[str, list[Any]], server: TrackingServer, tmp_path: Path) -> Callable[[str], Landed]:
    """Gives what landed of a pattern that came to its end and said nothing that nobody expects."""

    def found(name: str) -> Landed:
        failed = [error.evalue for cell in notebook[name] for error in errors(cell)]
        assert not failed
        shown = next(
            output.data["text/plain"]
            for cell in notebook[name]
            for output in cell.outputs
            if "%%mlops_track" in cell.source and "text/html" in output.get("data", {})
        )
        notices = [line for line in shown.splitlines()[1:] if EXPECTED not in line]
        assert notices == []
        printed = json.loads(text(notebook[name][-1]).splitlines()[-1])
        return Landed(server, runs_by_name(server, "patterns")[name], printed, tmp_path)

    return found


def near(values: Any) -> Any:
    return pytest.approx(values, rel=1e-5)


def params_of(landed: Landed, wanted: dict[str, str]) -> dict[str, str | None]:
    """Give the params of a run that are named in `wanted`, to be compared with it."""
    return {name: landed.params.get(name) for name in wanted}


def test_a_plain_loop(land: Any) -> None:
    landed = land("plain_loop")

    assert landed.status == "FINISHED"
    assert landed.series("train_loss") == near(landed.printed["losses"])
    assert landed.series("train_loss_epoch") == near(landed.printed["epochs"])
    assert landed.series("epoch") == [1, 2, 3]
    assert max(landed.series("dice")) == near(landed.printed["best"])
    assert set(landed.series("lr")) == {1e-2}
    wanted = {
        "max_epochs": "3",
        "val_interval": "1",
        "loss_function": "DiceLoss",
        "loss_function.sigmoid": "True",
        "optimizer": "Adam",
        "optimizer.lr": "0.01",
        "network": "UNet",
        "network.spatial_dims": "3",
        "network.strides": "(2,)",
        "seed": "7",
        "train_loader.batch_size": "2",
        "train_dataset.size": "5",
        "val_dataset.size": "3",
    }
    assert params_of(landed, wanted) == wanted
    assert {"cell.py", "checkpoints/best_metric_model.pth", "model/network.txt"} <= landed.files()
    assert landed.pipeline("train") == ["LoadImaged", "EnsureChannelFirstd", "ScaleIntensityd", "RandFlipd"]
    assert landed.pipeline("val") == ["LoadImaged", "EnsureChannelFirstd", "ScaleIntensityd"]
    assert len(landed.cases("dice")) == 3 * 3


def test_mixed_precision_with_accumulation_and_a_scheduler(land: Any) -> None:
    landed = land("mixed_precision")

    assert landed.series("train_loss") == pytest.approx(landed.printed["losses"], rel=1e-2)
    assert landed.series("lr") == near(landed.printed["rates"])
    assert len(landed.series("grad_norm")) == len(landed.printed["losses"])
    wanted = {
        "loss_function": "DiceCELoss",
        "optimizer": "AdamW",
        "optimizer.weight_decay": "1e-05",
        "scheduler": "CosineAnnealingLR",
        "scheduler.T_max": "6",
    }
    assert params_of(landed, wanted) == wanted


def test_two_networks_with_an_optimizer_each(land: Any) -> None:
    landed = land("adversarial")

    assert landed.series("train_loss_d") == near(landed.printed["d"])
    assert landed.series("train_loss_g") == near(landed.printed["g"])
    assert (landed.params["optimizer_d.lr"], landed.params["optimizer_g.lr"]) == ("0.0001", "0.0002")
    assert {"network", "network_2"} <= landed.params.keys()


def test_an_engine(land: Any) -> None:
    landed = land("supervised_trainer")

    assert len(landed.series("train_loss")) == landed.printed["iterations"]
    assert landed.series("val_mean_dice")[-1] == near(landed.printed["dice"])
    wanted = {
        "max_epochs": "2",
        "network": "SegResNet",
        "network.init_filters": "8",
        "val_mean_dice.class": "DiceMetric",
        "val_mean_dice.include_background": "True",
    }
    assert params_of(landed, wanted) == wanted
    assert "val_mean_dice.num_classes" not in landed.params


def test_an_evaluation_without_training(land: Any) -> None:
    landed = land("evaluation_only")

    assert landed.metrics["dice"] == near(landed.printed["dice"])
    assert landed.metrics["surface_distance"] == near(landed.printed["hd95"])
    assert "train_loss" not in landed.metrics
    assert [float(row["value"]) for row in landed.cases("dice")] == near(landed.printed["cases"])
    assert (landed.params["network"], landed.params["network.channels"]) == ("UNet", "(4, 8)")


def test_an_optimizer_that_asks_for_the_loss_itself(land: Any) -> None:
    landed = land("second_order")

    assert landed.series("train_loss") == near(landed.printed["losses"])
    assert landed.params["optimizer"] == "LBFGS"
    assert landed.params["loss_function"] == "mse_loss"


def test_classes_that_only_the_code_gives_a_name(land: Any) -> None:
    landed = land("regions")

    assert landed.series("dice_batch_tc") == near(landed.printed["tc"])
    assert landed.series("dice_batch_et")[-1] == near(landed.printed["et"])
    assert landed.series("dice")[-1] == near(landed.printed["dice"])
    assert {"tc", "wt", "et"} <= landed.cases("dice")[0].keys()
    assert landed.series("lr") == near([1e-4, 5e-5])
    assert landed.pipeline("train")[-1] == "ConvertToRegionsd"
    assert (landed.params["train_dataset"], landed.params["network.blocks_down"]) == ("PersistentDataset", "[1, 1]")


def test_a_classification_with_a_dataset_of_the_users_own(land: Any) -> None:
    landed = land("classification")

    assert landed.series("auc") == near(landed.printed["aucs"])
    named = [f"confusion_sensitivity_{name}" for name in ("AbdomenCT", "CXR", "Hand")]
    assert [landed.metrics[name] for name in named] == pytest.approx(landed.printed["sensitivity"], nan_ok=True)
    assert {"prediction_Hand", "label_Hand"} <= landed.cases("auc")[0].keys()
    wanted = {
        "train_dataset": "MedNISTDataset",
        "loss_function": "CrossEntropyLoss",
        "loss_function.label_smoothing": "0.1",
        "optimizer.momentum": "0.9",
    }
    assert params_of(landed, wanted) == wanted
    dataset = yaml.safe_load(landed.read("transforms/val.yaml"))
    assert dataset["arguments"] == {"image_files": "list(3)", "labels": "list(3)"}


def test_a_loss_of_two_parts_and_a_choice_between_transforms(land: Any) -> None:
    landed = land("self_supervised")

    assert landed.series("train_loss") == near(landed.printed["total"])
    assert landed.series("train_loss_r") == near(landed.printed["recon"])
    assert landed.series("train_loss_cl") == near(landed.printed["contrastive"])
    assert landed.params["loss_function_contrastive.temperature"] == "0.05"
    pipeline = yaml.safe_load(landed.read("transforms/train.yaml"))["transforms"]
    (choice,) = [step["OneOf"] for step in pipeline if "OneOf" in step]
    assert [step["RandCoarseDropoutd"]["dropout_holes"] for step in choice["transforms"]] == [True, False]


def test_ignites_own_engines_and_a_handler_that_would_begin_a_run_of_its_own(land: Any) -> None:
    landed = land("ignite_engine")

    assert landed.series("Mean_Dice") == near(landed.printed["dices"])
    assert len(landed.series("train_loss")) == len(landed.series("Loss")) == landed.printed["iterations"]
    assert landed.printed["begun"] == 0
    assert len(landed.cases("Mean_Dice")) == 2 * 3
    assert "checkpoints/net_checkpoint_6.pt" in landed.files()


def test_a_bundle(land: Any) -> None:
    landed = land("bundle")

    assert landed.series("val_mean_dice")[-1] == near(landed.printed["dice"])
    wanted = {
        "bundle": "Sphere segmentation",
        "bundle.version": "0.3.1",
        "bundle.max_epochs": "2",
        "bundle.learning_rate": "0.002",
        "bundle.ckpt_dir": "./models",
        "optimizer.lr": "0.002",
        "network.channels": "[4, 8]",
        "seed": "123",
    }
    assert params_of(landed, wanted) == wanted
    assert not {"bundle.run", "bundle.initialize", "bundle.imports", "bundle.images"} & landed.params.keys()
    config = yaml.safe_load(landed.read("bundle/config.yaml"))
    assert config["train"]["trainer"]["max_epochs"] == 2
    assert config["train"]["trainer"]["optimizer"]["lr"] == 0.002
    assert yaml.safe_load(landed.read("bundle/evaluated.yaml"))["ckpt_dir"] == "./models"
    assert "checkpoints/model.pt" in landed.files()


def test_folds_in_one_cell(land: Any) -> None:
    landed = land("folds")

    last = [landed.series(name)[-1] for name in ("val_mean_dice", "val_mean_dice_2")]
    assert last == near(landed.printed["dices"])
    assert landed.series("epoch") == [1, 2, 3, 4]
    assert not [name for name in landed.params if name.startswith(("network_2", "optimizer_2"))]


def test_a_script_whose_data_are_gone_when_it_ends(land: Any) -> None:
    landed = land("script")

    assert landed.series("train_loss") == near(landed.printed["losses"])
    assert max(landed.series("dice")) == near(landed.printed["best"])
    assert len({row["case"] for row in landed.cases("dice")}) == 2
    assert all(len(row["case"]) == 32 for row in landed.cases("dice"))
    assert (landed.params["train_dataset.size"], landed.params["val_dataset.size"]) == ("2", "2")
    assert landed.params["network.num_res_units"] == "2"

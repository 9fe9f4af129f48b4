"""What lands on the server from code that nobody wrote for us; each notebook says itself what it has computed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.connection.rest import TrackingServer
from tests.notebook.notebooks import Run, text
from tests.patterns import cells


@dataclass
class Landed:
    """One run as the server tells it, and what the notebook printed of its own values."""

    server: TrackingServer
    run: dict[str, Any]
    printed: dict[str, Any]
    status: str = field(init=False)
    params: dict[str, str] = field(init=False)
    metrics: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.status = self.run["info"]["status"]
        self.params = {item["key"]: item["value"] for item in self.run["data"].get("params", [])}
        self.metrics = {item["key"]: float(item["value"]) for item in self.run["data"].get("metrics", [])}

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

    def read(self, path: str, folder: Path) -> str:
        """Give the text of an artifact."""
        return self.server.download_artifact(self.run["info"]["run_id"], path, folder / Path(path).name).read_text()


@pytest.fixture
def train(run_notebook: Run, server: TrackingServer, tmp_path: Path) -> Any:
    """Run a pattern's notebook and give what landed."""

    def run(name: str, options: str = "") -> Landed:
        experiment = tmp_path.name
        magic = f"%%mlops_track --experiment {experiment} --run-name {name} {options}"
        notebook = run_notebook("%load_ext mlops_lab", *cells(name, magic))
        (found,) = server.post("runs/search", {"experiment_ids": [server.ensure_experiment(experiment)]})["runs"]
        return Landed(server, found, json.loads(text(notebook.cells[-1]).splitlines()[-1]))

    return run


def near(values: list[float]) -> Any:
    return pytest.approx(values, rel=1e-5)


def test_a_plain_loop(train: Any, tmp_path: Path) -> None:
    landed = train("plain_loop")

    assert landed.status == "FINISHED"
    assert landed.series("train_loss") == near(landed.printed["losses"])
    assert landed.series("train_loss_epoch") == near(landed.printed["epochs"])
    assert landed.series("epoch") == [1, 2, 3]
    assert max(landed.series("dice")) == pytest.approx(landed.printed["best"], rel=1e-5)
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
    assert {name: landed.params.get(name) for name in wanted} == wanted
    files = landed.files()
    assert {"cell.py", "checkpoints/best_metric_model.pth", "transforms/train.yaml", "transforms/val.yaml"} <= files
    assert "RandFlipd" in landed.read("transforms/train.yaml", tmp_path)
    assert "RandFlipd" not in landed.read("transforms/val.yaml", tmp_path)
    assert len(landed.read("cases/dice.csv", tmp_path).splitlines()) >= 1 + 3


def test_mixed_precision_with_accumulation_and_a_scheduler(train: Any) -> None:
    landed = train("mixed_precision", "--grad-norm")

    assert landed.series("train_loss") == pytest.approx(landed.printed["losses"], rel=1e-2)
    assert landed.series("lr") == near(landed.printed["rates"])
    assert len(landed.series("grad_norm")) == len(landed.printed["losses"])
    assert landed.params["loss_function"] == "DiceCELoss"
    assert (landed.params["optimizer"], landed.params["optimizer.weight_decay"]) == ("AdamW", "1e-05")


def test_two_networks_with_an_optimizer_each(train: Any) -> None:
    landed = train("adversarial")

    assert landed.series("train_loss_d") == near(landed.printed["d"])
    assert landed.series("train_loss_g") == near(landed.printed["g"])


def test_an_engine(train: Any) -> None:
    landed = train("supervised_trainer")

    assert len(landed.series("train_loss")) == landed.printed["iterations"]
    assert landed.series("val_mean_dice")[-1] == pytest.approx(landed.printed["dice"], rel=1e-5)
    assert landed.params["network"] == "SegResNet"
    assert landed.params["network.init_filters"] == "8"


def test_an_evaluation_without_training(train: Any, tmp_path: Path) -> None:
    landed = train("evaluation_only")

    assert landed.metrics["dice"] == pytest.approx(landed.printed["dice"], rel=1e-5)
    assert landed.metrics["surface_distance"] == pytest.approx(landed.printed["hd95"], rel=1e-5)
    assert "train_loss" not in landed.metrics
    assert len(landed.read("cases/dice.csv", tmp_path).splitlines()) == 1 + len(landed.printed["cases"])


def test_an_optimizer_that_asks_for_the_loss_itself(train: Any) -> None:
    landed = train("second_order")

    assert landed.series("train_loss") == near(landed.printed["losses"])
    assert landed.params["optimizer"] == "LBFGS"
    assert landed.params["loss_function"] == "mse_loss"

"""Lightning, scikit-learn and xgboost in a block: recorded by MLflow's autologging, into our run, and then let go."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mlops_lab import wire
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import Run, track
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Artifact, Metric, Param, Tag
from tests.conftest import missing
from tests.unit.test_tracking_block import history


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Journals and files of these tests stay in the test's folder; MLflow is told nothing beyond a test."""
    monkeypatch.chdir(tmp_path)
    yield
    import mlflow

    mlflow.set_tracking_uri(None)


@pytest.fixture
def lightning() -> Any:
    """Lightning, where it is installed."""
    if importlib.util.find_spec("lightning") is None:
        missing("Lightning", "pip install lightning")
    return importlib.import_module("lightning")


@pytest.fixture
def xgboost() -> Any:
    """xgboost, where it is installed."""
    if importlib.util.find_spec("xgboost") is None:
        missing("xgboost", "pip install xgboost-cpu")
    return importlib.import_module("xgboost")


def block(**options: Any) -> Any:
    return track(experiment="autolog", offline=True, **options)


def points(run: Run) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record, _ in segments.read(run.folder):
        if isinstance(record, Metric):
            found.setdefault(record.key, []).append((record.step, wire.from_number(record.value)))
    return found


def texts(run: Run, kind: type[Param] | type[Tag]) -> dict[str, str]:
    return {record.key: record.value for record, _ in segments.read(run.folder) if isinstance(record, kind)}


def files(run: Run) -> set[str]:
    records = [record for record, _ in segments.read(run.folder) if isinstance(record, Artifact)]
    return {f"{record.folder}/{record.name}".lstrip("/") for record in records}


def attributes(*owners: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(owner).items() if "slotnames" not in name} for owner in owners]


def patients() -> tuple[Any, Any]:
    from sklearn.datasets import load_breast_cancer

    data, labels = load_breast_cancer(return_X_y=True)
    return data[:120, :5], labels[:120]


def test_an_estimator_is_in_the_run_and_scikit_learn_is_as_it_was(server: TrackingServer, experiment: str) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    classes = (RandomForestClassifier, LogisticRegression, LogisticRegression.__mro__[-2])
    before = attributes(*classes)
    with track(experiment=experiment) as run:
        model = LogisticRegression(C=0.5, max_iter=2000).fit(*patients())
    assert run.run_id
    stored = server.get_run(run.run_id)
    assert {param["key"]: param["value"] for param in stored["data"]["params"]}["C"] == "0.5"
    ((step, score),) = history(server, run.run_id, "training_score")
    assert (step, score) == (0, pytest.approx(model.score(*patients())))
    assert {entry["path"] for entry in server.list_artifacts(run.run_id)} >= {"estimator.html"}
    assert attributes(*classes) == before


def test_nothing_is_switched_on_by_scores_and_preparations() -> None:
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    data, labels = patients()
    with block() as run:
        scaled = StandardScaler().fit_transform(data)
        assert roc_auc_score(labels, -scaled[:, 0]) > 0.5
        from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

        assert not AUTOLOGGING_INTEGRATIONS.get("sklearn")
    assert "training_score" not in points(run)


def test_what_a_fit_gives_is_the_same_with_and_without_a_block() -> None:
    import numpy as np
    from sklearn.linear_model import SGDClassifier

    def fit() -> Any:
        np.random.seed(3)
        model = SGDClassifier().fit(*patients())
        return model.coef_.tobytes(), np.random.random()

    plain = fit()
    with block():
        assert fit() == plain


OWN_SETTING = """
import mlflow, mlops_lab
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

def fitted():
    with mlops_lab.track(experiment="own", offline=True) as run:
        LogisticRegression().fit(*make_classification())
        SETTING
    return "training_score" in run.progress().metrics
"""


@pytest.mark.parametrize(
    ("setting", "check"),
    [
        ("mlflow.sklearn.autolog(disable=True)\nprint(fitted())", "False"),
        (
            "print(fitted(), AUTOLOGGING_INTEGRATIONS['sklearn']['log_post_training_metrics'], "
            "hasattr(LogisticRegression.fit, '__wrapped__'))",
            "True False True",
        ),
    ],
    ids=["before", "inside"],
)
def test_the_users_own_setting_wins_and_stays(setting: str, check: str) -> None:
    inside = "mlflow.sklearn.autolog(log_models=False, log_post_training_metrics=False)"
    program = OWN_SETTING.replace("SETTING", inside if check.startswith("True") else "pass") + setting
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().splitlines()[-1] == check


def test_a_search_has_its_trials_as_runs_below(server: TrackingServer, experiment: str) -> None:
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    with track(experiment=experiment) as run:
        GridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=2).fit(*patients())
    found = server.experiment_by_name(experiment)
    assert found is not None
    assert run.run_id
    trials = [
        item
        for item in server.search_runs([found["experiment_id"]])["runs"]
        if {"key": "mlflow.parentRunId", "value": run.run_id} in item["data"]["tags"]
    ]
    assert len(trials) == 2
    assert all(trial["info"]["status"] == "FINISHED" for trial in trials)
    assert all("mean_test_score" in {metric["key"] for metric in trial["data"]["metrics"]} for trial in trials)


def test_boosting_rounds_are_points_and_the_model_stays_here(xgboost: Any) -> None:
    data, labels = patients()
    before = attributes(xgboost, xgboost.sklearn, xgboost.DMatrix, xgboost.XGBClassifier, xgboost.XGBModel)
    with block() as run:
        matrix = xgboost.DMatrix(data, label=labels)
        settings = {"objective": "binary:logistic", "eval_metric": "logloss", "max_depth": 2}
        xgboost.train(settings, matrix, 4, evals=[(matrix, "train")], verbose_eval=False)
    assert [step for step, _ in points(run)["train-logloss"]] == [0, 1, 2, 3]
    assert texts(run, Param)["max_depth"] == "2"
    assert not any("model" in name for name in files(run))
    assert attributes(xgboost, xgboost.sklearn, xgboost.DMatrix, xgboost.XGBClassifier, xgboost.XGBModel) == before


def test_boosting_by_the_estimator_is_recorded_as_well(xgboost: Any) -> None:
    with block() as run:
        xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(*patients())
    assert texts(run, Param)["max_depth"] == "2"
    assert texts(run, Param)["num_boost_round"] == "3"


def module_of(lightning: Any) -> Any:
    """A network as it is written for Lightning."""

    class Net(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def loss(self, batch: Any) -> Any:
            return self.layer(batch[0]).pow(2).mean()

        def training_step(self, batch: Any, number: int) -> Any:
            loss = self.loss(batch)
            self.log("train_loss", loss)
            self.log("twice", loss * 2)
            return loss

        def validation_step(self, batch: Any, number: int) -> None:
            self.log("val_loss", self.loss(batch))

        def test_step(self, batch: Any, number: int) -> None:
            self.log("test_loss", self.loss(batch))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    torch.manual_seed(0)
    return Net()


def loader(size: int = 16) -> Any:
    data: Any = torch.utils.data.TensorDataset(torch.ones(size, 4))
    return torch.utils.data.DataLoader(data, batch_size=4)


def trainer_of(lightning: Any, **options: Any) -> Any:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return lightning.Trainer(max_epochs=3, accelerator="cpu", **{**quiet, **options})


def test_a_lightning_module_is_recorded_once_and_its_trainer_keeps_nothing_of_ours(lightning: Any) -> None:
    before = attributes(lightning.Trainer)
    trainer = trainer_of(lightning)
    with block() as run:
        net = module_of(lightning)
        trainer.fit(net, loader(), loader(8))
        trainer.validate(net, loader(8), verbose=False)
        trainer.test(net, loader(12), verbose=False)
    found = points(run)
    settings = texts(run, Param)
    # One optimizer, although Lightning puts one of its own around it.
    assert {name for name in found if name.startswith("lr")} == {"lr"}
    assert {name for name in settings if name.startswith("optimizer")} == {
        "optimizer",
        "optimizer.lr",
        "optimizer_name",
    }
    # Nobody has a name for these loaders but Lightning.
    sizes = {name: value for name, value in settings.items() if name.endswith("dataset.size")}
    assert sizes == {"train_dataset.size": "16", "val_dataset.size": "8", "test_dataset.size": "12"}
    assert not [name for name in settings if name.startswith("loader")]
    steps = [name for name, series in found.items() if name.startswith("train_loss") and len(series) == 12]
    assert len(steps) == 1
    assert [step for step, _ in found["val_loss"]] == [0, 1, 2, 3]
    assert [step for step, _ in found["twice"]] == [0, 1, 2]
    assert len(found["test_loss"]) == 1
    assert texts(run, Param)["optimizer_name"] == "Adam"
    assert any(name.startswith("checkpoints/epoch=2") for name in files(run))
    assert not any(name.startswith("model/") and not name.endswith(".txt") for name in files(run))
    assert attributes(lightning.Trainer) == before
    assert not any("mlflow" in type(callback).__module__ for callback in trainer.callbacks)


def test_a_segmentation_as_monais_tutorial_writes_it_for_lightning(lightning: Any, tmp_path: Path) -> None:
    import pytorch_lightning as pl
    from monai.data import DataLoader, Dataset, decollate_batch
    from monai.losses import DiceLoss
    from monai.metrics import DiceMetric
    from monai.networks.nets import UNet
    from monai.transforms import AsDiscrete, Compose

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self._model = UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,))
            self.loss_function = DiceLoss(to_onehot_y=True, softmax=True)
            self.post_pred = Compose([AsDiscrete(argmax=True, to_onehot=2)])
            self.post_label = Compose([AsDiscrete(to_onehot=2)])
            self.dice_metric = DiceMetric(include_background=False, reduction="mean")
            self.losses: list[float] = []
            self.dice: list[float] = []

        def forward(self, x: Any) -> Any:
            return self._model(x)

        def train_dataloader(self) -> Any:
            return DataLoader(self.data, batch_size=2)

        def val_dataloader(self) -> Any:
            return DataLoader(self.data, batch_size=1)

        def prepare_data(self) -> None:
            images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
            self.data = Dataset([{"image": image, "label": (image > 0.5).float()} for image in images])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self._model.parameters(), 1e-2)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss_function(self.forward(batch["image"]), batch["label"])
            self.losses.append(loss.item())
            return {"loss": loss, "log": {"train_loss": loss.item()}}

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            outputs = [self.post_pred(item) for item in decollate_batch(self.forward(batch["image"]))]
            labels = [self.post_label(item) for item in decollate_batch(batch["label"])]
            self.dice_metric(y_pred=outputs, y=labels)

        def on_validation_epoch_end(self) -> None:
            mean = self.dice_metric.aggregate().item()
            self.dice_metric.reset()
            self.dice.append(mean)
            self.log("val_dice", mean)

    torch.manual_seed(0)
    with block() as run:
        net = Net()
        keep = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "logs", filename="best_metric_model", monitor="val_dice")
        quiet: dict[str, Any] = {
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "accelerator": "cpu",
        }
        pl.Trainer(max_epochs=3, num_sanity_val_steps=1, callbacks=[keep], **quiet).fit(net)
    found = points(run)
    assert [value for _, value in found["train_loss"]] == pytest.approx(net.losses, rel=1e-5)
    assert [value for _, value in found["val_dice"]] == pytest.approx(net.dice[1:], rel=1e-5)
    # The module's own methods are called train_dataloader and val_dataloader.
    sizes = {name: value for name, value in texts(run, Param).items() if name.endswith("loader.batch_size")}
    assert sizes == {"train_loader.batch_size": "2", "val_loader.batch_size": "1"}
    assert texts(run, Param)["optimizer_name"] == "Adam"
    assert any(name.startswith("checkpoints/best_metric_model") for name in files(run))


def test_lightning_learns_the_same_with_and_without_a_block(lightning: Any) -> None:
    def learn() -> tuple[bytes, float]:
        net = module_of(lightning)
        trainer_of(lightning, enable_checkpointing=False).fit(net, loader(), loader())
        return net.layer.weight.detach().numpy().tobytes(), float(torch.rand(1))

    plain = learn()
    with block():
        assert learn() == plain


def test_an_evaluation_alone_is_recorded(lightning: Any) -> None:
    with block() as run:
        trainer_of(lightning).validate(module_of(lightning), loader(), verbose=False)
        trainer_of(lightning).test(module_of(lightning), loader(), verbose=False)
    assert len(points(run)["val_loss"]) == 1
    assert len(points(run)["test_loss"]) == 1


def test_lightnings_tensorboard_logger_adds_no_second_series(lightning: Any, tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        missing("tensorboard", "pip install tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(str(tmp_path / "events"))
    with block() as run:
        trainer_of(lightning, logger=logger, log_every_n_steps=1).fit(module_of(lightning), loader(), loader())
    assert [step for step, _ in points(run)["val_loss"]] == [0, 1, 2]
    assert any((tmp_path / "events").rglob("events.out*"))


def test_lightnings_mlflow_logger_writes_to_the_blocks_run(
    server: TrackingServer, experiment: str, lightning: Any
) -> None:
    from lightning.pytorch.loggers import MLFlowLogger

    logger = MLFlowLogger(experiment_name=experiment, tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    with track(experiment=experiment) as run:
        trainer_of(lightning, logger=logger, log_every_n_steps=1).fit(module_of(lightning), loader(), loader())
    assert run.run_id
    found = server.experiment_by_name(experiment)
    assert found is not None
    assert [item["info"]["run_id"] for item in server.search_runs([found["experiment_id"]])["runs"]] == [run.run_id]
    assert len(history(server, run.run_id, "val_loss")) == 3
    assert server.get_run(run.run_id)["info"]["status"] == "FINISHED"
    assert logger._run_id is None

"""The transforms of every dataset that was iterated over, and the configuration of a bundle, as artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import CacheDataset, DataLoader, Dataset, PersistentDataset, ThreadDataLoader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Lambdad,
    LoadImaged,
    OneOf,
    RandFlipd,
    RandGaussianNoised,
    ScaleIntensityd,
)
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from mlops_lab.tracking import track
from mlops_lab.tracking.capture import construction
from tests.unit.captured import artifacts, params, points


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> Iterator[None]:
    """Journals of these tests stay in the test's folder; constructors are watched, as after ``%load_ext``."""
    construction.arm()
    yield
    construction.disarm()


def block(**options: Any) -> Any:
    return track(experiment="monai", offline=True, **options)


def files(folder: Path, count: int = 2) -> list[dict[str, str]]:
    found = []
    for number in range(count):
        np.save(folder / f"image_{number}.npy", np.full((4, 4), number + 1.0, dtype=np.float32))
        found.append({"image": str(folder / f"image_{number}.npy")})
    return found


def pipeline() -> Compose:
    return Compose(
        [
            LoadImaged(keys="image"),
            EnsureChannelFirstd(keys="image", channel_dim="no_channel"),
            OneOf([RandFlipd(keys="image", prob=0.5, spatial_axis=0), RandGaussianNoised(keys="image", std=0.1)]),
            Lambdad(keys="image", func=brighter),
            ScaleIntensityd(keys="image"),
        ]
    )


def brighter(image: Any) -> Any:
    return image + 1


EXPECTED = [
    {"LoadImaged": {"keys": "image"}},
    {"EnsureChannelFirstd": {"keys": "image", "channel_dim": "no_channel"}},
    {
        "OneOf": {
            "transforms": [
                {"RandFlipd": {"keys": "image", "prob": 0.5, "spatial_axis": 0}},
                {"RandGaussianNoised": {"keys": "image", "std": 0.1}},
            ]
        }
    },
    {"Lambdad": {"keys": "image", "func": "brighter"}},
    {"ScaleIntensityd": {"keys": "image"}},
]


def test_the_pipeline_of_a_loader_is_an_artifact(tmp_path: Path) -> None:
    train_ds = CacheDataset(files(tmp_path), transform=pipeline(), cache_rate=1.0, progress=False)
    train_loader = DataLoader(train_ds, batch_size=2)
    with block() as run:
        for _ in range(2):
            assert [batch["image"].shape for batch in train_loader] == [(2, 1, 4, 4)]
    text = artifacts(run)["transforms/train.yaml"]
    assert yaml.safe_load(text) == {
        "dataset": "CacheDataset",
        "arguments": {"data": "list(2)", "cache_rate": 1.0, "progress": False},
        "transforms": EXPECTED,
    }
    assert str(tmp_path) not in text
    with block() as again:
        list(train_loader)
    assert artifacts(again)["transforms/train.yaml"] == text


def test_pipelines_inside_of_other_datasets_are_found(tmp_path: Path) -> None:
    inner = PersistentDataset(files(tmp_path), transform=pipeline(), cache_dir=tmp_path / "cache")
    val_ds = ConcatDataset([Subset(inner, [0]), Dataset(files(tmp_path), transform=pipeline())])
    val_loader = ThreadDataLoader(val_ds, batch_size=1, num_workers=0)
    with block() as run:
        assert len(list(val_loader)) == 3
    found = yaml.safe_load(artifacts(run)["transforms/val.yaml"])
    assert found["dataset"] == "ConcatDataset"
    subset, plain = found["datasets"]
    assert subset["datasets"][0]["dataset"] == "PersistentDataset"
    assert subset["datasets"][0]["transforms"] == EXPECTED
    assert plain["transforms"] == EXPECTED


def test_transforms_of_the_users_own_and_functions_are_named() -> None:
    class Brighter:
        def __init__(self, by: float) -> None:
            self.by = by

        def __call__(self, data: Any) -> Any:
            return data + self.by

    class Numbers(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self, transform: Any, target_transform: Any) -> None:
            self.transform = transform
            self.target_transform = target_transform

        def __len__(self) -> int:
            return 2

        def __getitem__(self, at: int) -> Any:
            return self.transform(torch.tensor(float(at)))

    loader = torch.utils.data.DataLoader(Numbers(Compose([Brighter(0.5), brighter]), lambda x: x))
    with block() as run:
        list(loader)
    found = yaml.safe_load(next(text for name, text in artifacts(run).items() if name.startswith("transforms/")))
    assert found["transforms"] == [{"Brighter": {"by": 0.5}}, "brighter"]
    assert found["target_transform"] == ["<lambda>"]


def test_a_dataset_as_torchvision_writes_them_has_each_of_its_transforms_once() -> None:
    class Pair:
        def __init__(self, transform: Any, target_transform: Any) -> None:
            self.transform = transform
            self.target_transform = target_transform

        def __call__(self, image: Any, target: Any) -> Any:
            return self.transform(image), self.target_transform(target)

    class Folder(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self, root: str, transform: Any) -> None:
            self.root = root
            self.transform = transform
            self.target_transform = float
            self.transforms = Pair(transform, float)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, at: int) -> Any:
            return self.transforms(torch.zeros(1), 0)

    train_loader = torch.utils.data.DataLoader(Folder("/data/anna", nn.Sequential(nn.Dropout(0.5))))
    with block() as run:
        list(train_loader)
    found = yaml.safe_load(artifacts(run)["transforms/train.yaml"])
    assert found == {
        "dataset": "Folder",
        "arguments": {"root": "<path>"},
        "transforms": [{"Sequential": {"args": ["Dropout"]}}],
        "target_transform": ["float"],
    }


def test_data_without_transforms_gives_no_artifact() -> None:
    loader = torch.utils.data.DataLoader(TensorDataset(torch.zeros(3, 1)))
    with block() as run:
        list(loader)
    assert not [name for name in artifacts(run) if name.startswith("transforms/")]


# Bundles

CONFIG = """
max_epochs: 3
rate: 0.5
steps: "$@max_epochs * 2"
limit: "@max_epochs"
net:
  _target_: torch.nn.Linear
  in_features: 2
  out_features: 1
optimizer:
  _target_: torch.optim.SGD
  params: "$@net.parameters()"
  lr: "@rate"
loop: "$[(@net(torch.ones(1, 2)).sum().backward(), @optimizer.step()) for _ in range(@steps)]"
run:
  - "$@loop"
"""


def test_a_bundle_workflow_leaves_its_configuration(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "train.yaml").write_text(CONFIG)
    (configs / "metadata.json").write_text(json.dumps({"name": "tiny", "version": "0.2.1"}))
    with block() as run:
        workflow = ConfigWorkflow(str(configs / "train.yaml"), logging_file=False, workflow_type=None, max_epochs=4)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    config = yaml.safe_load(artifacts(run)["bundle/config.yaml"])
    assert config["limit"] == 4, "a reference to a plain value is resolved"
    assert config["optimizer"] == {"_target_": "torch.optim.SGD", "params": "$@net.parameters()", "lr": 0.5}
    assert config["steps"] == "$@max_epochs * 2", "an expression stays what it is"
    assert yaml.safe_load(artifacts(run)["bundle/evaluated.yaml"])["steps"] == 8
    found = params(run)
    assert found["bundle"] == "tiny"
    assert found["bundle.version"] == "0.2.1"
    assert found["bundle.max_epochs"] == "4"
    assert found["bundle.steps"] == "8"
    assert found["network"] == "Linear"
    assert sum(name == "train_loss" for name, _, _ in points(run)) == 8


def test_a_bundle_that_fails_leaves_its_configuration_too(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text('rate: 0.5\nrun:\n  - "$1 / 0"\n')
    with block() as run:
        workflow = ConfigWorkflow(str(tmp_path / "train.yaml"), logging_file=False, workflow_type=None)
        workflow.initialize()
        with pytest.raises(RuntimeError):
            workflow.run()
    assert yaml.safe_load(artifacts(run)["bundle/config.yaml"])["rate"] == 0.5


def test_a_configuration_that_the_user_parses_is_kept_although_its_parser_is_gone(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(CONFIG)

    def train() -> None:
        parser = ConfigParser()
        parser.read_config(str(tmp_path / "train.yaml"))
        parser["max_epochs"] = 1
        parser.get_parsed_content("loop")

    with block() as run:
        train()
    config = yaml.safe_load(artifacts(run)["bundle/config.yaml"])
    assert (config["max_epochs"], config["optimizer"]["lr"]) == (1, 0.5)
    assert params(run)["bundle.rate"] == "0.5"
    assert not {"bundle.run", "bundle.loop"} & params(run).keys(), "code is no setting"


def test_what_a_dataset_was_given_per_item_is_told_by_its_number() -> None:
    class Labelled(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self, labels: list[int], spacing: tuple[float, ...], transform: Any) -> None:
            self.spacing = spacing
            self.labels = labels
            self.transform = transform

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, at: int) -> Any:
            return self.transform(self.labels[at])

    loader = torch.utils.data.DataLoader(Labelled([0, 1, 0, 2], (1.0, 1.0, 2.5), float))
    with block() as run:
        list(loader)
    text = artifacts(run)["transforms/loader.yaml"]
    assert yaml.safe_load(text)["arguments"] == {"labels": "list(4)", "spacing": [1.0, 1.0, 2.5]}
    assert "spacing: [1.0, 1.0, 2.5]" in text, "short lists are read on one line"

"""What a network, a loss or a transform was built with is known later, and building it is as it was."""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss, DiceLoss
from monai.metrics import DiceMetric, ROCAUCMetric
from monai.networks.nets import UNet
from monai.transforms import Compose, Lambda, MapTransform, ScaleIntensityRange, Spacingd, Transform
from torch import nn

from mlops_lab.tracking.capture import construction
from mlops_lab.tracking.capture.construction import arguments, held
from mlops_lab.tracking.capture.printable import printable


@pytest.fixture(autouse=True)
def _armed() -> Iterator[None]:
    construction.arm()
    yield
    construction.disarm()


class Net(nn.Module):
    """A network as people write one."""

    def __init__(self, width: int, act: str = "relu", *rest: int, bias: bool = True, **more: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def unet(**more: Any) -> UNet:
    return UNet(2, 1, out_channels=2, channels=(4, 8), strides=(2,), norm=("group", {"num_groups": 2}), **more)


def test_arguments_are_known_as_they_were_passed() -> None:
    assert arguments(unet(dropout=0.25)) == {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 2,
        "channels": (4, 8),
        "strides": (2,),
        "norm": ("group", {"num_groups": 2}),
        "dropout": 0.25,
    }
    assert arguments(DiceCELoss(to_onehot_y=True, softmax=True)) == {"to_onehot_y": True, "softmax": True}
    assert arguments(DiceMetric(False, reduction="mean_batch")) == {
        "include_background": False,
        "reduction": "mean_batch",
    }
    assert arguments(SlidingWindowInferer(roi_size=(64, 64), overlap=0.5)) == {"roi_size": (64, 64), "overlap": 0.5}
    transform = Spacingd(keys=["image", "label"], pixdim=(1.5, 1.5, 2.0), mode=("bilinear", "nearest"))
    assert arguments(transform) == {
        "keys": ["image", "label"],
        "pixdim": (1.5, 1.5, 2.0),
        "mode": ("bilinear", "nearest"),
    }
    assert arguments(ROCAUCMetric()) == {}


def test_optimizers_schedulers_and_torch_losses_are_known_and_parameters_are_not_consumed() -> None:
    net = Net(3)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-5)
    assert arguments(optimizer) == {"params": "generator", "lr": 1e-3, "weight_decay": 1e-5}
    assert len(optimizer.param_groups[0]["params"]) == 2
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    assert arguments(scheduler) == {"optimizer": "AdamW", "T_max": 10}
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.25, 0.75]), label_smoothing=0.5)
    assert arguments(loss) == {"weight": [0.25, 0.75], "label_smoothing": 0.5}
    assert arguments(Engine(lambda engine, batch: None)) == {"process_function": "<lambda>"}


def test_classes_of_the_users_own_are_known_without_being_touched() -> None:
    class Smooth(MapTransform):
        def __init__(self, keys: str, sigma: float = 0.5) -> None:
            super().__init__(keys)
            self.sigma = sigma

        def __call__(self, data: Any) -> Any:
            return data

    class Wide(UNet):
        def __init__(self, width: int) -> None:
            super().__init__(2, 1, 2, channels=(width, width), strides=(2,))

    class Slices(Dataset):
        def __init__(self, data: list[Any], step: int) -> None:
            super().__init__(data)

    assert arguments(Net(4, "gelu", 8, 9, bias=False, extra=2)) == {
        "width": 4,
        "act": "gelu",
        "rest": (8, 9),
        "bias": False,
        "extra": 2,
    }
    assert arguments(Net(4, "relu")) == {"width": 4}, "what stands at its default is left out"
    assert arguments(Smooth("image", 2.0)) == {"keys": "image", "sigma": 2.0}
    assert arguments(Wide(4)) == {"width": 4}
    assert arguments(Slices([1, 2], step=3)) == {"data": [1, 2], "step": 3}
    assert "__init__" not in vars(Net).get("__dict__", {})
    assert not hasattr(Net.__init__, "_mlops_lab_watch")


def test_only_the_users_own_arguments_count_where_a_class_builds_on_another() -> None:
    net = Net(4)
    assert arguments(net.layer) == {"in_features": 4, "out_features": 4}


def test_nothing_that_was_passed_is_kept_alive_and_no_data_is_kept_at_all() -> None:
    weight = torch.rand(40)
    image = np.zeros((240, 3))
    known = weakref.ref(weight)
    files = [{"image": f"/data/anna_smith/{number}.nii.gz"} for number in range(3)]
    loss = nn.CrossEntropyLoss(weight=weight)
    assert arguments(loss) == {"weight": "Tensor(40)"}
    del weight, loss
    gc.collect()
    assert known() is None
    assert arguments(Dataset(files)) == {"data": "list(3)"}
    assert arguments(Dataset(image)) == {"data": "ndarray(240, 3)"}
    assert "smith" not in str(arguments(CacheDataset(files, transform=Lambda(str), cache_rate=0.0)))


def test_what_is_gone_is_forgotten() -> None:
    net = Net(3)
    before = len(construction._watch.known)
    del net
    gc.collect()
    assert len(construction._watch.known) < before
    assert arguments(object()) is None


def test_objects_without_weak_references_or_hashes_are_built_as_ever() -> None:
    class Slotted(Dataset):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            raise AssertionError("nobody compares it")

        __hash__ = None  # type: ignore[assignment]

    dataset = Slotted([1])
    assert arguments(dataset) == {"data": [1]}


def test_values_are_told_by_kind() -> None:
    def own_function() -> None: ...

    assert printable(torch.float16) == "float16"
    assert printable(torch.device("cpu")) == "cpu"
    assert printable(torch.zeros(3, 64, 64)) == "Tensor(3, 64, 64)"
    assert printable(np.float32(0.5)) == 0.5
    assert printable(own_function) == "own_function"
    assert printable([nn.ReLU(), nn.Sigmoid]) == ["ReLU", "Sigmoid"]
    assert printable(Path("/home/anna/cache")) == "<path>"
    assert printable("/home/anna/model.nii.gz") == "<path>.nii.gz"
    assert printable("s3://key:secret@bucket/x") == "s3://..."
    assert printable(["/data/a.nii", "/data/b.nii"]) == "list(2)"
    assert printable({"image": "/data/a.nii"}) == "dict(1)"
    assert printable(list(range(100))) == "list(100)"
    assert printable(iter([1])) == "list_iterator"
    assert printable("x" * 500) == "x" * 200 + "…"
    deep: list[Any] = []
    deep.append(deep)
    assert printable(deep) == "list(1)"


def test_what_is_held_under_the_name_of_an_argument_is_read_from_an_object_that_was_built_earlier() -> None:
    construction.disarm()
    transform = ScaleIntensityRange(a_min=-57, a_max=164, b_min=0.0, b_max=1.0, clip=True)
    assert arguments(transform) is None
    assert held(transform) == {"a_min": -57, "a_max": 164, "b_min": 0.0, "b_max": 1.0, "clip": True, "dtype": "float32"}


def test_objects_and_classes_stay_what_they_are() -> None:
    net, transform = unet(), Spacingd(keys="image", pixdim=1.0)
    again = pickle.loads(pickle.dumps(net))
    assert type(again) is UNet
    assert type(copy.deepcopy(transform)) is Spacingd
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    assert type(torch.load(stream, weights_only=False)) is UNet
    assert isinstance(net, nn.Module)
    armed = [str(inspect.signature(cls)) for cls in (UNet, Spacingd, DiceLoss, nn.Module, torch.optim.Adam)]
    assert "class UNet" in inspect.getsource(UNet)
    assert "spatial_dims" in inspect.getsource(UNet.__init__)
    construction.disarm()
    assert armed == [str(inspect.signature(cls)) for cls in (UNet, Spacingd, DiceLoss, nn.Module, torch.optim.Adam)]


def test_a_network_of_the_users_own_travels_without_us() -> None:
    space: dict[str, Any] = {"nn": nn}
    exec(
        "class Own(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n        self.n = n\n",
        {**space, "__name__": "__main__"},
        space,
    )
    own = space["Own"](3)
    assert arguments(own) == {"n": 3}
    assert b"mlops_lab" not in cloudpickle.dumps(own)


def test_errors_of_constructors_are_the_users() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        UNet(colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Net()  # type: ignore[call-arg]

    class Abstract(Transform):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Abstract()  # type: ignore[abstract]


def test_scripted_and_compiled_networks_work_and_may_build_modules_on_their_way() -> None:
    net = Net(3)
    x = torch.ones(2, 3)
    assert torch.equal(torch.jit.script(net)(x), net(x))

    class Inside(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.factor

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(x: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = nn.MSELoss(reduction="sum")(net(x), Inside(2.0)(x))
        return loss + nn.Softmax(dim=1)(x).sum()

    expected = (net(x) - 2 * x).pow(2).sum() + 2
    assert torch.allclose(compiled(x), expected)


def test_the_random_streams_are_the_same() -> None:
    def draw() -> tuple[torch.Tensor, float]:
        torch.manual_seed(5)
        np.random.seed(5)
        net = unet()
        return torch.cat([p.flatten() for p in net.parameters()]), float(np.random.rand())

    with_weights, with_number = draw()
    construction.disarm()
    weights, number = draw()
    assert torch.equal(weights, with_weights)
    assert number == with_number


def test_disarming_restores_exactly() -> None:
    doors = [nn.Module, UNet, Spacingd, Compose, DiceMetric, torch.optim.Adam, Engine, PersistentDataset]
    construction.disarm()
    before = [vars(cls).get("__init__") for cls in doors]
    finders = list(sys.meta_path)
    construction.arm()
    construction.arm()
    assert [vars(cls).get("__init__") for cls in doors] != before
    assert sys.meta_path == finders, "everything has arrived, so nothing is waited for"
    construction.disarm()
    assert [vars(cls).get("__init__") for cls in doors] == before
    assert sys.meta_path == finders
    assert arguments(unet()) is None


def test_another_librarys_hook_on_top_of_ours_is_left_alone() -> None:
    ours = nn.Module.__init__

    def theirs(self: Any, *args: Any, **kwargs: Any) -> None:
        ours(self, *args, **kwargs)

    nn.Module.__init__ = theirs  # type: ignore[assignment,method-assign]
    try:
        construction.disarm()
        assert nn.Module.__init__ is theirs
        assert arguments(Net(3)) is None
    finally:
        nn.Module.__init__ = inspect.unwrap(ours)  # type: ignore[method-assign]


def test_libraries_that_come_later_are_watched_and_none_is_imported() -> None:
    program = """
import sys
from mlops_lab.tracking.capture import construction
construction.arm()
assert not {"torch", "monai", "ignite", "numpy"} & set(sys.modules), "arming imports nothing"
from monai.networks.nets import UNet
net = UNet(2, 1, 2, channels=(4, 8), strides=(2,))
print(construction.arguments(net)["channels"])
from ignite.engine import Engine
assert construction.arguments(Engine(print)) == {"process_function": "print"}
construction.disarm()
assert not hasattr(UNet.__init__, "_mlops_lab_watch")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(4, 8)"

"""Training scripts as people write them: several optimizers, learning rates, epochs, loaders."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import CacheDataset, ThreadDataLoader
from monai.data import DataLoader as MonaiDataLoader
from monai.engines import GanTrainer, SupervisedTrainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import Run, track
from mlops_lab.tracking.capture.torch import loaders
from tests.unit.journal_readings import block, params, points, series, troubles, values


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder, and every test has the same random numbers."""
    torch.manual_seed(0)


def samples(count: int = 12) -> TensorDataset:
    return TensorDataset(torch.randn(count, 3), torch.randint(0, 2, (count,)))


def networks() -> tuple[nn.Linear, nn.Linear]:
    """Discriminator and generator."""
    return nn.Linear(3, 1), nn.Linear(2, 3)


def test_the_loop_of_every_tutorial() -> None:
    train_ds, val_ds = samples(12), samples(6)
    train_loader = DataLoader(train_ds, batch_size=4, shuffle=True)
    val_loader = DataLoader(val_ds, batch_size=2)
    model = nn.Linear(3, 2)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5, betas=(0.8, 0.9))
    lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    max_epochs = 3
    told: list[list[float]] = []
    with block() as run:
        for _epoch in range(max_epochs):
            model.train()
            told.append([])
            for inputs, labels in train_loader:
                optimizer.zero_grad()
                loss = loss_function(model(inputs), labels)
                loss.backward()
                optimizer.step()
                told[-1].append(loss.item())
            lr_scheduler.step()
            model.eval()
            with torch.no_grad():
                for inputs, labels in val_loader:
                    loss_function(model(inputs), labels)
    assert values(run, "train_loss") == [loss for epoch in told for loss in epoch]
    assert values(run, "train_loss_epoch") == [sum(epoch) / 3 for epoch in told]
    assert points(run, "epoch") == [("epoch", 3, 1.0), ("epoch", 6, 2.0), ("epoch", 9, 3.0)]
    rates = [1e-2 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)]
    assert [(step, value) for _, step, value in points(run, "lr")] == [
        (step, pytest.approx(rate)) for step, rate in zip((1, 4, 7), rates, strict=True)
    ]
    assert series(run) == {"train_loss", "train_loss_epoch", "epoch", "lr"}
    assert len(values(run, "epoch_seconds")) == len(values(run, "data_seconds")) == 3
    found = params(run)
    expected = {
        "optimizer": "Adam",
        "optimizer.lr": "0.01",
        "optimizer.weight_decay": "1e-05",
        "optimizer.betas": "(0.8, 0.9)",
        "scheduler": "CosineAnnealingLR",
        "scheduler.T_max": "3",
        "loss_function": "CrossEntropyLoss",
        "train_loader.batch_size": "4",
        "train_loader.num_workers": "0",
        "train_loader.shuffle": "True",
        "train_dataset": "TensorDataset",
        "train_dataset.size": "12",
        "val_loader.batch_size": "2",
        "val_loader.shuffle": "False",
        "val_dataset.size": "6",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert not [name for name in found if name.startswith(("optimizer.amsgrad", "optimizer.eps", "scheduler.last"))]
    facts = run.facts
    assert (facts["epoch"], facts["epochs"], facts["batch"], facts["batches"]) == (3, 3, 3, 3)
    assert troubles(run) == []


def test_a_rate_that_changes_with_every_step_is_a_point_of_every_step() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=6)
    told = []
    with block() as run:
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            told.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    assert values(run, "lr") == told
    assert params(run)["optimizer.lr"] == "0.1"
    assert params(run)["scheduler"] == "OneCycleLR"


def test_groups_with_different_rates_are_series_of_their_own() -> None:
    body, head = nn.Linear(3, 3), nn.Linear(3, 1)
    optimizer = torch.optim.SGD([{"params": body.parameters(), "lr": 0.01}, {"params": head.parameters()}], lr=0.1)
    with block() as run:
        for step in range(3):
            optimizer.zero_grad()
            head(body(torch.randn(4, 3))).square().mean().backward()
            if step == 2:
                optimizer.param_groups[1]["lr"] = 0.05
            optimizer.step()
    assert [point for point in points(run) if point[0].startswith("lr")] == [
        ("lr_group_0", 1, 0.01),
        ("lr_group_1", 1, 0.1),
        ("lr_group_1", 3, 0.05),
    ]
    assert params(run)["optimizer.lr"] == "[0.01, 0.1]"


def test_a_grid_search_goes_on_in_one_series_and_names_every_optimizer() -> None:
    told = []
    with block() as run:
        for lr in (0.1, 0.2, 0.4):
            model = nn.Linear(3, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=lr)
            for _ in range(2):
                optimizer.zero_grad()
                loss = model(torch.randn(4, 3)).square().mean()
                loss.backward()
                optimizer.step()
                told.append(loss.item())
    assert values(run, "train_loss") == told
    assert points(run, "lr") == [("lr", 1, 0.1), ("lr", 3, 0.2), ("lr", 5, 0.4)]
    found = params(run)
    assert [found[name] for name in ("optimizer.lr", "optimizer_2.lr", "optimizer_3.lr")] == ["0.1", "0.2", "0.4"]


def test_a_gan_that_steps_in_turn() -> None:
    netD, netG = networks()
    optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-4)
    criterion = nn.BCEWithLogitsLoss()
    told_d, told_g = [], []
    with block() as run:
        for _ in range(3):
            netD.zero_grad()
            errD_real = criterion(netD(torch.randn(4, 3)), torch.ones(4, 1))
            errD_real.backward()
            fake = netG(torch.randn(4, 2))
            errD_fake = criterion(netD(fake.detach()), torch.zeros(4, 1))
            errD_fake.backward()
            errD = errD_real + errD_fake
            optimizerD.step()
            netG.zero_grad()
            errG = criterion(netD(fake), torch.ones(4, 1))
            errG.backward()
            optimizerG.step()
            told_d.append(errD.item())
            told_g.append(errG.item())
    assert values(run, "train_loss_err_d") == pytest.approx(told_d)
    assert values(run, "train_loss_err_g") == told_g
    assert values(run, "lr_d") == [2e-4]
    assert values(run, "lr_g") == [1e-4]
    assert series(run) == {"train_loss_err_d", "train_loss_err_g", "lr_d", "lr_g"}
    found = params(run)
    assert (found["optimizer_d.lr"], found["optimizer_g.lr"]) == ("0.0002", "0.0001")
    assert found["optimizer_d.betas"] == "(0.5, 0.999)"
    assert {name for name in found if name.startswith("loss_function")} == {
        "loss_function_err_d",
        "loss_function_err_g",
    }


@pytest.mark.parametrize("first", ["d", "g"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_gan_that_steps_at_the_end(first: str, scaled: bool) -> None:
    discriminator, generator = networks()
    opt_d = torch.optim.SGD(discriminator.parameters(), lr=0.1)
    opt_g = torch.optim.SGD(generator.parameters(), lr=0.2)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0, enabled=scaled)
    told_d, told_g = [], []
    with block() as run:
        for _ in range(3):
            opt_d.zero_grad()
            opt_g.zero_grad()
            fake = generator(torch.randn(4, 2))
            loss_d = (
                F.softplus(discriminator(fake.detach())).mean() + F.softplus(-discriminator(torch.randn(4, 3))).mean()
            )
            loss_g = F.softplus(-discriminator(fake)).mean()
            scaler.scale(loss_d).backward()
            scaler.scale(loss_g).backward()
            for optimizer in (opt_d, opt_g) if first == "d" else (opt_g, opt_d):
                scaler.step(optimizer)
            scaler.update()
            told_d.append(loss_d.item())
            told_g.append(loss_g.item())
    assert values(run, "train_loss_d") == told_d
    assert values(run, "train_loss_g") == told_g
    assert series(run) == {"train_loss_d", "train_loss_g", "lr_d", "lr_g"}


def test_losses_without_a_telling_name_are_called_as_their_optimizers() -> None:
    critic, generator = networks()
    critic_optimizer = torch.optim.RMSprop(critic.parameters(), lr=0.1)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=0.2)
    told: dict[str, list[float]] = {"critic": [], "generator": []}

    def train_critic() -> None:
        critic_optimizer.zero_grad()
        loss = critic(generator(torch.randn(4, 2)).detach()).mean() - critic(torch.randn(4, 3)).mean()
        loss.backward()
        critic_optimizer.step()
        told["critic"].append(loss.item())

    def train_generator() -> None:
        generator_optimizer.zero_grad()
        loss = -critic(generator(torch.randn(4, 2))).mean()
        loss.backward()
        generator_optimizer.step()
        told["generator"].append(loss.item())

    with block() as run:
        for step in range(4):
            train_critic()
            if step % 2:
                train_generator()
    assert values(run, "train_loss_critic") == told["critic"]
    assert values(run, "train_loss_generator") == told["generator"]
    assert values(run, "lr_generator") == [0.2]


def test_one_loss_for_two_optimizers_is_one_series() -> None:
    encoder, decoder = nn.Linear(3, 2), nn.Linear(2, 3)
    optimizer_enc = torch.optim.Adam(encoder.parameters(), lr=0.1)
    optimizer_dec = torch.optim.SGD(decoder.parameters(), lr=0.2)
    told = []
    with block() as run:
        for step in range(4):
            optimizer_enc.zero_grad()
            optimizer_dec.zero_grad()
            inputs = torch.randn(4, 3)
            loss = F.mse_loss(decoder(encoder(inputs)), inputs)
            loss.backward()
            for optimizer in (optimizer_enc, optimizer_dec)[:: 1 if step % 2 else -1]:
                optimizer.step()
            told.append(loss.item())
    assert values(run, "train_loss") == told
    assert series(run) == {"train_loss", "lr_enc", "lr_dec"}


def test_an_ensemble_in_one_loop_is_one_series_per_member() -> None:
    models = [nn.Linear(3, 1) for _ in range(3)]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
    told: list[list[float]] = [[], [], []]
    with block() as run:
        for _ in range(3):
            for member, model in enumerate(models):
                optimizers[member].zero_grad()
                loss = model(torch.randn(4, 3)).square().mean()
                loss.backward()
                optimizers[member].step()
                told[member].append(loss.item())
    assert [values(run, f"train_loss_{member}") for member in (1, 2, 3)] == told


def test_the_engines_of_monai_are_recorded_once() -> None:
    model = nn.Conv2d(1, 1, 1)
    data = [{"image": torch.rand(1, 4, 4), "label": torch.ones(1, 4, 4)} for _ in range(4)]
    told: list[float] = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=MonaiDataLoader(data, batch_size=2),
        network=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loss_function=nn.MSELoss(),
    )
    trainer.add_event_handler("ITERATION_COMPLETED", lambda engine: told.append(engine.state.output[0]["loss"]))
    with block() as run:
        trainer.run()
    assert values(run, "train_loss") == told
    assert points(run, "epoch") == [("epoch", 2, 1.0), ("epoch", 4, 2.0)]
    assert params(run)["optimizer"] == "SGD"
    assert params(run)["loss_function"] == "MSELoss"
    assert params(run)["train_loader.batch_size"] == "2"


def test_the_gan_engine_of_monai_has_two_losses() -> None:
    discriminator, generator = networks()
    data = MonaiDataLoader([{"reals": torch.randn(3)} for _ in range(4)], batch_size=2)
    trainer = GanTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=data,
        g_network=generator,
        g_optimizer=torch.optim.SGD(generator.parameters(), lr=0.1),
        g_loss_function=lambda logits: F.softplus(-discriminator(logits)).mean(),
        d_network=discriminator,
        d_optimizer=torch.optim.SGD(discriminator.parameters(), lr=0.2),
        d_loss_function=lambda g, r: (F.softplus(discriminator(g)) + F.softplus(-discriminator(r))).mean(),
        latent_shape=2,
        g_update_latents=True,
    )
    with block() as run:
        trainer.run()
    assert {"train_loss_d", "train_loss_g", "lr_d", "lr_g", "epoch", "train_loss_d_epoch"} <= series(run)
    assert len(values(run, "train_loss_d")) == len(values(run, "train_loss_g")) == 2


def train_on(loader: Any, steps: int | None = None) -> list[float]:
    """Train a small network on batches of (inputs, labels), or of inputs; give the losses."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    told = []
    for batch in itertools.islice(loader, steps):
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        loss = model(inputs.float().reshape(-1, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(loss.item())
    return told


def epochs_of(run: Run) -> list[tuple[int, float]]:
    return [(step, value) for _, step, value in points(run, "epoch")]


@pytest.mark.parametrize(
    "make",
    [
        lambda data: DataLoader(data, batch_size=4),
        lambda data: DataLoader(data, batch_size=4, num_workers=1),
        lambda data: DataLoader(data, batch_size=4, num_workers=1, persistent_workers=True),
        lambda data: MonaiDataLoader(data, batch_size=4),
        lambda data: ThreadDataLoader(data, batch_size=4),
        lambda data: ThreadDataLoader(data, batch_size=4, num_workers=1, use_thread_workers=True),
    ],
    ids=["plain", "workers", "persistent", "monai", "thread", "thread workers"],
)
def test_every_kind_of_loader_has_epochs(make: Any) -> None:
    train_loader = make(samples(10))
    with block() as run:
        for _ in range(2):
            train_on(train_loader)
    assert epochs_of(run) == [(3, 1.0), (6, 2.0)]
    assert len(values(run, "train_loss_epoch")) == 2
    assert params(run)["train_loader.batch_size"] == "4"
    assert run.facts["batch"] == 3
    assert troubles(run) == []


def test_a_loop_that_is_left_early_is_an_epoch_of_what_it_did() -> None:
    train_loader = DataLoader(samples(12), batch_size=2)
    with block() as run:
        first = train_on(train_loader, steps=2)
        second = train_on(train_loader, steps=3)
    assert epochs_of(run) == [(2, 1.0), (5, 2.0)]
    assert values(run, "train_loss_epoch") == [sum(first) / 2, pytest.approx(sum(second) / 3)]


def test_an_epoch_that_is_under_way_at_the_end_is_none() -> None:
    train_loader = DataLoader(samples(12), batch_size=2)
    with block() as run:
        batches = iter(train_loader)
        train_on(batches, steps=3)
    assert len(values(run, "train_loss")) == 3
    assert epochs_of(run) == []


def test_an_endless_iterator_begins_an_epoch_whenever_it_is_made_anew() -> None:
    train_loader = DataLoader(samples(6), batch_size=2)

    def endless() -> Iterator[Any]:
        iterator = iter(train_loader)
        while True:
            try:
                yield next(iterator)
            except StopIteration:
                iterator = iter(train_loader)

    batches = endless()
    with block() as run:
        train_on(batches, steps=8)
    assert epochs_of(run) == [(3, 1.0), (6, 2.0)]


def test_a_validation_within_an_epoch_is_no_epoch() -> None:
    train_loader, val_loader = DataLoader(samples(8), batch_size=2), DataLoader(samples(4), batch_size=2)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with block() as run:
        for inputs, _ in train_loader:
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
            for val_inputs, _ in val_loader:
                model(val_inputs)
    assert epochs_of(run) == [(4, 1.0)]


def test_two_loaders_side_by_side_have_the_epochs_of_one() -> None:
    labelled_loader, unlabelled_loader = DataLoader(samples(8), batch_size=2), DataLoader(samples(6), batch_size=2)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with block() as run:
        for _ in range(2):
            for (one, _), (other, _) in zip(labelled_loader, unlabelled_loader, strict=False):
                optimizer.zero_grad()
                (model(one).square().mean() + model(other).abs().mean()).backward()
                optimizer.step()
    assert epochs_of(run) == [(3, 1.0), (6, 2.0)]
    assert params(run)["labelled_loader.batch_size"] == params(run)["unlabelled_loader.batch_size"] == "2"


def test_an_iterator_that_is_drawn_from_in_the_loop_has_no_epochs_of_its_own() -> None:
    labelled_loader, unlabelled_loader = DataLoader(samples(6), batch_size=2), DataLoader(samples(8), batch_size=2)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    unlabelled = iter(unlabelled_loader)
    with block() as run:
        for _ in range(3):
            for inputs, _ in labelled_loader:
                try:
                    other, _ = next(unlabelled)
                except StopIteration:
                    unlabelled = iter(unlabelled_loader)
                    other, _ = next(unlabelled)
                optimizer.zero_grad()
                (model(inputs).square().mean() + model(other).abs().mean()).backward()
                optimizer.step()
    assert epochs_of(run) == [(3, 1.0), (6, 2.0), (9, 3.0)]


def test_patches_of_a_batch_are_no_epochs() -> None:
    train_loader = DataLoader(samples(4), batch_size=2)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with block() as run:
        for inputs, _ in train_loader:
            for patch in DataLoader(list(inputs), batch_size=1):
                optimizer.zero_grad()
                model(patch).square().mean().backward()
                optimizer.step()
    assert epochs_of(run) == [(4, 1.0)]


class Stream(IterableDataset[torch.Tensor]):
    """An endless acquisition, of which nobody knows the length."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(5):
            yield torch.randn(3)

    def __len__(self) -> int:
        raise RuntimeError("nobody knows")


class Secretive:
    """A dataset that may only be used by its loader."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        self.asked.append(index)
        return torch.full((3,), float(index))


def test_datasets_of_every_kind_come_to_no_harm() -> None:
    secretive = Secretive()
    with block() as run:
        train_on(DataLoader(Stream(), batch_size=2))
        train_on(DataLoader(secretive, batch_size=2))  # type: ignore[arg-type]
        train_on(DataLoader(samples(4), batch_size=None))
        sampler = WeightedRandomSampler([1.0] * 4, 4)
        train_on(DataLoader(samples(4), batch_size=2, sampler=sampler))
        cached = CacheDataset([{"x": torch.ones(3)}] * 4, transform=lambda item: item["x"], progress=False)
        train_on(MonaiDataLoader(cached, batch_size=2))
    assert secretive.asked == list(range(6))
    assert epochs_of(run) == [(3, 1.0), (6, 2.0), (10, 3.0), (12, 4.0), (14, 5.0)]
    found = params(run)
    assert found["loader.batch_size"] == "2"
    assert (found["dataset"], "dataset.size" in found) == ("Stream", False)
    assert found["secretive_dataset.size"] == "6"
    assert found["cached_dataset.size"] == "4"
    assert "WeightedRandomSampler" in found.values()
    assert troubles(run) == []


def test_a_loader_is_called_as_its_variable_else_as_its_dataset() -> None:
    validation_data_loader = DataLoader(samples(4))
    test_ds = samples(4)
    loaders_by_name = {"tuning_loader": DataLoader(samples(4))}
    with block() as run:
        for loader in (validation_data_loader, DataLoader(test_ds), *loaders_by_name.values()):
            for _ in loader:
                pass
    names = {name.removesuffix(".batch_size") for name in params(run) if name.endswith(".batch_size")}
    assert names == {"val_loader", "test_loader", "loader"}


def test_who_looks_at_batches_is_told_which_one_it_is() -> None:
    train_loader, val_loader = DataLoader(samples(4), batch_size=2), DataLoader(samples(2), batch_size=2)
    seen: list[tuple[str, int, int, int | None, bool]] = []
    during: list[Any] = []

    def look(run: Run, info: loaders.LoaderInfo, batch: Any) -> bool:
        seen.append((info.name, info.epoch, info.batch, info.batches, info.training))
        return True

    loaders.observe(look)
    try:
        with block() as run:
            for _ in range(2):
                train_on(train_loader)
                for batch in val_loader:
                    now = loaders.current(run)
                    assert now is not None
                    assert now[1] is batch
                    during.append(now[0].name)
            assert loaders.current(run) is None
    finally:
        loaders._observers.remove(look)
    assert seen == [
        ("train", 1, 1, 2, False),
        ("train", 1, 2, 2, True),
        ("val", 1, 1, 1, False),
        ("train", 2, 1, 2, False),
        ("train", 2, 2, 2, True),
        ("val", 2, 1, 1, False),
    ]
    assert during == ["val", "val"]


def test_trainings_in_threads_of_one_block_do_not_mix() -> None:
    told: dict[int, list[float]] = {}
    both_under_way = threading.Barrier(2)

    def met(batches: Any) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            if number == 1:
                both_under_way.wait()
            yield batch

    def train(fold: int) -> None:
        told[fold] = train_on(met(DataLoader(samples(20), batch_size=2)))

    with block() as run:
        threads = [threading.Thread(target=train, args=(fold,)) for fold in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [values(run, "train_loss"), values(run, "train_loss_2")]
    assert sorted(found) == sorted(told.values())
    assert [value for _, _, value in points(run, "epoch")] == [1.0, 1.0]


def test_gradients_are_measured_on_request() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with block(grad_norm=True) as run:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            told.append(torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf).item())
            optimizer.step()
    assert values(run, "grad_norm") == pytest.approx(told)
    with block() as run:
        train_on(DataLoader(samples(4)))
    assert "grad_norm" not in series(run)


def test_the_scale_of_a_fused_optimizer_is_no_part_of_the_gradients_norm() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    told = []
    with block(grad_norm=True) as run:
        for _ in range(2):
            optimizer.zero_grad()
            inputs = torch.randn(4, 3)
            gradients = torch.autograd.grad(model(inputs).square().mean(), list(model.parameters()), create_graph=True)
            told.append(torch.cat([g.flatten() for g in gradients]).norm().item())
            scaler.scale(model(inputs).square().mean()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert values(run, "grad_norm") == pytest.approx(told)


def test_a_whole_training_is_on_the_server(server: TrackingServer, experiment: str) -> None:
    train_loader = DataLoader(samples(12), batch_size=4, shuffle=True)
    model = nn.Linear(3, 2)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    told: list[list[float]] = []
    with track(experiment=experiment, grad_norm=True) as run:
        for _epoch in range(3):
            told.append([])
            for inputs, labels in train_loader:
                optimizer.zero_grad()
                loss = loss_function(model(inputs), labels)
                loss.backward()
                optimizer.step()
                told[-1].append(loss.item())
            scheduler.step()
    assert run.run_id is not None
    stored = server.get_run(run.run_id)["data"]
    found = {param["key"]: param["value"] for param in stored["params"]}
    expected = {"optimizer": "SGD", "optimizer.lr": "0.5", "optimizer.momentum": "0.9", "scheduler.gamma": "0.5"}
    assert {name: found.get(name) for name in expected} == expected

    def history(name: str) -> list[tuple[int, float]]:
        path = "metrics/get-history"
        answer = server.get(path, {"run_id": run.run_id, "metric_key": name})
        return sorted((int(point["step"]), float(point["value"])) for point in answer["metrics"])

    losses = [loss for epoch in told for loss in epoch]
    assert history("train_loss") == list(enumerate(losses, start=1))
    assert history("lr") == [(1, 0.5), (4, 0.25), (7, 0.125)]
    assert history("epoch") == [(3, 1.0), (6, 2.0), (9, 3.0)]
    assert history("train_loss_epoch") == [(n, pytest.approx(sum(epoch) / 3)) for n, epoch in enumerate(told, start=1)]
    assert len(history("grad_norm")) == 9

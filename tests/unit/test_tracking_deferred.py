"""Values that arrive late from a device: read once, in order, added up and averaged when they are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lab.tracking.capture.torch.arriving import Arriving, total
from mlops_lab.tracking.capture.torch.series import Series
from tests.unit.journal_readings import block, points


@pytest.fixture(autouse=True)
def _own_home(mlops_home: Path) -> None:
    """Journals of these tests stay in the test's folder."""


class Device:
    """Stands for a value on a device: it arrives when it is told to, or when it is waited for."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.there = False
        self.asked = 0

    def read(self, wait: bool) -> float | None:
        self.asked += 1
        return self.value if wait or self.there else None


def test_a_value_is_read_once() -> None:
    device = Device(2.0)
    value = Arriving(device.read)
    assert value(False) is None
    device.there = True
    assert (value(False), value(True), device.asked) == (2.0, 2.0, 2)


def test_a_sum_waits_for_all_of_its_parts_and_keeps_those_that_are_there() -> None:
    early, late = Device(1.0), Device(2.0)
    value = total([Arriving(early.read), 4.0, Arriving(late.read)], divisor=2)
    assert callable(value)
    early.there = True
    assert value(False) is None
    late.there = True
    assert value(False) == 3.5
    assert early.asked == 1


def test_plain_numbers_are_added_at_once() -> None:
    assert total([1.0, 2.0]) == 3.0
    assert total([3.0]) == 3.0
    assert total([1.0, 2.0], divisor=2) == 1.5


def test_points_and_their_mean_arrive_in_order() -> None:
    devices = [Device(1.0), Device(3.0)]
    with block() as run:
        series = Series(run, "train_loss", thread=0)
        for device in devices:
            series.log(Arriving(device.read))
        mean = series.mean.value()
        assert callable(mean)
        run.log_deferred("train_loss_epoch", mean)
        run.drain()
        assert points(run) == []
        devices[0].there = True
        run.drain()
        assert points(run) == [("train_loss", 1, 1.0)]
    assert points(run) == [("train_loss", 1, 1.0), ("train_loss", 2, 3.0), ("train_loss_epoch", 1, 2.0)]

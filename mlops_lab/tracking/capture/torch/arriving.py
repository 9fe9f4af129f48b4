"""Numbers that training made on a device: read at once from the processor, later and without waiting from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...deferred import Reader

Value = float | Reader
"""A number, or what reads it once it has arrived."""


def value_of(torch: Any, scalar: Any) -> Value:
    """Read the tensor `scalar` of one element: now on the processor, else when its copy has arrived.

    The copy is made in the stream of the training itself, so it has the value of this very step, also where CUDA
    graphs or an operation in place write to the same memory afterwards.
    """
    device = scalar.device.type
    if device == "cpu":
        return float(scalar.item())
    scalar = scalar.detach()
    if device != "cuda":
        return Arriving(_read_later(scalar.clone()))
    host = torch.empty(scalar.shape, dtype=scalar.dtype, pin_memory=True)
    host.copy_(scalar, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def read(wait: bool) -> float | None:
        if wait:
            arrived.synchronize()
        elif not arrived.query():
            return None
        return float(host.item())

    return Arriving(read)


def is_captured(torch: Any, scalar: Any) -> bool:
    """Tell whether what happens to `scalar` now is recorded as a CUDA graph, from which nothing may be copied."""
    return scalar.device.type == "cuda" and bool(torch.cuda.is_current_stream_capturing())


class Arriving:
    """Reads a number once and remembers it."""

    __slots__ = ("_read", "_value")

    def __init__(self, read: Reader) -> None:
        self._read: Reader | None = read
        self._value: float | None = None

    def __call__(self, wait: bool) -> float | None:
        """Give the number; None where it has not arrived and is not to be waited for."""
        if self._read is not None:
            self._value = self._read(wait)
            if self._value is not None:
                self._read = None
        return self._value


def total(values: list[Value], divisor: int = 1) -> Value:
    """Add up `values`, and divide the sum."""
    if len(values) == 1 and divisor == 1:
        return values[0]
    known = [value for value in values if isinstance(value, (float, int))]
    if len(known) == len(values):
        return sum(known) / divisor
    readers = [value for value in values if not isinstance(value, (float, int))]

    def read(wait: bool) -> float | None:
        arrived = _all(reader(wait) for reader in readers)
        return None if arrived is None else (sum(known) + sum(arrived)) / divisor

    return Arriving(read)


def _all(values: Iterable[float | None]) -> list[float] | None:
    found = []
    for value in values:
        if value is None:
            return None
        found.append(value)
    return found


def _read_later(scalar: Any) -> Reader:
    def read(wait: bool) -> float | None:
        return float(scalar.item())

    return read

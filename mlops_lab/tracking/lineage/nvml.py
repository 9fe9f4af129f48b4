"""NVIDIA's management library, which every driver brings: what the GPUs are and how busy, without a CUDA context.

Asking PyTorch would start CUDA in a process that only wants to know, and forked loader workers could not use it then.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_TEXT = 96
_SUCCESS = 0


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True, slots=True)
class Load:
    """How busy one GPU is; what it does not tell is None."""

    utilization: float | None
    """Percent of the last moments in which it computed."""
    used: float | None
    """Bytes."""
    total: float | None
    """Bytes."""
    power: float | None
    """Watts."""
    power_limit: float | None
    """Watts."""


class Nvml:
    """The GPUs that this process may use (``CUDA_VISIBLE_DEVICES``), by their numbers in the machine.

    Parameters
    ----------
    library
        The loaded library.

    Raises
    ------
    OSError
        When the driver does not answer.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        if library.nvmlInit_v2() != _SUCCESS:
            raise OSError("The NVIDIA driver does not answer.")
        count = ctypes.c_uint()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        self.handles: dict[int, ctypes.c_void_p] = {}
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == _SUCCESS:
                self.handles[index] = handle
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            wanted = [item.strip() for item in visible.split(",")]
            self.handles = {index: self.handles[index] for index in self.handles if self._wanted(index, wanted)}

    @classmethod
    def load(cls) -> Nvml | None:
        """Give the GPUs of this machine; None where there is no NVIDIA driver."""
        if not sys.platform.startswith("linux"):
            return None
        try:
            return cls(ctypes.CDLL(_LIBRARY))
        except (OSError, AttributeError):
            return None

    @property
    def driver(self) -> str:
        """Version of the driver."""
        return self._text(lambda text: self._library.nvmlSystemGetDriverVersion(text, ctypes.c_uint(_TEXT)))

    @property
    def cuda(self) -> str:
        """The newest CUDA that the driver takes, e.g. ``"12.4"``."""
        version = self._number(ctypes.c_int(), lambda value: self._library.nvmlSystemGetCudaDriverVersion_v2(value))
        return "" if version is None else f"{int(version) // 1000}.{int(version) % 1000 // 10}"

    def name(self, index: int) -> str:
        """Name of one GPU, e.g. ``"NVIDIA H200"``."""
        handle = self.handles[index]
        return self._text(lambda text: self._library.nvmlDeviceGetName(handle, text, ctypes.c_uint(_TEXT)))

    def look(self, index: int) -> Load:
        """Tell how busy one GPU is."""
        handle = self.handles[index]
        utilization, memory = _Utilization(), _Memory()
        busy = self._library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(utilization)) == _SUCCESS
        told = self._library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == _SUCCESS
        power = self._number(ctypes.c_uint(), lambda value: self._library.nvmlDeviceGetPowerUsage(handle, value))
        limit = self._number(
            ctypes.c_uint(), lambda value: self._library.nvmlDeviceGetEnforcedPowerLimit(handle, value)
        )
        return Load(
            utilization=float(utilization.gpu) if busy else None,
            used=float(memory.used) if told else None,
            total=float(memory.total) if told else None,
            power=None if power is None else power / 1000,
            power_limit=None if limit is None else limit / 1000,
        )

    def _wanted(self, index: int, wanted: list[str]) -> bool:
        handle = self.handles[index]
        identity = self._text(lambda text: self._library.nvmlDeviceGetUUID(handle, text, ctypes.c_uint(_TEXT)))
        # A slice of a GPU (MIG-...) cannot be told from here: then all are shown.
        return any(
            item == str(index) or (item.startswith("GPU-") and identity.startswith(item)) or item.startswith("MIG-")
            for item in wanted
        )

    def _text(self, ask: Callable[[Any], int]) -> str:
        text = ctypes.create_string_buffer(_TEXT)
        return text.value.decode("utf-8", "replace") if ask(text) == _SUCCESS else ""

    def _number(self, value: Any, ask: Callable[[Any], int]) -> float | None:
        return float(value.value) if ask(ctypes.byref(value)) == _SUCCESS else None

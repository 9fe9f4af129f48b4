"""How busy the machine is while a run goes on, under MLflow's own names, so that its page shows them as system metrics.

MLflow's own monitor needs mlflow imported, a thread and a server that answers; this one is asked by the thread that
looks after the journal.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from .nvml import Nvml

if TYPE_CHECKING:
    from ..options import TrackOptions
    from ..run import Run

PREFIX = "system/"
EVERY = 10.0
"""Seconds between two samples, unless ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` says otherwise."""
CAPTURE = "system"
"""How the switch of the captures calls this one."""
_MEGA = 1e6


def wanted(options: TrackOptions) -> bool:
    """Tell whether a run is to have system metrics; ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false`` wins."""
    if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").strip().lower() in ("false", "0"):
        return False
    return options.capture is None or CAPTURE in options.capture


class SystemMetrics:
    """Samples of this machine.

    Parameters
    ----------
    folder
        A folder on the disk that may fill up; the current one by default.
    """

    def __init__(self, folder: str | os.PathLike[str] = ".") -> None:
        self._folder = os.path.abspath(folder)
        self._prefix = PREFIX
        node = os.environ.get("MLFLOW_SYSTEM_METRICS_NODE_ID", "").strip()
        if node:
            self._prefix = f"{PREFIX}{node}/"
        self._every = _interval()
        self._due = 0.0
        self._gpus: Nvml | None = None
        self._begun = False
        self._busy = self._all = 0.0
        self._received = self._sent = 0

    def look(self, run: Run) -> None:
        """Record a sample on `run` when one is due; the first is due at once."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + self._every
        for name, value in self.sample().items():
            run.log_metric(name, value)

    def sample(self) -> dict[str, float]:
        """Look at the machine.

        Returns
        -------
        dict
            ``system/cpu_utilization_percentage`` (of all cores, since the last sample), ``system/system_memory_...``,
            ``system/disk_...``, ``system/network_...`` (since the first sample) and ``system/gpu_<number>_...``; in
            percent, megabytes (10**6 bytes) and watts. What the machine does not tell is not in it.
        """
        import psutil  # type: ignore[import-untyped]

        if not self._begun:
            self._begun = True
            self._gpus = Nvml.load()
            self._busy, self._all = _processor_times()
            self._received, self._sent = _network() or (0, 0)
            time.sleep(0.1)  # the load of a processor is one between two moments
        found: dict[str, float] = {}
        busy, everything = _processor_times()
        if everything > self._all:
            found["cpu_utilization_percentage"] = 100 * max(0.0, busy - self._busy) / (everything - self._all)
            self._busy, self._all = busy, everything
        memory = psutil.virtual_memory()
        found["system_memory_usage_megabytes"] = memory.used / _MEGA
        found["system_memory_usage_percentage"] = 100 * memory.used / memory.total
        try:
            disk = psutil.disk_usage(self._folder)
        except OSError:  # the folder was deleted
            disk = psutil.disk_usage(os.sep)
        found["disk_usage_percentage"] = disk.percent
        found["disk_usage_megabytes"] = disk.used / _MEGA
        found["disk_available_megabytes"] = disk.free / _MEGA
        network = _network()
        if network is not None:
            found["network_receive_megabytes"] = (network[0] - self._received) / _MEGA
            found["network_transmit_megabytes"] = (network[1] - self._sent) / _MEGA
        for index in self._gpus.handles if self._gpus is not None else ():
            with contextlib.suppress(Exception):  # a driver that went away, or is too old for a question
                found.update(self._of_gpu(index))
        return {f"{self._prefix}{name}": round(value, 1) for name, value in found.items()}

    def _of_gpu(self, index: int) -> dict[str, float]:
        assert self._gpus is not None
        load = self._gpus.look(index)
        found: dict[str, float] = {}
        if load.used is not None and load.total:
            found["memory_usage_percentage"] = 100 * load.used / load.total
            found["memory_usage_megabytes"] = load.used / _MEGA
        if load.utilization is not None:
            found["utilization_percentage"] = load.utilization
        if load.power is not None:
            found["power_usage_watts"] = load.power
            if load.power_limit:
                found["power_usage_percentage"] = 100 * load.power / load.power_limit
        return {f"gpu_{index}_{name}": value for name, value in found.items()}


def _processor_times() -> tuple[float, float]:
    """Give the seconds that all cores were busy, and all their seconds, since the machine was started."""
    import psutil

    times = psutil.cpu_times()
    everything = float(sum(times))
    # A guest's time is counted in its host's too.
    everything -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return everything - times.idle - getattr(times, "iowait", 0.0), everything


def _network() -> tuple[int, int] | None:
    """Give the bytes received and sent; None where this machine does not let us see."""
    import psutil

    try:
        counters = psutil.net_io_counters()
    except (OSError, RuntimeError):
        return None
    return (counters.bytes_recv, counters.bytes_sent) if counters is not None else None


def _interval() -> float:
    try:
        told = float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", EVERY))
    except ValueError:
        return EVERY
    return told if told > 0 else EVERY

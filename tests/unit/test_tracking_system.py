"""How busy the machine is: the real one, a driver that answers as NVIDIA's does, and MLflow's own names."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.tracking import track
from mlops_lab.tracking.lineage import environment, machine, system
from mlops_lab.tracking.lineage.nvml import Nvml
from mlops_lab.tracking.lineage.system import SystemMetrics
from mlops_lab.tracking.options import TrackOptions

OK, NOT_SUPPORTED = 0, 3


def test_the_metrics_have_the_names_and_the_units_of_mlflow() -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    theirs: dict[str, float] = {}
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        theirs |= monitor.aggregate_metrics()
    ours = SystemMetrics("/").sample()
    assert set(ours) == {f"system/{name}" for name in theirs}
    for name in ("disk_usage_percentage", "disk_usage_megabytes", "disk_available_megabytes"):
        assert ours[f"system/{name}"] == pytest.approx(theirs[name], rel=0.2)
    total = psutil.virtual_memory().total / 1e6
    share = ours["system/system_memory_usage_megabytes"] / total
    assert ours["system/system_memory_usage_percentage"] == pytest.approx(100 * share, abs=0.1)
    assert 0 <= ours["system/cpu_utilization_percentage"] <= 100


def test_a_sample_is_taken_at_once_and_then_when_it_is_due(
    server: TrackingServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with track(experiment=experiment, capture=["torch"]) as run:
        metrics = SystemMetrics()
        for _ in range(3):
            metrics.look(run)
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1e-9")
        often = SystemMetrics()
        often.look(run)
        often.look(run)
    assert run.run_id
    key = "system/disk_usage_percentage"
    answer = server.get("metrics/get-history", {"run_id": run.run_id, "metric_key": key, "max_results": 100})
    assert len(answer["metrics"]) == 3
    stored = {metric["key"] for metric in server.get_run(run.run_id)["data"]["metrics"]}
    assert {"system/system_memory_usage_percentage", "system/cpu_utilization_percentage"} <= stored


def test_a_node_of_several_has_its_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_NODE_ID", "node-1")
    assert "system/node-1/cpu_utilization_percentage" in SystemMetrics().sample()


def test_they_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    assert system.wanted(TrackOptions())
    assert not system.wanted(TrackOptions(capture=frozenset({"torch"})))
    assert system.wanted(TrackOptions(capture=frozenset({"torch", "system"})))
    for value, wanted in (("false", False), ("0", False), ("True", True)):
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", value)
        assert system.wanted(TrackOptions()) is wanted


def test_a_folder_that_was_deleted_costs_no_sample(tmp_path: Path) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    metrics = SystemMetrics(place)
    place.rmdir()
    assert metrics.sample()["system/disk_usage_percentage"] > 0


class Driver:
    """Answers as libnvidia-ml does, for a machine with two GPUs of which the second tells less (as a MIG slice)."""

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers

    def nvmlInit_v2(self) -> int:
        return OK if self.answers else 9

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 2
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Any) -> int:
        handle._obj.value = index.value + 1
        return OK

    def nvmlSystemGetDriverVersion(self, text: Any, length: ctypes.c_uint) -> int:
        text.value = b"570.1"
        return OK

    def nvmlSystemGetCudaDriverVersion_v2(self, version: Any) -> int:
        version._obj.value = 12040
        return OK

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, text: Any, length: ctypes.c_uint) -> int:
        text.value = b"NVIDIA H200"
        return OK

    def nvmlDeviceGetUUID(self, handle: ctypes.c_void_p, text: Any, length: ctypes.c_uint) -> int:
        text.value = b"GPU-%d" % (handle.value or 0)
        return OK

    def nvmlDeviceGetUtilizationRates(self, handle: ctypes.c_void_p, rates: Any) -> int:
        rates._obj.gpu = 75
        return OK if handle.value == 1 else NOT_SUPPORTED

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, memory: Any) -> int:
        memory._obj.total, memory._obj.used = 4 * 10**9, 10**9
        return OK

    def nvmlDeviceGetPowerUsage(self, handle: ctypes.c_void_p, power: Any) -> int:
        power._obj.value = 350_000
        return OK if handle.value == 1 else NOT_SUPPORTED

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: ctypes.c_void_p, power: Any) -> int:
        power._obj.value = 700_000
        return OK


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(Nvml, "load", classmethod(lambda cls: cls(Driver())))


@pytest.mark.usefixtures("driver")
def test_gpus_have_mlflows_names_and_what_one_does_not_tell_is_left_out() -> None:
    found = {name: value for name, value in SystemMetrics().sample().items() if "gpu" in name}
    assert found == {
        "system/gpu_0_utilization_percentage": 75.0,
        "system/gpu_0_memory_usage_percentage": 25.0,
        "system/gpu_0_memory_usage_megabytes": 1000.0,
        "system/gpu_0_power_usage_watts": 350.0,
        "system/gpu_0_power_usage_percentage": 50.0,
        "system/gpu_1_memory_usage_percentage": 25.0,
        "system/gpu_1_memory_usage_megabytes": 1000.0,
    }


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("visible", "numbers"), [("0", [0]), ("1", [1]), ("GPU-2", [1]), ("0,1", [0, 1]), ("", []), ("MIG-x", [0, 1])]
)
def test_only_the_gpus_that_this_process_may_use_are_shown(
    monkeypatch: pytest.MonkeyPatch, visible: str, numbers: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = Nvml.load()
    assert found is not None
    assert sorted(found.handles) == numbers


@pytest.mark.usefixtures("driver")
def test_the_environment_names_gpus_and_driver() -> None:
    described = machine.describe()
    devices = [{"name": "NVIDIA H200", "memory": 4 * 10**9}] * 2
    assert described["gpu"] == {"devices": devices, "driver": "570.1", "newest_cuda": "12.4"}
    assert environment.summary(described)["mlops_lab.gpu"] == "2 x NVIDIA H200"


def test_a_driver_that_does_not_answer_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(answers=False))
    assert Nvml.load() is None
    assert machine.describe()["gpu"] == {}

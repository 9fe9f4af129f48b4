"""What a run was computed with, gathered beside it: packages, machine, and the switches that decide repeatability.

A thread of its own gathers what stands still while the block already runs. What libraries say of themselves is read
when the block closes, from those that the code has imported by then; nothing is imported, and CUDA is not started.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...connection import tags as names
from . import machine, packages

if TYPE_CHECKING:
    from ..run import Run

SCHEMA_VERSION = 1
DOCUMENT = "environment/environment.json"
PACKAGES = "environment/packages.txt"
LONGEST_WAIT = 3.0
"""Seconds that the end of a block waits for what is still being gathered."""

_LIBRARIES = ("torch", "monai", "ignite", "numpy", "lightning", "pytorch_lightning", "sklearn", "xgboost", "nibabel")
_VARIABLES = ("PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def watch(run: Run) -> Environment:
    """Gather the environment of `run`, beside the thread that calls; it is recorded before the run ends."""
    return run.book("environment", lambda: Environment(run))


class Environment:
    """The environment of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._gathered: dict[str, Any] = {}
        self._lines = ""
        self._recorded: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self._recording = threading.Lock()
        self._over = False
        self._thread = threading.Thread(target=self._gather, name="mlops_lab environment", daemon=True)
        run.at_end(self.finish)
        self._thread.start()

    def finish(self) -> None:
        """Record what the libraries say now, and what was gathered; waits for that, within reason."""
        self._thread.join(LONGEST_WAIT)
        if self._thread.is_alive():
            self._run.notice("The packages and the machine were not listed in time; the run does not name them.")
        self._record()
        self._over = True

    def _gather(self) -> None:
        with contextlib.suppress(Exception):  # half a description is worth more than none
            self._gathered = machine.describe()
        with contextlib.suppress(Exception):
            found = packages.installed()
            listed = {package.name: package.version for package in found}
            sources = {package.name: _source(package) for package in found if package.source}
            self._gathered |= {"packages": listed, "packages_sha256": packages.fingerprint(found), "sources": sources}
            self._lines = "".join(f"{package}\n" for package in found)
        # A kernel that is killed does not come to the end of its block: what is known is recorded now.
        with contextlib.suppress(Exception):
            self._record()

    def _record(self) -> None:
        with self._recording:
            document = {"schema_version": SCHEMA_VERSION, **self._gathered, **loaded()}
            if self._over or document == self._recorded:
                return
            if "packages" not in self._recorded and self._lines:
                self._run.log_text(self._lines, PACKAGES)
            self._recorded = document
            self._run.log_text(json.dumps(document, indent=2, sort_keys=True, default=str), DOCUMENT)
            for name, value in summary(document).items():
                if self._tags.get(name) != value:
                    self._tags[name] = value
                    self._run.set_tag(name, value)


def loaded() -> dict[str, Any]:
    """Give what the imported libraries say: their versions, PyTorch's CUDA and GPUs, and the determinism switches."""
    versions = {}
    for name in _LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            versions[name] = str(version)
    switches: dict[str, Any] = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    found: dict[str, Any] = {"libraries": versions, "determinism": switches}
    torch = sys.modules.get("torch")
    if torch is not None:
        switches.update(_read(_SWITCHES, torch))
        found["torch"] = _read(_TORCH, torch)
    return found


def summary(document: dict[str, Any]) -> dict[str, str]:
    """Give the tags that people filter by."""
    libraries = document.get("libraries", {})
    devices = [device["name"] for device in document.get("gpu", {}).get("devices", []) if "name" in device]
    devices = document.get("torch", {}).get("gpus") or devices
    counted = {name: devices.count(name) for name in devices}
    found = {
        names.PYTHON: document.get("python", {}).get("version"),
        names.TORCH: libraries.get("torch"),
        names.MONAI: libraries.get("monai"),
        names.PACKAGES: document.get("packages_sha256"),
    }
    if "gpu" in document or devices:
        gpus = ", ".join(name if number == 1 else f"{number} x {name}" for name, number in counted.items())
        found[names.GPU] = gpus or "none"
    return {name: value for name, value in found.items() if value}


def _gpus(torch: Any) -> list[str] | None:
    # Only where the code has started CUDA itself: to ask is to start it, and forked workers could not use it then.
    if torch.cuda.is_initialized():
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["Apple GPU"] if torch.backends.mps.is_available() else None


_TORCH: dict[str, Callable[[Any], Any]] = {
    "cuda": lambda torch: torch.version.cuda,
    "rocm": lambda torch: torch.version.hip,
    "cudnn": lambda torch: torch.backends.cudnn.version() if torch.cuda.is_initialized() else None,
    "gpus": _gpus,
    "num_threads": lambda torch: torch.get_num_threads(),
    "num_interop_threads": lambda torch: torch.get_num_interop_threads(),
}
_SWITCHES: dict[str, Callable[[Any], Any]] = {
    "deterministic_algorithms": lambda torch: torch.are_deterministic_algorithms_enabled(),
    "deterministic_warn_only": lambda torch: torch.is_deterministic_algorithms_warn_only_enabled(),
    "cudnn_deterministic": lambda torch: torch.backends.cudnn.deterministic,
    "cudnn_benchmark": lambda torch: torch.backends.cudnn.benchmark,
    "float32_matmul_precision": lambda torch: torch.get_float32_matmul_precision(),
}


def _read(questions: dict[str, Callable[[Any], Any]], torch: Any) -> dict[str, Any]:
    found = {}
    for name, ask in questions.items():
        with contextlib.suppress(Exception):  # a version of PyTorch that has no such switch, or is half imported
            value = ask(torch)
            if value is not None:
                found[name] = value
    return found


def _source(package: packages.Package) -> dict[str, Any]:
    told = {"url": package.source, "revision": package.revision, "editable": package.editable}
    return {name: value for name, value in told.items() if value}

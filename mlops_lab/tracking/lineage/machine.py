"""What a run was computed on: processor, memory, GPUs, container; nothing that names the machine or its owner."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from .nvml import Nvml

_PATIENCE = 2.0
"""Seconds that a program of the system has to answer."""
_NO_LIMIT = 2**60


def describe() -> dict[str, Any]:
    """Describe this machine and the environment that Python runs in.

    Returns
    -------
    dict
        Plain values for JSON; sizes in bytes. What is not known is not in it.
    """
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "environment": _environment(),
        },
        "platform": _present(
            system=platform.system(),
            release=platform.release(),
            machine=platform.machine(),
            distribution=_distribution(),
        ),
        "processor": _present(model=_processor(), cores=os.cpu_count(), usable=_usable(), quota=_quota()),
        "memory": _present(bytes=_memory(), limit=_memory_limit()),
        "gpu": _gpus(),
        "container": _container(),
    }


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _environment() -> dict[str, str]:
    found = {}
    conda = os.environ.get("CONDA_DEFAULT_ENV") or (sys.prefix if Path(sys.prefix, "conda-meta").is_dir() else "")
    if conda:
        found["conda"] = Path(conda).name  # an environment without a name has its path instead
    elif sys.prefix != sys.base_prefix:
        found["venv"] = Path(sys.prefix).name
    return found


def _distribution() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return platform.mac_ver()[0]


def _processor() -> str:
    if sys.platform == "darwin":
        return _said_by("sysctl", "-n", "machdep.cpu.brand_string")
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Processor", "cpu model"):
                return value.strip()
    return platform.processor()


def _usable() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _quota() -> float | None:
    """Give the number of cores that a container allows, as its control group says."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if not period:
        quota, period = (_read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    with contextlib.suppress(ValueError):
        return round(int(quota) / int(period), 2) if int(quota) > 0 else None
    return None


def _memory() -> int:
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total)


def _memory_limit() -> int | None:
    told = _read("/sys/fs/cgroup/memory.max") or _read("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    return int(told) if told.isdigit() and int(told) < _NO_LIMIT else None


def _gpus() -> dict[str, Any]:
    nvidia = Nvml.load()
    if nvidia is None:
        return {}
    devices = [
        _present(name=nvidia.name(index), memory=int(nvidia.look(index).total or 0) or None) for index in nvidia.handles
    ]
    return _present(devices=devices, driver=nvidia.driver, newest_cuda=nvidia.cuda)


def _container() -> dict[str, str]:
    kind = ""
    if os.environ.get("APPTAINER_NAME") or os.environ.get("SINGULARITY_NAME"):
        kind = "apptainer"
    elif Path("/run/.containerenv").exists():
        kind = "podman"
    elif Path("/.dockerenv").exists():
        kind = "docker"
    elif os.environ.get("KUBERNETES_SERVICE_HOST"):
        kind = "kubernetes"
    found = {"kind": kind} if kind else {}
    image = os.environ.get("APPTAINER_NAME") or os.environ.get("SINGULARITY_NAME")
    if image:
        found["image"] = Path(image).name
    if os.environ.get("SLURM_JOB_ID"):
        found["scheduler"] = "slurm"
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _said_by(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

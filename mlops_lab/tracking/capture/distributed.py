"""Processes that a block starts and does not see into: the user is told, once per kind, and what helps.

A block records the process that opened it. What ``mp.spawn``, ``torchrun`` and other launchers, nnU-Net and Auto3DSeg
start trains elsewhere. The workers of a DataLoader are no such processes: what they load comes back. In a distributed
training whose script opens the block itself, the first rank records (:mod:`mlops_lab.tracking.ranks`), with its own
part of the batch and of the loss.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from typing import Any

from ..run import runs
from .patches import Patches

MODULES = ("torch.multiprocessing.spawn", "subprocess", "pexpect.pty_spawn", "monai.apps.auto3dseg.bundle_gen")

_SPAWNED = (
    "{name} started {count} processes, and a block records only the process that opened it: what they train is not "
    "in this run. Open mlops_lab.track() in the function that they run; its rank 0 then makes a run of its own."
)
_LAUNCHED = (
    "{name} was started, and a block records only the process that opened it: what it trains is not in this run. Open "
    "mlops_lab.track() in the script that it starts; its rank 0 then makes a run of its own."
)
_NNUNET = (
    "{name} trains in a process of its own: what it measures is in its own log files, not in this run. Add them with "
    "run.log_artifact(folder)."
)
_AUTO3DSEG = (
    "Auto3DSeg trains its networks in processes of their own, and a block records only the process that opened it: of "
    "each network this run has the best score. Give AutoRunner an mlflow_tracking_uri for their curves; the rest is in "
    "its work_dir."
)
_PROGRAMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(nnUNet(?:v2)?_train)\b"), _NNUNET),
    (re.compile(r"\b(torchrun|torch\.distributed\.(?:run|launch)|bcprun)\b"), _LAUNCHED),
    (re.compile(r"\b(accelerate launch|deepspeed|horovodrun|mpirun|mpiexec|srun|sbatch)\b"), _LAUNCHED),
    (re.compile(r"\b(monai\.bundle run|monai\.apps\.auto3dseg|nndet_train)\b"), _LAUNCHED),
)
_inside = threading.local()


def install(module: Any, patches: Patches) -> None:
    """Watch how `module` starts processes."""
    name = module.__name__
    if name == "subprocess":
        _watch_programs(module.Popen, patches)
    elif name == "pexpect.pty_spawn":
        _watch_programs(module.spawn, patches)  # an exclamation mark in a notebook
    elif name == "torch.multiprocessing.spawn":
        _watch_spawn(module, patches)
    else:
        _watch_algorithms(module.BundleAlgo, patches)


def _watch_programs(owner: Any, patches: Patches) -> None:
    start = owner.__init__

    @functools.wraps(start)
    def watched(self: Any, *args: Any, **options: Any) -> None:
        run = runs.current
        if run is not None and not getattr(_inside, "algorithm", False):
            sentence = _sentence([*args[:2], options.get("command"), options.get("args")])
            if sentence:
                run.notice(sentence)
        start(self, *args, **options)

    patches.set(owner, "__init__", watched)


def _watch_algorithms(algorithm: Any, patches: Patches) -> None:
    train = algorithm._run_cmd

    @functools.wraps(train)
    def watched(self: Any, *args: Any, **options: Any) -> Any:
        run = runs.current
        if run is None:
            return train(self, *args, **options)
        run.notice(_AUTO3DSEG)
        _inside.algorithm = True
        try:
            result = train(self, *args, **options)
        finally:
            _inside.algorithm = False
        try:
            network = os.path.basename(self.output_path)
            run.log_metric(f"auto3dseg/{network}/best_score", self.get_score())
        except Exception as error:
            run.notice(f"The score of a network of Auto3DSeg cannot be read ({type(error).__name__}).")
        return result

    patches.set(algorithm, "_run_cmd", watched)


def _watch_spawn(module: Any, patches: Patches) -> None:
    start = module.start_processes

    @functools.wraps(start)
    def watched(fn: Any, args: Any = (), nprocs: int = 1, *rest: Any, **options: Any) -> Any:
        run = runs.current
        if run is not None:
            caller = sys._getframe(1).f_code.co_name
            name = "torch.multiprocessing.spawn" if caller == "spawn" else "torch.multiprocessing.start_processes"
            run.notice(_SPAWNED.format(name=name, count=nprocs))
        return start(fn, args, nprocs, *rest, **options)

    patches.set(module, "start_processes", watched)
    package: Any = sys.modules.get("torch.multiprocessing")
    if package is not None and vars(package).get("start_processes") is start:
        patches.set(package, "start_processes", watched)


def _sentence(given: list[Any]) -> str:
    """Say what is not seen of a program that is about to be started; empty for what trains nothing that we know of."""
    words: list[Any] = []
    for part in given:
        words += part if isinstance(part, (list, tuple)) else [part]
    texts = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in words]
    text = " ".join(os.fspath(word) for word in texts if isinstance(word, (str, os.PathLike)))
    for pattern, sentence in _PROGRAMS:
        found = pattern.search(text)
        if found:
            return sentence.format(name=found[1])
    return ""

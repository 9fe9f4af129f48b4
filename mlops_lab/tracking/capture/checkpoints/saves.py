"""Checkpoints: of what ``torch.save`` and the savers of ignite, MONAI, Lightning and safetensors write, best and last.

A file counts where its object holds weights (a module, a state dict, an optimizer's state); tensors of images, such as
the ones that MONAI's persistent datasets save, never do. It is kept as it was right after it was written, before it
may be written over, at a fraction of a millisecond for the thread that saves, a few for 100 MB (``bench_checkpoints``
measures it; :mod:`...journal.snapshots` says how, and what happens in the background). Of each name the last one stays
and the best one so far; names that differ only in their numbers (``epoch_01.pt``, ``epoch_02.pt``) count as one, unless
one of them is written more than once. The best is told by the first validation metric that the run sees, or left to the
user where a name says ``best``. So a run keeps two or three files, and :data:`MOST_NAMES` names at most. Files above
:data:`LARGEST` and buffers are left out.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from .... import wire
from ...journal import retention
from ...journal.checkpoints import Entry, Index, hand_over
from ...journal.snapshots import Shelf, Snapshot
from ...run import Run, runs
from ..patches import Patches
from .weights import holds_weights

MODULES = (
    "torch.serialization",
    "torch.jit._serialization",
    "ignite.handlers.checkpoint",
    "safetensors.torch",
    "lightning.fabric.plugins.io.torch_io",
    "lightning_fabric.plugins.io.torch_io",
)
LARGEST = 2 * 10**9
"""Bytes of the largest file that is kept."""
MOST_NAMES = 4
"""Names of which the last and the best file are kept; the ones that were saved longest ago go first."""

_TRAINED = re.compile(r"train_loss(?!.*_epoch$)")
_UNFINISHED = re.compile(r"(\.(tmp|temp|partial|part)|~)+$")
"""A saver that writes aside and renames then; the file is called what it is going to be called."""
_TRAINING = re.compile(r"train|^lr(_|$)|^epoch$|grad_norm|^system/|_class_|_seconds$|iteration|^step$", re.IGNORECASE)
_VALIDATION = re.compile(r"(^|[_/. -])(val|valid|validation|test|eval|dev)([_/. -]|$)", re.IGNORECASE)
_SMALLER = re.compile(
    r"loss|distance|error|perplexity|hausdorff|(^|[_/])(hd|hd95|asd|assd|mse|mae|rmse|nll)", re.IGNORECASE
)


def install(module: Any, patches: Patches) -> None:
    """Hook the savers of one library's `module`."""
    name = module.__name__
    if name == "ignite.handlers.checkpoint":
        _hook(module.DiskSaver, "__call__", patches, lambda given: (given["checkpoint"], _in_folder(given)))
    elif name == "safetensors.torch":
        _hook(module, "save_file", patches, lambda given: (given["tensors"], given["filename"]))
    elif name.endswith(".torch_io"):
        _hook(module.TorchCheckpointIO, "save_checkpoint", patches, lambda given: (given["checkpoint"], given["path"]))
    else:
        what = "obj" if name == "torch.serialization" else "m"
        _hook(module, "save", patches, lambda given: (given[what], given["f"]))
        # The package repeats the name of its module, and may do so only after we have been here.
        package = name.removesuffix(".serialization").removesuffix("._serialization")
        ours = module.save
        patches.undo_with(functools.partial(_exchange, package, ours, ours.__wrapped__))
        _exchange(package, ours.__wrapped__, ours)


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, run: Run) -> None:
        self.shelf = Shelf(run.folder, retention.room_for, run.notice)
        self._run = run
        self._turn = threading.RLock()
        self._judge = Judge()
        self._over = False
        self._kept: list[Snapshot] = []
        self._times: dict[Path, int] = {}
        _shelves.append(self.shelf)
        run.at_end(self.finish)
        # What was measured before the first file was saved is taken for its score, unless a verdict follows.
        self._guessing = True
        for name, value in run.metrics.items():
            if self._judge.heeds(name):
                self._judge.note(name, value, _trained(run))
        run.observe(self.measured)

    def saved(self, path: Path) -> None:
        """Keep what was just written to `path`, and give up what it supersedes."""
        size = path.stat().st_size
        if size > LARGEST:
            self._run.notice(f"The checkpoint {path.name} has {size / 1e9:.1f} GB and is not kept; the limit is 2 GB.")
            return
        with self._turn:
            self._times[path] = self._times.get(path, 0) + 1
            snapshot = self.shelf.take(path)
            if snapshot is None:
                return
            trained = _trained(self._run)
            snapshot.facts = {
                "time": int(time.time() * 1000),
                "step": trained or None,
                "epoch": self._run.facts.get("epoch"),
                "metrics": {name: wire.to_number(value) for name, value in list(self._run.metrics.items())},
                "trained": trained,
                "score": self._judge.score(trained),
                "guessed": self._guessing,
            }
            self._guessing = False
            self._kept.append(snapshot)
            self._choose()

    def measured(self, name: str, value: float) -> None:
        """Take note of a point of some metric; it may be the verdict on the weights that were saved before it."""
        if self._over or not self._judge.heeds(name):
            return
        with self._turn:
            trained = _trained(self._run)
            if not self._judge.note(name, value, trained):
                return
            same = [item for item in self._kept if item.facts["trained"] == trained]
            meant = [item for item in same if item.facts["score"] is None or item.facts["guessed"]]
            for snapshot in meant:
                snapshot.facts.update(score=value, guessed=False)
            if meant:
                self._choose()

    def finish(self) -> None:
        """Hand what is kept to the run; it is about to end."""
        _shelves.remove(self.shelf)
        with self._turn:
            self._over = True
            kept = self._choose()
            for record in hand_over(self._run.folder, self._index(self.shelf.finish(self._kept), kept)):
                self._run.hand_over(record)

    def _choose(self) -> dict[Snapshot, str]:
        """Decide what stays, and why; the rest is given up."""
        groups: dict[str, list[Snapshot]] = {}
        for snapshot in self._kept:
            name = self._name(snapshot.path)
            groups[name] = [*groups.pop(name, []), snapshot]
        names = list(groups)
        if len(names) > MOST_NAMES:
            self._run.notice(
                f"Checkpoints were saved under more than {MOST_NAMES} names; those of the latest {MOST_NAMES} are kept."
            )
        users_best = any("best" in Path(name).name.lower() for name in names)
        kept: dict[Snapshot, str] = {}
        for name in names[-MOST_NAMES:]:
            kept[groups[name][-1]] = "best" if "best" in Path(name).name.lower() else "last"
            best = None if users_best else self._judge.best(groups[name])
            if best is not None:
                kept[best] = "best and last" if best in kept else "best"
        for snapshot in self._kept:
            if snapshot not in kept:
                self.shelf.drop(snapshot)
        self._kept = [snapshot for snapshot in self._kept if snapshot in kept]
        self.shelf.note(self._index(self._kept, kept))
        self.shelf.settle(self._kept)
        return kept

    def _name(self, path: Path) -> str:
        """Give what a file counts as: files of a numbered series are one, a path that is written again is itself."""
        if self._times.get(path, 0) > 1:
            return str(path)
        return str(path.with_name(re.sub(r"\d+(\.\d+)?", "#", path.name)))

    def _index(self, snapshots: list[Snapshot], kept: dict[Snapshot, str]) -> Index:
        index = Index(metric=self._judge.metric)
        # The last one is called what the user calls it, so an earlier content of its path needs another name.
        names: dict[Snapshot, str] = {}
        for snapshot in sorted(snapshots, key=lambda item: kept[item] == "best"):
            names[snapshot] = _free(snapshot.path, kept[snapshot], set(names.values()))
        for snapshot in snapshots:
            facts, why = snapshot.facts, kept[snapshot]
            score = facts["score"]
            entry = Entry(
                name=self._run.file_name(names[snapshot]) or f"checkpoint_{len(index.files) + 1}",
                file=snapshot.file.relative_to(self._run.folder).as_posix(),
                size=snapshot.size,
                modified=snapshot.modified,
                time=facts["time"],
                kept=why,
                step=facts["step"],
                epoch=facts["epoch"],
                metrics=facts["metrics"],
                score=None if score is None else wire.to_number(score),
                sha256=snapshot.sha256,
            )
            index.files.append(entry)
        return index


class Judge:
    """Which weights are the best so far, by the first validation metric of a run."""

    def __init__(self) -> None:
        self.metric = ""
        """Its name; empty while there is none."""
        self._rank = 3
        self._value: float | None = None
        self._trained = -1

    def heeds(self, name: str) -> bool:
        """Tell whether a metric is, or would be, the one that counts."""
        return name == self.metric or _rank(name) < self._rank

    def note(self, name: str, value: float, trained: int) -> bool:
        """Take note of a point; True where it is of the metric that counts."""
        if _rank(name) < self._rank:
            self.metric, self._rank = name, _rank(name)
        if name == self.metric:
            self._value, self._trained = value, trained
        return name == self.metric

    def score(self, trained: int) -> float | None:
        """Give the value that holds for the weights of now; None where they were not measured yet."""
        return self._value if self._trained == trained else None

    def best(self, snapshots: list[Snapshot]) -> Snapshot | None:
        """Give the best of these; the latest of equals, None where none was measured."""
        found = [
            item for item in snapshots if item.facts["score"] is not None and item.facts["score"] == item.facts["score"]
        ]
        sign = -1 if _SMALLER.search(self.metric) else 1
        return max(reversed(found), key=lambda item: sign * item.facts["score"], default=None)


_shelves: list[Shelf] = []
"""Of every open run: a nested one may write over what the outer one keeps."""
_inside = threading.local()


def _hook(owner: Any, name: str, patches: Patches, which: Callable[[dict[str, Any]], tuple[Any, Any]]) -> None:
    """Watch a function that saves; `which` gives what is saved, and where to, from its arguments."""
    save = getattr(owner, name)
    signature = inspect.signature(save)

    @functools.wraps(save)
    def watched(*args: Any, **kwargs: Any) -> Any:
        run = runs.current
        if run is None or not run.options.checkpoints or getattr(_inside, "saver", False) or _by_mlflow():
            return save(*args, **kwargs)
        _inside.saver = True
        try:
            saved, path = _arguments(signature, args, kwargs, which)
            mode = _before(run, path) if path is not None else None
            result = save(*args, **kwargs)
            if path is not None:
                _after(run, saved, path, mode)
            return result
        finally:
            _inside.saver = False

    patches.set(owner, name, watched)


def _by_mlflow() -> bool:
    """Tell whether ``log_model`` saves: the run has the model from there."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("mlflow.")


def _arguments(
    signature: inspect.Signature, args: Any, kwargs: Any, which: Callable[[dict[str, Any]], tuple[Any, Any]]
) -> tuple[Any, Path | None]:
    try:
        saved, path = which(signature.bind(*args, **kwargs).arguments)
        return saved, Path(os.path.abspath(path)) if isinstance(path, (str, os.PathLike)) else None
    except (TypeError, KeyError, OSError):
        return None, None  # the saver says what is wrong with them


def _before(run: Run, path: Path) -> int | None:
    try:
        return next((mode for shelf in _shelves if (mode := shelf.let_go(path)) is not None), None)
    except Exception as error:
        run.notice(f"An earlier checkpoint could not be kept from being written over ({type(error).__name__}).")
        return None


def _after(run: Run, saved: Any, path: Path, mode: int | None) -> None:
    try:
        if mode is not None and path.stat().st_mode & 0o7777 != mode:
            path.chmod(mode)
        if holds_weights(sys.modules["torch"], saved):
            run.book("checkpoints", lambda: Checkpoints(run)).saved(path)
    except Exception as error:
        run.notice(f"The checkpoint {path.name} could not be kept ({type(error).__name__}: {error}).")


def _in_folder(given: dict[str, Any]) -> Path:
    return Path(given["self"].dirname, given["filename"])


def _exchange(package: str, before: Any, after: Any) -> None:
    module = sys.modules.get(package)
    if module is not None and vars(module).get("save") is before:
        module.save = after  # type: ignore[attr-defined]


def _trained(run: Run) -> int:
    """Give the number of optimizer steps that the run has seen."""
    return sum(count for name, count in run.steps.items() if _TRAINED.match(name))


@functools.lru_cache(maxsize=4096)
def _rank(name: str) -> int:
    """Give how well a metric tells the best weights: 0 well, 3 not at all."""
    if _TRAINING.search(name):
        return 3
    if _VALIDATION.search(name):
        return 0
    return 2 if _SMALLER.search(name) else 1


def _free(path: Path, why: str, taken: set[str]) -> str:
    """Name a file among the artifacts: as it is called, with its folder where another one is called so."""
    name = _UNFINISHED.sub("", path.name) or path.name
    stem, suffix = Path(name).stem, Path(name).suffix
    for candidate in (name, f"{stem}_best{suffix}" if why == "best" else name, f"{path.parent.name}_{name}"):
        if candidate not in taken:
            return candidate
    return next(name for number in count(2) if (name := f"{stem}_{number}{suffix}") not in taken)

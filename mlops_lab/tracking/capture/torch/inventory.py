"""The loaders and datasets that a run used: what the user calls them, their sizes and settings, as params."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from types import FrameType
from typing import Any

from ...run import Run
from .frames import callers, inside, names_of, variables
from .words import dataset_words, loader_words

_OWNER = re.compile(r"train|evaluat|valid", re.IGNORECASE)
_HOLDS = re.compile(r"(?i)loader|(^|_)dl$")
_SHUFFLED = {"RandomSampler": True, "SequentialSampler": False}
_COUNTED = (
    "BatchSampler",
    "RandomSampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
    "DistributedSampler",
)
"""Samplers of PyTorch's own, whose length is known without drawing anything."""


class Entry:
    """One loader, or several after each other that the user calls by the same name."""

    def __init__(self, name: str, kind: Any) -> None:
        self.kind = kind
        self.loader: Callable[[], Any] = lambda: None
        self.name = name
        self.passes = 0
        """Passes that came to an end or trained."""
        self.batches: int | None = None
        self.described = False
        """The settings of the loader that it has now are params."""


class Loaders:
    """The loaders of one run."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._ids: dict[int, Entry] = {}

    def entry(self, loader: Any, frame: FrameType | None) -> Entry:
        """Give what is known of `loader`; a new one is named as `frame` and its callers call it."""
        known = self._ids.get(id(loader))
        if known is not None and known.loader() is loader:
            return known
        given = next(_names(loader, frame), "")
        plain = given or "loader"
        kind = None if given else (type(loader.dataset).__name__, loader.batch_size)
        name = next(name for name in chain([plain], (f"{plain}_{n}" for n in count(2))) if self._free(name, kind))
        found = self._entries.get(name) or Entry(name, kind)
        found.loader, found.described = weakref.ref(loader), False
        found.batches = batches(loader)
        self._entries[found.name] = self._ids[id(loader)] = found
        return found

    def passed(self, name: str, given: int | None) -> None:
        """Note that a pass is over, after `given` batches if it came to its end."""
        entry = self._entries[name]
        entry.passes += 1
        if entry.batches is None:
            entry.batches = given

    def _free(self, name: str, kind: Any) -> bool:
        # One that is made anew for every epoch goes on under its name; one without a name only where it is alike.
        known = self._entries.get(name)
        return known is None or (known.loader() is None and known.kind == kind)


def _names(loader: Any, frame: FrameType | None) -> Iterator[str]:
    """Give what `loader` may be called: as itself, its dataset, or an object of the user's own that holds it."""
    for given in names_of(loader, frame):
        if words := loader_words(given):
            yield "_".join(words)
    for given in names_of(loader.dataset, frame):
        if words := dataset_words(given):
            yield "_".join(words)
    for given in _given(loader, frame):
        if words := loader_words(given):
            yield "_".join(words)
    for caller in callers(frame):
        owner = variables(caller).get("self")
        if not any(value is loader for value in inside(owner).values()):
            continue
        for given in names_of(owner, caller):
            if _HOLDS.search(given) and (words := loader_words(given)):
                yield "_".join(words)
        if role := _OWNER.search(type(owner).__name__):
            yield next(_roles(names_of(owner, caller)), "train" if role[0].lower() == "train" else "val")


def _given(loader: Any, frame: FrameType | None) -> Iterator[str]:
    """Give what a bundle's configuration, or else the trainer that asked the user for `loader`, calls it."""
    for caller in callers(frame):
        held = variables(caller)
        own = held.get("self")
        for thing in (own, *inside(own).values(), *held.values()):
            yield from _configured(loader, thing)
        # Lightning: the name of the method that gives the loader, or would (``val_dataloader``).
        source = inside(inside(own).get("_data_source")).get("name")
        if isinstance(source, str):
            yield source
            return


def _configured(loader: Any, parser: Any) -> Iterator[str]:
    """Give the parts of the id, ``test::dataloader``, under which a parser of MONAI's has made `loader`."""
    if not type(parser).__module__.startswith("monai.bundle."):
        return
    made = inside(inside(parser).get("ref_resolver", parser)).get("resolved_content")
    ids = [key for key, value in list(made.items()) if value is loader] if type(made) is dict else []
    if ids:
        parts = re.split("#|::", min(ids, key=len))
        yield from _roles(parts)
        yield from parts[::-1]


def _roles(names: Iterable[str]) -> Iterator[str]:
    """Give those of `names` that tell what data are for, by one word."""
    for name in names:
        yield from (word for word in loader_words(name) if word in ("train", "val", "test"))


def batches(loader: Any) -> int | None:
    """Give the number of batches of `loader` where that can be told without drawing or counting anything."""
    sampler = loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
    inner = getattr(sampler, "sampler", sampler)
    if type(sampler).__name__ not in _COUNTED or type(inner).__name__ not in _COUNTED:
        return None
    if not all(type(part).__module__.startswith("torch.") for part in (sampler, inner)) or not _is_map(loader):
        return None
    try:
        return len(sampler)
    except Exception:
        return None


def describe(run: Run, loader: Any, name: str) -> None:
    """Make the settings of `loader` and of its dataset params of the run."""
    prefix = name if name.partition("_")[0] == "loader" else f"{name}_loader"
    size = loader.batch_size
    if size is None:
        size = getattr(loader.batch_sampler, "batch_size", None)
    if isinstance(size, int):
        run.note_param(f"{prefix}.batch_size", size)
    run.note_param(f"{prefix}.num_workers", loader.num_workers)
    if _is_map(loader):
        inner = getattr(loader.batch_sampler, "sampler", None) or loader.sampler
        sampler = type(loader.batch_sampler if inner is None else inner).__name__
        if sampler in _SHUFFLED:
            run.note_param(f"{prefix}.shuffle", _SHUFFLED[sampler])
        else:
            run.note_param(f"{prefix}.sampler", sampler)
    dataset = f"{name.replace('loader', 'dataset', 1)}" if prefix == name else f"{name}_dataset"
    run.note_param(dataset, type(loader.dataset).__name__)
    if _is_map(loader):
        try:
            run.note_param(f"{dataset}.size", len(loader.dataset))
        except Exception:
            return  # a dataset without a length, or with one that cannot be told


def loader_of(iterator: Any, frame: FrameType | None) -> Any:
    """Find the loader that made `iterator` among the variables of `frame` and its callers; None where it is not."""
    sampler = iterator._index_sampler
    for caller in callers(frame):
        for scope in (variables(caller), caller.f_globals):
            for value in list(scope.values()):
                if hasattr(type(value), "_index_sampler") and value._index_sampler is sampler:
                    return value
    return None


def _is_map(loader: Any) -> bool:
    return int(getattr(loader, "_dataset_kind", 0)) == 0

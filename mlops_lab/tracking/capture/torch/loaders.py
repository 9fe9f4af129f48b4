"""PyTorch's DataLoader: what is iterated, which batch a thread handles, how long it waited for it, and what it was for.

Every class that gives batches is watched: the loader's ``__iter__`` (MONAI's ThreadDataLoader has one of its own) and
its iterators' ``__next__``. Nothing here iterates, indexes or measures a user's dataset more than the loader does.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from time import perf_counter
from types import FrameType
from typing import Any

from ...run import Run, runs
from ..patches import Patches, family
from . import inventory
from .frames import Place, place

MODULES = ("torch.utils.data.dataloader",)

_INFO = "_mlops_lab_pass"


class _Inside(threading.local):
    """Whether this thread is inside of a loader; a default costs less to read than what may be missing."""

    loader = False


_inside = _Inside()


class LoaderInfo:
    """One pass of one loader, from its ``iter`` to its end.

    Attributes
    ----------
    loader
        The loader; None once it is gone.
    name
        What the user calls it, e.g. ``"train"``.
    epoch
        Number of this pass among those of the loader that came to an end or trained, from 1.
    batch, batches
        Number of the batch that was given out last, from 1, and of all of them; None where that is not known.
    training
        A loss was back-propagated since this pass began.
    """

    __slots__ = (
        "_loader",
        "batch",
        "batches",
        "began",
        "book",
        "data_seconds",
        "epoch",
        "given",
        "iterator",
        "name",
        "nested",
        "observers",
        "over",
        "run",
        "shown",
        "site",
        "spent",
        "step_seconds",
        "stepped",
        "training",
    )

    def __init__(self, run: Run, loader: Any, name: str, epoch: int, batches: int | None, site: Place) -> None:
        self.run = run
        # Weak: a loader with persistent workers holds its iterator, which holds this.
        self._loader = weakref.ref(loader)
        self.name = name
        self.epoch = epoch
        self.batch = 0
        self.batches = batches
        self.training = False
        self.site = site
        self.nested: list[LoaderInfo] = []
        """Passes that were under way, with a batch given out, when this one began."""
        self.over = False
        self.spent = False
        """Another one that is drawn from at the same place (``zip``) has come to its end since the last batch."""
        self.began = self.given = self.stepped = perf_counter()
        self.data_seconds = 0.0
        self.step_seconds = 0.0
        self.iterator: weakref.ref[Any] | None = None
        self.shown = False
        """It is an epoch, and the live line shows how far it is."""
        self.book: Any = None
        self.observers = list(_observers)
        """Who wants to be told of the next batch."""

    @property
    def loader(self) -> Any:
        """See the attributes."""
        return self._loader()


Observer = Callable[[Run, LoaderInfo, Any], bool]
_observers: list[Observer] = []
_listeners: list[Callable[[LoaderInfo, bool], None]] = []


def observe(function: Observer) -> None:
    """Have ``function(run, info, batch)`` called for each batch that is handed out inside a block.

    It is called in the thread that iterates and in the main process. It gives False where it wants to hear no more of
    this pass, and may cost no more than a few microseconds else. What it raises becomes a notice.
    """
    _observers.append(function)


def listen(function: Callable[[LoaderInfo, bool], None]) -> None:
    """Have `function` called with each pass that is over, and whether it was cut off by the end of its block."""
    _listeners.append(function)


def current(run: Run) -> tuple[LoaderInfo, Any] | None:
    """Give the batch that this thread handles now, and the pass that it comes from; None outside of a loader."""
    found = passes(run).threads.get(threading.get_ident())
    return found.latest if found is not None else None


def finish(run: Run) -> None:
    """End the passes that are still under way; the run is over."""
    for thread in list(passes(run).threads.values()):
        for info in list(thread.active):
            _end(info, cut=not info.spent)


class _Thread:
    """The passes of one thread."""

    __slots__ = ("active", "latest")

    def __init__(self) -> None:
        self.active: list[LoaderInfo] = []
        self.latest: tuple[LoaderInfo, Any] | None = None


class Passes:
    """The passes of one run."""

    def __init__(self) -> None:
        self.threads: dict[int, _Thread] = {}
        self.loaders = inventory.Loaders()
        self.changes = 0
        """Passes that have begun or ended."""
        self.when_over: list[Callable[[], None]] = []
        """Called in the thread of a pass when that is over."""

    @property
    def active(self) -> list[LoaderInfo]:
        """Those that are under way in the calling thread, in the order in which they began."""
        return self.thread.active

    @property
    def thread(self) -> _Thread:
        """Those of the calling thread."""
        key = threading.get_ident()
        found = self.threads.get(key)
        if found is None:
            found = self.threads[key] = _Thread()
        return found


def passes(run: Run) -> Passes:
    """Give the passes of `run`."""
    return run.book("loaders", Passes)


def install(module: Any, patches: Patches) -> None:
    """Hook the loaders and iterators of `module`, and the classes that are made of them later."""
    loader_class, iterator_class = module.DataLoader, module._BaseDataLoaderIter

    def hook_loader(cls: type) -> None:
        original = cls.__dict__.get("__iter__")
        if callable(original) and not hasattr(original, "_mlops_lab_hook"):
            patches.set(cls, "__iter__", _watched_iter(original, iterator_class))

    def appeared(cls: Any, /, **kwargs: Any) -> None:
        super(loader_class, cls).__init_subclass__(**kwargs)
        hook_loader(cls)

    for cls in family(loader_class):
        hook_loader(cls)
    for cls in family(iterator_class):
        if "__next__" in cls.__dict__:
            patches.set(cls, "__next__", _watched_next(cls.__dict__["__next__"]))
    patches.set(loader_class, "__init_subclass__", classmethod(appeared))


def _watched_iter(original: Any, iterator_class: type) -> Any:
    @functools.wraps(original)
    def watched(self: Any) -> Any:
        run = runs.current
        if run is None:
            return original(self)
        if _inside.loader:
            # What another loader, or a dataset, iterates over within a batch is no pass of its own.
            iterator = original(self)
            if isinstance(iterator, iterator_class):
                iterator.__dict__[_INFO] = None
            return iterator
        frame = sys._getframe(1)
        _inside.loader = True
        try:
            began = perf_counter()
            iterator = original(self)
        finally:
            _inside.loader = False
        info = _begin(run, self, frame, began)
        if info is None:
            return iterator
        if not isinstance(iterator, iterator_class):
            iterator = _Watched(iterator, info)
        else:
            iterator.__dict__[_INFO] = info
        info.iterator = weakref.ref(iterator, functools.partial(_dropped, info))
        return iterator

    watched._mlops_lab_hook = True  # type: ignore[attr-defined]
    return watched


def _watched_next(original: Any) -> Any:
    @functools.wraps(original)
    def watched(self: Any) -> Any:
        info = self.__dict__.get(_INFO, False)
        run = runs.current
        if run is None or info is None or _inside.loader:
            return original(self)
        if info is False or info.run is not run:
            # Begun before the block, or in another one.
            info = self.__dict__[_INFO] = _join(run, self)
        if info is None or info.over:
            return original(self)
        return _next(info, original, self)

    return watched


class _Watched:
    """An iterator of another kind (a generator), with a look at each batch; else it is the iterator that it was."""

    def __init__(self, iterator: Any, info: LoaderInfo) -> None:
        self._iterator = iterator
        self._info = info

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if runs.current is not self._info.run or self._info.over:
            return next(self._iterator)
        return _next(self._info, next, self._iterator)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


def _next(info: LoaderInfo, take: Callable[[Any], Any], iterator: Any) -> Any:
    """Take the next batch of a pass and note it."""
    thread = info.book
    thread.latest = None  # it may be large, and its successor is about to be made
    asked = perf_counter()
    if info.batch:
        info.step_seconds += asked - info.given
    _inside.loader = True
    try:
        batch = take(iterator)
    except StopIteration:
        info.data_seconds += perf_counter() - asked
        _end(info, exhausted=True)
        raise
    finally:
        _inside.loader = False
    info.given = given = perf_counter()
    info.data_seconds += given - asked
    info.batch += 1
    info.spent = False
    thread.latest = (info, batch)
    if info.shown:
        facts = info.run.facts
        facts["batch"] = info.batch
        facts["data_seconds"] = info.data_seconds
        facts["step_seconds"] = info.step_seconds
    if info.observers:
        try:
            for observer in info.observers:
                if not observer(info.run, info, batch):
                    info.observers = [other for other in info.observers if other is not observer]
        except Exception:
            info.run.notice("Something about a batch of a loader could not be recorded.")
    return batch


def _begin(run: Run, loader: Any, frame: FrameType | None, began: float) -> LoaderInfo | None:
    try:
        book = passes(run)
        for other in list(book.thread.active):
            if other.loader is loader and loader.persistent_workers and loader.num_workers:
                _end(other)  # left by a break, and never dropped: the loader uses the same iterator again
        entry = book.loaders.entry(loader, frame)
        info = LoaderInfo(run, loader, entry.name, entry.passes + 1, entry.batches, place(frame))
        info.began = began
        if not entry.described:
            entry.described = True
            inventory.describe(run, loader, entry.name)
        info.book = thread = book.thread
        info.nested = [other for other in thread.active if other.batch]
        thread.active.append(info)
        book.changes += 1
        return info
    except Exception:
        run.notice("A data loader could not be recorded; the training is as it was.")
        return None


def _join(run: Run, iterator: Any) -> LoaderInfo | None:
    """Begin a pass for an iterator that was made outside of this block; None where its loader is not known."""
    try:
        frame = sys._getframe(2)
        loader = inventory.loader_of(iterator, frame)
        info = _begin(run, loader, frame, perf_counter()) if loader is not None else None
        if info is not None:
            info.batches = None
            info.iterator = weakref.ref(iterator, functools.partial(_dropped, info))
        return info
    except Exception:
        return None


def _dropped(info: LoaderInfo, iterator: object) -> None:
    # A loop that was left by a break; called wherever Python lets the iterator go.
    if sys is not None and not sys.is_finalizing():
        _end(info)


def _end(info: LoaderInfo, cut: bool = False, exhausted: bool = False) -> None:
    if info.over:
        return
    info.over = True
    try:
        book = passes(info.run)
        book.changes += 1
        thread = info.book
        thread.active = [other for other in thread.active if other is not info]
        for other in thread.active if exhausted else ():
            other.spent = other.site == info.site
        if thread.latest is not None and thread.latest[0] is info:
            thread.latest = None
        # One batch that was looked at is no pass.
        if info.training or exhausted or info.batch > 1:
            book.loaders.passed(info.name, info.batch if exhausted else None)
        for listener in _listeners:
            listener(info, cut)
        for function in book.when_over:
            function()
    except Exception:
        info.run.notice("The end of an epoch could not be recorded.")

"""Declared against seen: which files the code of a run really read, and whether they are those that it was given.

What is told in the thread that trains is a name, put into a set. A thread of its own then looks what the file is:
one of a declared dataset version, wherever it lies; or none, and then it is hashed, in a fraction of one processor's
time and within limits. Names of files are identifiers of people often enough: they stay on this computer, and the run
gets counts and content hashes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import data
from ..active import runs
from . import evidence, findings
from .children import Children, are_forked
from .declared import Declared
from .outside import Outside

if TYPE_CHECKING:
    from ..capture.torch.loaders import LoaderInfo
    from ..options import TrackOptions
    from ..run import Run

CAPTURE = "readers"
"""How the switch of the captures calls this one."""
MOST_FILES = 100_000
"""Files of one run that are told apart."""
LONGEST_WAIT = 3.0
"""Seconds that the end of a block waits for what is still being looked at."""
HASHING_WAIT = 0.5
"""Of these, what is spent on hashes that decide nothing, because no version was declared."""
TELL_EVERY = 30.0
"""Seconds between two records of the counts while the block runs; a kernel that is killed writes no last one."""
PAUSE = 0.5


def wanted(options: TrackOptions) -> bool:
    """Tell whether a run is to look at what it reads."""
    return options.capture is None or CAPTURE in options.capture


def watch(run: Run) -> Seen:
    """Keep book of the files that `run` reads; its counts are recorded before it ends."""
    return run.book("seen", lambda: Seen(run))


def of(run: Run) -> Seen | None:
    """Give the book of `run`; None where it is not to have one."""
    return watch(run) if wanted(run.options) else None


class _Fork:
    """The book that a forked process tells its files to: that of the run which the forking thread belonged to."""

    book: Seen | None = None
    begun: Seen | None = None

    def before(self) -> None:
        run = runs.current
        self.begun = self.book
        if run is not None:
            with contextlib.suppress(Exception):
                self.begun = of(run)

    def in_parent(self) -> None:
        self.begun = None  # it holds the run

    def in_child(self) -> None:
        self.book = self.begun


_fork = _Fork()
os.register_at_fork(before=_fork.before, after_in_parent=_fork.in_parent, after_in_child=_fork.in_child)


def of_parent() -> Seen | None:
    """Give the book that a forked process without a run of its own tells its files to."""
    return _fork.book


class _Loader:
    """What one loader handed out, or one iterator whose loader nobody holds."""

    def __init__(self, loader: Any) -> None:
        self.loader = weakref.ref(loader)
        self.names: set[str] = set()
        self.listed = False
        """Batches said nothing of files, or not of all, so the dataset's own list has to do."""
        self.info: LoaderInfo | None = None
        self.trained = False
        self.first = self.last_trained = 0.0
        """When its first batch was handed out, and the last one that was trained on."""

    def look(self) -> bool:
        """Tell whether its batches were trained on: that is known after they were handed out."""
        if self.info is not None and self.info.training:
            self.trained, self.last_trained = True, self.info.given
        return self.trained


class Seen:
    """The files of one run.

    Attributes
    ----------
    declared
        The versions that the run was given so far.
    outside
        What it read besides.
    more
        Files beyond those that are told apart.
    unlisted
        Classes of datasets whose loaders read files that neither their batches nor they themselves name.
    """

    def __init__(self, run: Run) -> None:
        self.declared: list[Declared] = []
        self.outside = Outside(run.folder)
        self.more = 0
        self.unlisted: set[str] = set()
        self._children = Children()
        self._read_given: set[Path] = set()
        """Views of versions that were used before this run, and that it has read from."""
        self._run = run
        self._told: dict[str, str] = {}
        """Every name once, so that a loader's set shares its text."""
        self._news: deque[str] = deque()
        self._datasets: deque[tuple[_Loader, Any, bool]] = deque()
        self._loaders: dict[int, _Loader] = {}
        self._trained_on: set[str] = set()
        self._last_trained = 0.0
        self._handed_out: dict[str, float] = {}
        """Names that loaders handed out for something else, and when they did so first."""
        self._where: dict[str, list[tuple[Declared, str]]] = {}
        self._wake = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._work, name="mlops_lab files", daemon=True)
        self._starting = threading.Lock()
        self._recorded: dict[str, str] = {}
        run.at_end(self.finish)

    def opened(self, told: Any) -> None:
        """Take note that a reader has read `told`: a path, several, or an open file."""
        if self._children.here:
            names = [name for name in map(_absolute, evidence.names_of(told)) if name not in self._told]
            self._told.update(zip(names, names, strict=True))
            self._children.tell(names)
            return
        for name in evidence.names_of(told):
            self._add(name)

    def batch(self, info: LoaderInfo, batch: Any) -> bool:
        """Take note of the files that a loader's batch was read from; False where its batches say nothing of files."""
        loader = info.loader
        if loader is None and info.iterator is not None:
            loader = info.iterator()  # ``for batch in DataLoader(...)``: nobody holds the loader while it runs
        if loader is None:
            return False
        book = self._loaders.get(id(loader))
        if book is None or book.loader() is not loader:
            book = self._begin(loader)
        if book.info is not info:
            book.look()
            book.info = info
            book.first = book.first or info.given
        told = evidence.names_in(batch)
        if not book.listed and (not told or (info.batch <= 1 and evidence.is_partial(batch, _size(loader)))):
            book.listed = True
            hidden = bool(told) or not are_forked(getattr(info.iterator and info.iterator(), "_workers", ()))
            self._datasets.append((book, loader._dataset if hasattr(loader, "_dataset") else loader.dataset, hidden))
            self._start()
        if told and not book.names.issuperset(told):
            book.names.update(known for name in told if (known := self._add(name)))
        return bool(told)

    def finish(self) -> None:
        """Look at what is left, within reason, and record the counts; what is missing then is said."""
        if self._thread.ident is None:
            self._hear()
        if self._thread.ident is not None:
            self._deadline = time.monotonic() + LONGEST_WAIT
            self._wake.set()
            self._thread.join(LONGEST_WAIT + 1)
        else:
            self._settle()
        complete = not (self._news or self._datasets or self._thread.is_alive())
        self._tell()
        if self._where or self.outside.files:
            self._run.log_text(findings.document(self, complete), findings.DOCUMENT)
        for sentence in findings.sentences(self, complete):
            self._run.notice(sentence)
        self._loaders.clear()
        self._children.close()

    def _add(self, name: str) -> str | None:
        name = _absolute(name)
        known = self._told.get(name)
        if known is not None:
            return known
        if len(self._told) >= MOST_FILES:
            self.more += 1
            return None
        self._told[name] = name
        self._news.append(name)
        self._start()
        return name

    def _begin(self, loader: Any) -> _Loader:
        gone = self._loaders.get(id(loader))
        if gone is not None:
            self._take_over(gone)  # another loader had this id before
        book = self._loaders[id(loader)] = _Loader(loader)
        return book

    def _start(self) -> None:
        if self._thread.ident is None:
            with self._starting:
                if self._thread.ident is None:
                    self._thread.start()

    def _take_over(self, book: _Loader) -> None:
        if book.look():
            self._last_trained = max(self._last_trained, book.last_trained)
            self._trained_on.update(book.names.copy())
            return
        for name in book.names.copy():
            self._handed_out.setdefault(name, book.first)

    # What follows runs in the thread of its own, or after that has ended.

    def _work(self) -> None:
        told = time.monotonic()
        while self._deadline is None:
            rest = 0.0
            with contextlib.suppress(Exception):  # one odd file must not keep the others from being seen
                self._settle()
                rest = self.outside.hash_some()
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                with contextlib.suppress(Exception):
                    self._tell()
            self._wake.wait(max(PAUSE, rest))
        with contextlib.suppress(Exception):
            self._settle()
            rest = self._deadline - time.monotonic()
            self.outside.hash_some(time.monotonic() + (rest if self.declared else min(rest, HASHING_WAIT)))
            self._settle()

    def _settle(self) -> None:
        """Find out of every new name, and after a new declaration of every stranger, what it is."""
        self._hear()
        self._declare()
        while self._datasets and not self._late():
            book, dataset, hidden = self._datasets.popleft()
            names = list(evidence.listed(dataset))
            book.names.update(known for name in names if (known := self._add(name)))
            if hidden and not names and not evidence.is_in_memory(dataset):
                self.unlisted.add(type(dataset).__name__)
        while self._news and not self._late():
            self._place(self._news.popleft())
        for name, found in list(self.outside.matched(self.declared)):
            self._belongs(name, found, elsewhere=True)

    def _hear(self) -> None:
        """Take in what forked processes have read."""
        for name in self._children.heard():
            self._add(name)
        self.more += self._children.more and not self.more

    def _declare(self) -> bool:
        """Take in the versions that the run was given since the last look; False where there is none."""
        given = self._run.given[len(self.declared) :]
        if given:
            self.declared += [Declared.of(used) for used in given]
            self.outside.look_again()
            for name in list(self.outside.files):
                self._place(name)
        return bool(given)

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _place(self, name: str) -> None:
        path = os.path.normpath(name) if "://" not in name else name
        if self.declared:
            for candidate in dict.fromkeys((path, self.outside.real(path))):
                found = [(declared, file) for declared in self.declared for file in declared.inside(candidate)]
                if found:
                    self._belongs(name, found, elsewhere=False)
                    return
        used = data.given_around(dict.fromkeys((path, self.outside.real(path))))
        if used is not None and used.path not in self._read_given:
            self._read_given.add(used.path)
            data.note_read(self._run, used)
            if self._declare():
                self._place(name)
                return
        self.outside.add(name, path)

    def _belongs(self, name: str, found: list[tuple[Declared, str]], elsewhere: bool) -> None:
        self.outside.forget(name)
        self._where[name] = found
        for declared, file in found:
            declared.seen.add(file)
            if elsewhere:
                declared.elsewhere.add(file)

    def _tell(self) -> None:
        for key, book in list(self._loaders.items()):
            self._take_over(book)
            if book.loader() is None and self._loaders.get(key) is book:
                del self._loaders[key]  # a script that makes one per epoch would leave us all of them
        for name in self._trained_on.copy():
            for declared, file in self._where.get(name, ()):
                declared.trained.add(file)
        for name, first in list(self._handed_out.items()):
            if first < self._last_trained:
                for declared, file in self._where.get(name, ()):
                    declared.consulted.add(file)
        for name, value in findings.tags(self).items():
            if self._recorded.get(name) != value:
                self._recorded[name] = value
                self._run.set_tag(name, value)


def _absolute(name: str) -> str:
    # Now, for the code may change its folder.
    return name if name[:1] == os.sep or "://" in name else os.path.join(os.getcwd(), name)


def _size(loader: Any) -> int:
    """Give the number of items in a batch of a loader or its iterator; 0 where it is not known or there is one."""
    size = getattr(getattr(loader, "_index_sampler", None), "batch_size", None)
    return size if isinstance(size, int) else 0

"""Remembers what networks, losses, transforms, metrics and optimizers were built with, from the moment of arming on.

Notebooks build these in cells before the tracked one, and most of it cannot be read back from the objects. So the
``__init__`` of the libraries' classes is watched, and what was passed is kept as small printable values beside a weak
reference to the object. Classes of the user's own are not touched: their arguments are read from the frame of their
``__init__`` when it calls a library's one. Nothing is imported: classes are watched as their libraries arrive.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from .arrival import Arrivals
from .printable import printable

MOST_OBJECTS = 100_000
"""Living objects that are remembered; more are not looked at."""

_PARTS = {
    "torch": ("torch.optim.", "torch.utils.data."),
    "monai": (
        *("monai.transforms.", "monai.metrics.", "monai.losses.", "monai.networks.nets.", "monai.data."),
        *("monai.inferers.", "monai.optimizers.", "monai.engines.", "monai.handlers."),
    ),
}
"""Per library that arrives the modules whose classes are watched."""
_BASES = (
    *("torch.nn:Module", "torch.optim.optimizer:Optimizer", "torch.optim.lr_scheduler:LRScheduler"),
    *("torch.utils.data.dataset:Dataset", "torch.utils.data.dataloader:DataLoader"),
    *("torch.utils.data.sampler:Sampler", "monai.transforms.transform:Transform", "monai.metrics.metric:Metric"),
    *("monai.metrics.metric:Cumulative", "monai.metrics.cumulative_average:CumulativeAverage"),
    *("monai.inferers.inferer:Inferer", "ignite.engine.engine:Engine", "ignite.metrics.metric:Metric"),
)
"""What these classes build on; the rest of a library, its tensors above all, is let alone."""


class _Record(weakref.ref[Any]):
    """A weak reference to an object, and what it was built with."""

    __slots__ = ("function", "key", "named", "positional")

    key: int
    function: Callable[..., Any] | None
    positional: tuple[Any, ...]
    named: dict[str, Any]


def _forget(known: dict[int, _Record], record: _Record) -> None:
    if known.get(record.key) is record:
        del known[record.key]


class _Watch:
    """What is watched in this process, and what has been seen."""

    def __init__(self) -> None:
        self.on = False
        self.known: dict[int, _Record] = {}
        self._forget = functools.partial(_forget, self.known)
        self._guard = threading.RLock()
        self._arrivals: Arrivals | None = None
        self._waiting: set[str] = set()
        self._undo: list[Callable[[], None]] = []

    def arm(self) -> None:
        with self._guard:
            if self.on:
                return
            self.on = True
            self._waiting = {"torch", "monai", "ignite.engine.engine"}
            self._arrivals = Arrivals(frozenset(self._waiting), self._arrived)
            self._arrivals.install()
            for name in tuple(self._waiting):
                module = sys.modules.get(name)
                if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
                    self._arrived(module)

    def disarm(self) -> None:
        with self._guard:
            self.on = False
            if self._arrivals is not None:
                self._arrivals.remove()
            while self._undo:
                self._undo.pop()()
            self.known.clear()

    def _arrived(self, module: ModuleType) -> None:
        with self._guard:
            if not self.on or module.__name__ not in self._waiting:
                return
            self._waiting.discard(module.__name__)
            # A version of the library that looks different is built as ever, only nothing is known of its objects.
            with suppress(Exception):
                for cls in list(_classes(module)):
                    self._watch(cls)
            if not self._waiting and self._arrivals is not None:
                self._arrivals.remove()

    def _watch(self, cls: type) -> None:
        original = vars(cls).get("__init__")
        if not isinstance(original, FunctionType) or hasattr(original, "_mlops_lab_watch"):
            return
        watched = _watched(original)

        def undo() -> None:
            # Another library may have put its own on top; ours is silent by then.
            if vars(cls).get("__init__") is watched:
                cls.__init__ = original  # type: ignore[misc]

        cls.__init__ = watched  # type: ignore[misc]
        self._undo.append(undo)

    def note(self, thing: Any, function: Callable[..., Any] | None, args: Any, kwargs: dict[str, Any]) -> None:
        if len(self.known) >= MOST_OBJECTS:
            return
        try:
            record = _Record(thing, self._forget)
        except TypeError:  # an object that takes no weak references cannot be told from its successor
            return
        record.key = id(thing)
        record.function = function
        record.positional = tuple([printable(value) for value in args])
        record.named = {name: printable(value) for name, value in kwargs.items()}
        self.known[record.key] = record

    def find(self, thing: Any) -> _Record | None:
        record = self.known.get(id(thing))
        return record if record is not None and record() is thing else None


_watch = _Watch()


def arm() -> None:
    """Remember from now on what is built; harmless when that is so already."""
    _watch.arm()


def disarm() -> None:
    """Leave the libraries as they were, and forget everything."""
    _watch.disarm()


def arguments(thing: Any) -> dict[str, Any] | None:
    """Give the arguments that `thing` was built with.

    Returns
    -------
    dict
        Per argument that was passed its value as :func:`printable` tells it, e.g. ``{"spatial_dims": 3, "channels":
        (16, 32), "norm": "batch"}``; None for an object of which nothing is known.
    """
    record = _watch.find(thing)
    if record is None:
        return None
    if record.function is None:
        return dict(record.named)
    try:
        bound = inspect.signature(record.function).bind_partial(None, *record.positional, **record.named)
    except (TypeError, ValueError):  # the constructor refused them too, or hides its signature
        return {**{str(at): value for at, value in enumerate(record.positional)}, **record.named}
    return _flat(bound)


def held(thing: Any) -> dict[str, Any]:
    """Give what an object still shows of its arguments: attributes that bear their names, where they are settings."""
    try:
        parameters = list(inspect.signature(type(thing).__init__).parameters)[1:]
        own = vars(thing)
    except (TypeError, ValueError):
        return {}
    found = {name: own[name] for name in parameters if name in own}
    return {name: printable(value) for name, value in found.items() if _is_setting(value)}


def living(kind: type) -> Iterator[Any]:
    """Give the remembered objects of `kind` that are still alive."""
    for record in list(_watch.known.values()):
        thing = record()
        if isinstance(thing, kind):
            yield thing


def _watched(original: FunctionType) -> Callable[..., None]:
    compiling = getattr(getattr(sys.modules.get("torch"), "compiler", None), "is_compiling", None) or _never

    @functools.wraps(original)
    def watched(self: Any, /, *args: Any, **kwargs: Any) -> None:
        # Dynamo knows the answer while it traces and leaves the branch out, so it must not meet objects of ours here.
        if not compiling():
            _see(self, type(self).__init__ is watched, original, args, kwargs)
        original(self, *args, **kwargs)

    watched._mlops_lab_watch = True  # type: ignore[attr-defined]
    return watched


def _never() -> bool:
    return False


def _see(thing: Any, whole: bool, original: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note how `thing` is being built; `whole` tells that these are the arguments that its class was called with."""
    if not _watch.on:
        return
    try:
        if whole:
            _watch.note(thing, original, args, kwargs)
        elif _watch.find(thing) is None:
            found = _outermost(thing, sys._getframe(2))
            if found is not None:
                _watch.note(thing, None, (), found)
    except Exception:
        pass  # whatever it is, the object gets built


def _outermost(thing: Any, frame: FrameType | None) -> dict[str, Any] | None:
    """Read the arguments of the outermost ``__init__`` of `thing` that is running."""
    code: CodeType | None = None
    values: dict[str, Any] = {}
    while frame is not None and frame.f_code.co_name == "__init__" and frame.f_code.co_varnames:
        inner = frame.f_locals
        if inner.get(frame.f_code.co_varnames[0]) is not thing:
            break
        code, values = frame.f_code, inner
        frame = frame.f_back
    return _passed(type(thing), code, values) if code is not None else None


def _passed(cls: type, code: CodeType, values: dict[str, Any]) -> dict[str, Any]:
    """Give the arguments in a frame's locals, without those that stand at their defaults."""
    count = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames
    function = _function(cls, code)
    usual = dict(function.__kwdefaults__ or {}) if function is not None else {}
    if function is not None and function.__defaults__:
        usual.update(zip(names[: code.co_argcount][-len(function.__defaults__) :], function.__defaults__, strict=True))
    passed = {
        name: values[name]
        for name in names[1:count]
        if name in values and not (name in usual and _same(values[name], usual[name]))
    }
    if code.co_flags & inspect.CO_VARARGS:
        if values.get(names[count]):
            passed[names[count]] = values[names[count]]
        count += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        passed.update(values.get(names[count], {}))
    return passed


def _function(cls: type, code: CodeType) -> FunctionType | None:
    for owner in cls.__mro__:
        function = vars(owner).get("__init__")
        while function is not None:
            if getattr(function, "__code__", None) is code:
                return function if isinstance(function, FunctionType) else None
            function = getattr(function, "__wrapped__", None)
    return None


def _same(value: Any, usual: Any) -> bool:
    return value is usual or (type(value) is type(usual) and type(value) in (int, float, str, bool) and value == usual)


def _flat(bound: inspect.BoundArguments) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for position, (name, value) in enumerate(bound.arguments.items()):
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        elif position or kind is inspect.Parameter.VAR_POSITIONAL:  # the first one is the object itself
            items = value[1:] if kind is inspect.Parameter.VAR_POSITIONAL and not position else value
            if not (kind is inspect.Parameter.VAR_POSITIONAL and not items):
                found[name] = items
    return found


def _is_setting(value: Any) -> bool:
    # What is told by its class alone is a part that was made from the argument, not the argument.
    told = printable(value)
    return not isinstance(told, str) or isinstance(value, (str, type, FunctionType)) or told != type(value).__name__


def _classes(module: ModuleType) -> Iterator[type]:
    """Give the classes to watch, now that `module` has arrived."""
    if module.__name__ == "ignite.engine.engine":
        yield module.Engine
        return
    if module.__name__ == "torch":
        yield module.nn.Module
    bases = {cls for cls in map(_named, _BASES) if cls is not None}
    for name, part in list(sys.modules.items()):
        if name.startswith(_PARTS[module.__name__]) and part is not None:
            for cls in list(vars(part).values()):
                # By the list of ancestors: asking an abstract class walks all its descendants.
                if isinstance(cls, type) and cls.__module__ == name and not bases.isdisjoint(cls.__mro__):
                    yield cls


def _named(place: str) -> type | None:
    module, _, name = place.partition(":")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None

"""Reads the frames that called us: what the user's variables hold, and which objects the running code can reach.

Frames are read once per place in the code, never once per step. Reading a function's variables makes Python keep a
copy of them, which would hold the tensors of the first step in memory for as long as the function runs; the copy is
emptied again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

DEEPEST = 40
"""Frames that are looked at, the nearest first."""
MOST_NAMES = 4000
"""Objects that are looked at in one search."""

_OURS = ("mlops_lab.",)
_SHELLS = (
    "IPython.",
    "ipykernel.",
    "traitlets.",
    "asyncio.",
    "tornado.",
    "concurrent.",
    "threading",
    "runpy",
    "pluggy",
)
_TRAINERS = ("lightning.", "lightning_fabric.", "pytorch_lightning.")
"""Packages whose variables are called as no user has called anything (``closure_loss``)."""
_OPTIMIZED = 1
"""Flag of code whose variables are not kept in a dictionary: that of functions."""
_HAS_PROXIES = sys.version_info >= (3, 13)

_PLAIN = {ModuleType, FunctionType, type, str, int, float, bool, type(None), bytes}

Place = tuple[int, ...]
"""Where a call stands: code objects and instructions of the nearest frames."""


def place(frame: FrameType | None) -> Place:
    """Tell where `frame` stands now, with the calls that led to it; the same for every round of a loop."""
    # Written out, for every backward call asks for it.
    if frame is None:
        return ()
    above = frame.f_back
    if above is None:
        return (id(frame.f_code), frame.f_lasti)
    top = above.f_back
    if top is None:
        return (id(frame.f_code), frame.f_lasti, id(above.f_code), above.f_lasti)
    return (id(frame.f_code), frame.f_lasti, id(above.f_code), above.f_lasti, id(top.f_code), top.f_lasti)


def codes(frame: FrameType | None, depth: int = 3) -> list[CodeType]:
    """Give the code objects of a :data:`Place`; as long as they are kept, no other code has their ids."""
    found = []
    while frame is not None and depth:
        found.append(frame.f_code)
        frame = frame.f_back
        depth -= 1
    return found


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """Give `frame` and those that called it, without our own and without the machinery of notebooks."""
    for _ in range(DEEPEST):
        if frame is None:
            return
        module = frame.f_globals.get("__name__") or ""
        if not isinstance(module, str) or not module.startswith(_OURS + _SHELLS):
            yield frame
        frame = frame.f_back


def authors(frame: FrameType | None) -> Iterator[FrameType]:
    """Give the frames of :func:`callers` whose variables somebody has named for this training."""
    return (caller for caller in callers(frame) if not str(caller.f_globals.get("__name__", "")).startswith(_TRAINERS))


def variables(frame: FrameType) -> dict[str, Any]:
    """Give the variables of `frame` by name."""
    found = frame.f_locals
    if not frame.f_code.co_flags & _OPTIMIZED:
        return found
    copy = dict(found)
    # A debugger writes the dictionary back, and a user may hold it (`locals()`); then it is left as it is.
    if not _HAS_PROXIES and sys.gettrace() is None and sys.getrefcount(found) <= 3:
        found.clear()
    return copy


def names_of(thing: Any, frame: FrameType | None, latest: bool = False) -> Iterator[str]:
    """Give the variables and attributes of ``self`` that hold `thing`, the nearest first.

    With `latest` what was assigned last comes first within one frame.
    """
    seen: dict[int, Any] = {}  # kept, for the id of a copy that is gone may be that of the next
    for caller in authors(frame):
        held = variables(caller)
        scopes = [held]
        own = inside(held.get("self"))
        scopes += [own, own.get("_modules") or {}, caller.f_globals]
        for scope in scopes:
            if id(scope) in seen:
                continue
            seen[id(scope)] = scope
            for name, value in list(scope.items())[:: -1 if latest else 1]:
                if value is thing and isinstance(name, str) and not name.startswith("_"):
                    yield name


class Reachable:
    """What the code that runs now can reach by name, found in one search.

    Parameters
    ----------
    frame
        The nearest frame.
    kind_of
        Tells by its class and its name what kind of thing an object is; None for those that are of no interest.
    """

    def __init__(self, frame: FrameType | None, kind_of: Callable[[type, str], str | None]) -> None:
        self.found: dict[str, list[tuple[str, Any]]] = {}
        """The objects of each kind, with the names under which they were found first."""
        self.mentioned: set[str] = set()
        """Names that the code of these frames uses, and that of the functions that it calls by name."""
        self._kind_of = kind_of
        self._seen: set[int] = set()
        self._left = MOST_NAMES
        for caller in callers(frame):
            self._search(caller)

    def _search(self, frame: FrameType) -> None:
        names = mentioned(frame.f_code, frame.f_globals)
        self.mentioned |= names
        held = variables(frame)
        if held is frame.f_globals:
            held = {}
        for name, value in list(held.items()):
            self._look(name, value, names, 2, everything=name in ("self", "cls", "engine"))
        for name in names:
            if name in frame.f_globals:
                self._look(name, frame.f_globals[name], names, 2, everything=True)

    def _look(self, name: str, value: Any, names: set[str], depth: int, everything: bool = False) -> None:
        self._left -= 1
        # Asked of the type, never of the object: a proxy would go and fetch what it stands for.
        cls = type(value)
        if self._left < 0 or cls in _PLAIN:
            return
        kind = self._kind_of(cls, name)
        if kind is not None:
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self.found.setdefault(kind, []).append((name, value))
            return
        if not depth:
            return
        if cls in (list, tuple):
            for item in value[:64]:
                self._look(name, item, names, depth - 1)
        elif cls is dict:
            for key, item in list(value.items())[:64]:
                self._look(key if isinstance(key, str) else name, item, names, depth - 1)
        elif cls is MethodType:
            self._look(name, value.__self__, names, depth, everything=True)
        elif id(value) not in self._seen:
            self._seen.add(id(value))
            own = inside(value)
            for part in (own, own.get("_modules")):
                for attribute, item in list(part.items()) if isinstance(part, dict) else ():
                    if isinstance(attribute, str) and (everything or attribute in names):
                        self._look(attribute, item, names, depth - 1)


def inside(thing: Any) -> dict[str, Any]:
    """Give the attributes that `thing` holds itself, without running any code of its class."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def mentioned(code: CodeType, scope: dict[str, Any]) -> set[str]:
    """Give the names that `code` uses, and those that the functions use which it names, a few calls deep."""
    found: set[str] = set()
    waiting: list[tuple[CodeType, dict[str, Any], int]] = [(code, scope, 4)]
    seen: set[int] = set()
    while waiting and len(seen) < 256:
        code, scope, depth = waiting.pop()
        if id(code) in seen:
            continue
        seen.add(id(code))
        found.update(code.co_names)
        waiting += [(inner, scope, depth) for inner in code.co_consts if isinstance(inner, CodeType)]
        for name in code.co_names if depth else ():
            function = scope.get(name)
            while type(function) is FunctionType and type(function.__dict__.get("__wrapped__")) is FunctionType:
                function = function.__dict__["__wrapped__"]  # a decorator's, torch.no_grad() for one
            if type(function) is FunctionType and function.__globals__ is scope:
                waiting.append((function.__code__, scope, depth - 1))
    return found

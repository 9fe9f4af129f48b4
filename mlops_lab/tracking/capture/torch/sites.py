"""The places in the code that back-propagate: what each of them minimizes, and with which optimizers.

A place is looked at closely when it is met for the first time, and again when an optimizer appears that was not known;
every other step only finds it in a dictionary.
"""

from __future__ import annotations

import functools
import re
import sys
import weakref
from collections.abc import Callable, Iterable
from types import CodeType, FrameType, FunctionType
from typing import Any

from ..naming import snake_case
from .arriving import Value
from .frames import Reachable, callers, codes, names_of
from .loaders import LoaderInfo
from .losses import Calls, is_loss_class
from .optimizers import Member
from .parts import Part
from .series import Series
from .words import loss_words

UNSEEN = 8
"""Backward calls that wait for a step where no optimizer of PyTorch is in reach; then each is a step of its own."""
UNUSED = 256
"""The same where one is in reach, but has never stepped."""
_MOST_NODES = 20_000
_EXPLAINERS = ("monai.visualize", "captum.", "pytorch_grad_cam.")
_LIBRARIES = ("torch.", "monai.")
_CRITERION = re.compile(r"(^|_)(loss(es)?|criteri(on|a)|crit)(_?(fn|func|function|module)s?)?\d*$")
"""What the user calls a module of a class of their own that computes a loss."""
_LOSS = re.compile(r"(^|_)(loss|criterion)|(loss|criterion)(_|\d*$)", re.IGNORECASE)


class Pending:
    """What one place has back-propagated since the last step.

    `spare`: its gradients are not what the next step of an optimizer is made of.
    """

    __slots__ = ("parts", "spare", "values")

    def __init__(self) -> None:
        self.spare = False
        self.values: list[Value] = []
        self.parts: dict[Part, list[Value]] | None = None


class Site:
    """One place.

    Attributes
    ----------
    known, reach
        Ids of the optimizers that the code around can reach, and of those of them whose parameters the loss depends
        on. `reach` is empty where that was not looked at, because there is at most one.
    words
        What the loss variable's name says.
    series
        The series that its values go to, once that is known.
    consumed
        A step came after it, at least once.
    direct
        Every value is a point of its own.
    shared
        Several optimizers minimize different losses from here, so every loss has to be looked at.
    parts, groups
        What the loss is made of; the same where it is more than one thing, each of which is recorded.
    functions
        Names of the functions that the loss comes from.
    closure
        It is within the closure that an optimizer evaluates; None before that was looked at.
    aside
        Gradients of an image are asked for as well: a heat map perhaps, no training, unless a step comes for it.
    asked
        Its gradients are handed to the code that asked for them, not kept with the parameters.
    unsure
        A loss of the user's own is in reach, whose calls are watched from the next step on only.
    plain
        One loss for at most one optimizer, with nothing more to be found out: the short way will do.
    """

    __slots__ = (
        "_codes",
        "_leaf",
        "_refs",
        "_version",
        "aside",
        "asked",
        "closure",
        "consumed",
        "direct",
        "functions",
        "groups",
        "known",
        "parts",
        "plain",
        "reach",
        "series",
        "shared",
        "unsure",
        "version",
        "words",
    )

    def __init__(self, version: int, found: list[CodeType]) -> None:
        self._codes = found
        self._leaf: weakref.ref[Any] | None = None
        self._version = 0
        self._refs: list[weakref.ref[Any]] = []
        self.version = version
        self.words: list[str] = []
        self.known: frozenset[int] = frozenset()
        self.reach: frozenset[int] = frozenset()
        self.parts: list[Part] = []
        self.groups: list[list[Part]] = []
        self.functions: list[str] = []
        self.series: Any = None
        self.consumed = False
        self.direct = False
        self.shared = False
        self.closure: bool | None = None
        self.aside = False
        self.asked = False
        self.unsure = False
        self.plain = False

    def follow(self, before: Site) -> None:
        """Take over what is known of the same place from `before`; the optimizers are looked at anew."""
        self.series, self.consumed, self.direct = before.series, before.consumed, before.direct
        self.parts, self.groups, self.functions = before.parts, before.groups, before.functions

    def settle(self) -> None:
        """Find out whether it is `plain`."""
        special = self.shared or self.aside or self.asked or self.direct or self.groups
        self.plain = self.closure is False and len(self.known) < 2 and not special

    @property
    def several(self) -> bool:
        """Is there more than one optimizer?"""
        return len(self.known) > 1

    @property
    def limit(self) -> int:
        """Backward calls that wait for a step that has never come."""
        return UNUSED if self.known else UNSEEN

    def holds(self) -> bool:
        """Tell whether the optimizers that were found still exist."""
        return len(self.known) < 2 or all(ref() is not None for ref in self._refs)

    def may_serve(self, optimizer: int) -> bool:
        """Tell whether the optimizer of this id may be what minimizes the loss from here."""
        return not self.reach or optimizer in self.reach or optimizer not in self.known

    def survey(self, reachable: Reachable, loss: Any) -> None:
        """Note which optimizers there are, and which of them `loss` is for."""
        optimizers = [optimizer for _, optimizer in reachable.found.get("optimizer", ())]
        self._refs = [weakref.ref(optimizer) for optimizer in optimizers]
        self.known = frozenset(map(id, optimizers))
        self.look(loss, optimizers)

    def look(self, loss: Any, optimizers: list[Any] | None = None) -> None:
        """Note which of the optimizers `loss` is for."""
        if optimizers is None:
            optimizers = [optimizer for ref in self._refs if (optimizer := ref()) is not None]
        found = leaves(loss)
        if found:
            self._leaf = weakref.ref(next((leaf for leaf in found if _is_parameter(leaf)), found[0]))
        self.aside = len(set(map(_is_parameter, found))) > 1
        if len(optimizers) > 1:
            ids = set(map(id, found))
            self.reach = frozenset(
                id(optimizer)
                for optimizer in optimizers
                if any(id(p) in ids for group in optimizer.param_groups for p in group["params"])
            )

    def remember(self) -> None:
        """Note the state of a parameter that this loss depends on."""
        leaf = self._leaf() if self._leaf is not None else None
        if leaf is not None:
            self._version = leaf._version

    def renewed(self) -> bool:
        """Tell whether the gradients of the last loss from here are gone, or the parameters were changed since.

        Then there was a step, of an optimizer that is none of PyTorch's or of the user's own hand.
        """
        leaf = self._leaf() if self._leaf is not None else None
        return leaf is not None and (leaf.grad is None or leaf._version != self._version)

    def moved(self) -> bool:
        """Tell whether the parameters were changed since the last loss from here."""
        leaf = self._leaf() if self._leaf is not None else None
        return leaf is not None and leaf._version != self._version

    def dropped(self) -> bool:
        """Tell whether the gradients of the last loss from here are gone."""
        leaf = self._leaf() if self._leaf is not None else None
        return leaf is not None and leaf.grad is None


class Thread:
    """What one thread is at."""

    __slots__ = ("calls", "epoch", "evaluated", "key", "last", "passes", "pending", "site", "sites", "stepped", "usual")

    def __init__(self, key: int) -> None:
        self.key = key
        self.sites: dict[Any, Site] = {}
        self.site: Site | None = None
        """The place of the last backward call."""
        self.pending: dict[Site, Pending] = {}
        self.calls = Calls()
        self.evaluated = 0
        """Id of the frame of the step whose closure was evaluated last."""
        self.stepped = 0
        """Steps that came to their end."""
        self.last: Series | None = None
        """The series that was written last."""
        self.usual: tuple[Site, Member, Series] | None = None
        """Where the last step came from and went to, if the next one may take the short way."""
        self.epoch: LoaderInfo | None = None
        """The pass that is an epoch."""
        self.passes = -1
        """State of the passes of this run at the last backward."""


def kinds(torch: Any) -> Callable[[type, str], str | None]:
    """Make the function that tells an optimizer, a scheduler and a loss module by class and variable."""
    optimizer_class, module_class = torch.optim.Optimizer, torch.nn.Module
    schedulers = (torch.optim.lr_scheduler.LRScheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)

    @functools.cache
    def kind_of(cls: type, name: str) -> str | None:
        if issubclass(cls, optimizer_class):
            return "optimizer"
        if issubclass(cls, schedulers):
            return "scheduler"
        if not issubclass(cls, module_class):
            return None
        own = not cls.__module__.startswith(_LIBRARIES)
        return "loss" if is_loss_class(cls, torch) or (own and _CRITERION.search(snake_case(name))) else None

    return kind_of


def new_site(version: int, frame: FrameType | None, losses: Iterable[Any]) -> Site:
    """Make the site of `frame`; `losses` are the tensors by which a variable may hold the loss."""
    site = Site(version, codes(frame))
    for loss in losses:
        for name in names_of(loss, frame, latest=True):
            site.words = loss_words(name)
            if site.words:
                return site
        if site.words:
            break
    return site


def function_names(frame: FrameType | None, mentioned: set[str]) -> list[str]:
    """Give the user's own function that computes a loss, by its name, where exactly one is mentioned."""
    names = sorted(name for name in mentioned if _LOSS.search(name))
    found: dict[str, None] = {}
    for caller in callers(frame):
        found.update(dict.fromkeys(name for name in names if type(caller.f_globals.get(name)) is FunctionType))
    return list(found) if len(found) == 1 else []


def explains(frame: FrameType) -> bool:
    """Tell whether the code at `frame` is that of a library that explains networks, by heat maps for one."""
    return str(frame.f_globals.get("__name__", "")).startswith(_EXPLAINERS)


def leaves(loss: Any) -> list[Any]:
    """Give what `loss` depends on and has gradients, the nearest first."""
    found: list[Any] = []
    stack: list[Any] = [loss.grad_fn]
    seen: set[Any] = set()
    while stack and len(seen) < _MOST_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.append(variable)
        stack += [child for child, _ in node.next_functions]
    return found


def _is_parameter(leaf: Any) -> bool:
    return isinstance(leaf, sys.modules["torch"].nn.Parameter)

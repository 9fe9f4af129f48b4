"""The loss modules of a run: which ones a training loss is made of, and the value of each where there are several.

Calls of loss modules are watched from outside (``__call__``), the outermost of nested ones only. Which of them belong
to a loss is read from the top of its graph when a place in the code back-propagates for the first time; scalar
variables that the loss is a sum of count as well (``loss = loss_ce + 0.5 * loss_dice``). Code that torch.compile
traces does not see any of this.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from ...run import Run
from ..patches import Patches
from .arriving import is_captured
from .parts import Found, Part, functions_of, scalars
from .words import class_words

_CLASS = re.compile(r"(loss|criterion)(fn|function)?$", re.IGNORECASE)
_MOST_PARTS = 256
"""Places that loss modules are called from."""
_TRIES = 3
"""Backward calls after which a loss that was computed, but never found in one, is left alone."""


class _Busy(threading.local):
    """Whether this thread is inside of a loss."""

    loss = False


_busy = _Busy()


def is_loss_class(cls: type, torch: Any) -> bool:
    """Tell whether modules of `cls` compute losses: PyTorch's and MONAI's, and the user's own by their name."""
    if not issubclass(cls, torch.nn.Module):
        return False
    return issubclass(cls, torch.nn.modules.loss._Loss) or _CLASS.search(cls.__name__) is not None


class Calls:
    """The calls of loss modules in one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[type, int, int], Part] = {}
        self._codes: list[CodeType] = []
        self.fresh: list[Part] = []
        """Called since the last backward, by places that no backward has been looked at for."""

    def settled(self, module: Any, frame: FrameType) -> bool:
        """Tell whether there is nothing to note of a call of `module` by the code at `frame`."""
        part = self._known.get((type(module), id(frame.f_code), frame.f_lasti))
        return part is not None and part.settled

    def note(self, torch: Any, module: Any, output: Any, frame: FrameType) -> None:
        """Take note that `module` gave `output` to the code at `frame`."""
        if not output.requires_grad or output.grad_fn is None or is_captured(torch, output):
            return
        # By its class, for some make a new module at every step.
        key = (type(module), id(frame.f_code), frame.f_lasti)
        part = self._known.get(key)
        if part is None:
            if len(self._known) >= _MOST_PARTS:
                return
            part = self._known[key] = Part(type(module).__name__, called=True)
            part.arguments = _arguments(module)
            self._codes.append(frame.f_code)
        if not part.wanted and part not in self.fresh:
            self.fresh.append(part)
        part.note(torch, module, output)

    def forget(self) -> None:
        """Let go of losses that nothing was done with, and of their graphs."""
        for part in self._known.values():
            part.forget()
        self.fresh = []

    def within(self, module: Any) -> None:
        """Leave out the calls that `module`, which is found to be a loss itself, has made."""
        inner = set(map(id, module.modules()))
        for part in self.fresh:
            if id(part.module()) in inner and part.module() is not module:
                part.forget()
                part.settle()
        self.fresh = [part for part in self.fresh if not part.settled]

    def placed(self, loss: Any, frame: FrameType | None, mentioned: set[str] | None) -> Found:
        """Find what `loss`, a tensor with a graph, is made of.

        `mentioned` has the names that the code around `frame` uses; None where that was asked before.
        """
        named = {node: part for part in self.fresh for node in part.nodes}
        names = scalars(frame)
        for node, candidates in names.items():
            part = next((part for part in candidates if part.words()), candidates[0])
            known = named.setdefault(node, part)
            known.variable = part.variable
        found = Found()
        ends = found.components(loss.grad_fn, named, names)
        for part in self.fresh:
            part.tries += 1
            if part in found.parts or part.tries >= _TRIES:
                part.settle()
        self.fresh = [part for part in self.fresh if not part.settled]
        found.functions = functions_of(ends, set() if found.parts or mentioned is None else mentioned)
        return found


def hook(cls: type, torch: Any, patches: Patches, noted: Callable[[Any, Any, FrameType], None]) -> None:
    """Have ``noted(module, output, frame)`` called when code outside of any loss has called a module of `cls`."""
    is_compiling = torch.compiler.is_compiling
    module_class, tensor_class = torch.nn.Module, torch.Tensor
    own = cls.__call__
    inherited = own is module_class.__call__

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Looked up anew, for torch.fx puts its own in its place.
        call = module_class.__call__ if inherited else own
        if is_compiling() or _busy.loss:
            return call(self, *args, **kwargs)
        _busy.loss = True
        try:
            output = call(self, *args, **kwargs)
        finally:
            _busy.loss = False
        if isinstance(output, tensor_class):
            noted(self, output, sys._getframe(1))
        return output

    functools.update_wrapper(watched, own)
    patches.set(cls, "__call__", watched)


def describe(run: Run, prefix: str, parts: list[Part], functions: list[str]) -> None:
    """Make the loss that consists of `parts` and `functions` params of the run."""
    modules = {part.name: part.arguments for part in parts if part.called}
    names = [*modules, *functions]
    if not names:
        return
    run.note_param(prefix, " + ".join(names))
    for name, arguments in modules.items():
        place = prefix if len(names) == 1 else f"{prefix}_{'_'.join(class_words(name))}"
        for argument, value in arguments.items():
            run.note_param(f"{place}.{argument}", value)


def _arguments(module: Any) -> dict[str, Any]:
    try:
        from ..construction import arguments
    except ImportError:
        return {}
    return arguments(module) or {}

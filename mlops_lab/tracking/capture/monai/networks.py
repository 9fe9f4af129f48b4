"""Which network a run trains: found at the first step of each optimizer, from the parameters that it holds.

It becomes params (``network``, ``network.<argument>`` as passed, ``network.parameters``) and a readable description in
the artifact ``model/network.txt``. A second network, a discriminator for one, is ``network_2``.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from types import FrameType
from typing import Any

from ...run import Run, runs
from ..construction import arguments, held, living
from ..patches import Patches
from ..torch.frames import Reachable

MODULES = ("torch.optim.optimizer",)

MOST_NETWORKS = 8
"""Networks of one run that become params."""
MOST_OPTIMIZERS = 32
"""Optimizers of one run that are looked at; a cell that makes one per step has no use for more."""
LONGEST_VALUE = 500
LONGEST_TEXT = 200_000
"""Characters of the description."""

_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Modules that only carry another one, and where."""


def install(module: Any, patches: Patches) -> None:
    """Look at every optimizer of ``torch.optim`` after its first step."""

    def stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
        run = runs.current
        if run is None:
            return
        book = run.book("networks", _Book)
        if optimizer in book.optimizers or len(book.optimizers) >= MOST_OPTIMIZERS:
            return
        book.optimizers.add(optimizer)
        try:
            for network in _networks(optimizer, sys._getframe(1)):
                book.note(run, network)
        except Exception as error:
            run.notice(f"The network that is trained could not be described ({type(error).__name__}).")

    patches.undo_with(module.register_optimizer_step_post_hook(stepped).remove)


def trainable(network: Any) -> int:
    """Count the numbers that training may change."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


class _Book:
    """The optimizers that have stepped in one run, and the networks that they train."""

    def __init__(self) -> None:
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._networks: list[weakref.ref[Any]] = []

    def note(self, run: Run, network: Any) -> None:
        """Record a network that is new here."""
        if any(known() is network for known in self._networks) or len(self._networks) >= MOST_NETWORKS:
            return
        self._networks.append(weakref.ref(network))
        count = len(self._networks)
        name = "network" if count == 1 else f"network_{count}"
        seen = arguments(network)
        passed = held(network) if seen is None else seen
        run.note_param(name, class_name(network))
        for argument, value in passed.items():
            text = str(value)
            run.note_param(f"{name}.{argument}", text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…")
        run.note_param(f"{name}.parameters", trainable(network))
        run.log_text(_description(network, passed, seen is not None), f"model/{name}.txt")


def class_name(network: Any) -> str:
    """Name the class of a network; one that was scripted is called as the class that it was made from."""
    return str(getattr(network, "original_name", None) or type(network).__name__)


def _description(network: Any, passed: dict[str, Any], seen: bool) -> str:
    cls = type(network)
    frozen = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    lines = [f"class: {cls.__module__}.{cls.__qualname__}", f"trainable parameters: {trainable(network)}"]
    lines += [f"frozen parameters: {frozen}", ""]
    lines.append("arguments:" if seen else "arguments (read from the network, which was built before it was watched):")
    lines += [f"  {name}: {value}" for name, value in passed.items()] or ["  none"]
    structure = str(network)
    if len(structure) > LONGEST_TEXT:
        structure = f"{structure[:LONGEST_TEXT]}\n… {len(structure) - LONGEST_TEXT} more characters"
    return "\n".join([*lines, "", structure, ""])


def _networks(optimizer: Any, frame: FrameType | None) -> list[Any]:
    """Find the modules that hold the parameters of `optimizer`: those that the code names, else the outermost ones."""
    torch: Any = sys.modules["torch"]
    missing = {id(item): item for group in optimizer.param_groups for item in group["params"]}
    reachable = Reachable(frame, lambda cls: "network" if issubclass(cls, torch.nn.Module) else None)
    named = [_unwrapped(module) for _, module in reachable.found.get("network", [])]
    family = _Family([*named, *living(torch.nn.Module)])
    found: list[Any] = []
    while missing and len(found) < MOST_NETWORKS:
        owner = family.owner(missing)
        if owner is None:
            break
        chain = [module for module in family.line(owner) if type(module).__name__ not in _WRAPPERS]
        called = [module for module in chain if any(module is other for other in named)]
        whole = [module for module in called if missing.keys() <= _ids(module)]
        network = whole[0] if whole else (called or chain or [owner])[-1]
        found.append(network)
        for key in _ids(network) | {id(item) for item in owner.parameters(recurse=False)}:
            missing.pop(key, None)
    return found


class _Family:
    """Which module lies in which."""

    def __init__(self, modules: Iterable[Any]) -> None:
        self._parents: dict[int, Any] = {}
        self._owners: dict[int, Any] = {}
        seen: set[int] = set()
        waiting = list(modules)
        while waiting:
            module = waiting.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            for parameter in module._parameters.values():
                self._owners.setdefault(id(parameter), module)
            for child in module._modules.values():
                if child is not None:
                    self._parents.setdefault(id(child), module)
                    waiting.append(child)

    def owner(self, parameters: Iterable[int]) -> Any:
        """Give the module that itself holds one of the parameters; None where there is none."""
        return next((self._owners[key] for key in parameters if key in self._owners), None)

    def line(self, module: Any) -> list[Any]:
        """Give `module` and all that it lies in, the innermost first."""
        found = [module]
        while (above := self._parents.get(id(found[-1]))) is not None and all(above is not item for item in found):
            found.append(above)
        return found


def _unwrapped(module: Any) -> Any:
    while type(module).__name__ in _WRAPPERS:
        inner = getattr(module, _WRAPPERS[type(module).__name__], None)
        if inner is None:
            break
        module = inner
    return module


def _ids(module: Any) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}

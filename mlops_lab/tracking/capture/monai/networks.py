"""Which network a run trains: found at the first step of each optimizer, from the parameters that it holds.

It becomes params (``network``, ``network.<argument>`` as passed, ``network.parameters``) and a readable description in
the artifact ``model/network.txt``. A second network, a discriminator for one, is ``network_2``; the next fold's, which
is built like the one before, is nothing new. Where nothing is trained, the networks count that are at hand when a
loader has been gone through: those that are evaluated.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from ...run import Run, runs
from ..construction import arguments, held, living
from ..patches import Patches
from ..torch import loaders
from ..torch.frames import Reachable
from ..torch.loaders import LoaderInfo
from ..torch.losses import is_loss_class

MODULES = ("torch.optim.optimizer",)

MOST_NETWORKS = 8
"""Networks of one run that become params."""
MOST_OPTIMIZERS = 32
"""Optimizers of one run that are looked at; a cell that makes one per step has no use for more."""
MOST_LOOKS = 3
"""Passes of loaders in which a network that is evaluated is looked for."""
LONGEST_VALUE = 500
LONGEST_TEXT = 200_000
"""Characters of the description."""

_DEEPEST = 8
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Modules that only carry another one, and where."""

_on = False


def install(module: Any, patches: Patches) -> None:
    """Look at every optimizer of ``torch.optim`` after its first step, and at what is evaluated without one."""
    global _on
    _on = True
    patches.undo_with(_stop)

    latest: tuple[Run | None, Callable[[], Any]] = (None, lambda: None)

    def stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
        nonlocal latest
        run = runs.current
        if run is None or (latest[0] is run and latest[1]() is optimizer):
            return
        latest = (run, weakref.ref(optimizer))
        book = run.book("networks", _Book)
        known = optimizer in book.optimizers
        if not book.alike if known else len(book.optimizers) >= MOST_OPTIMIZERS:
            return
        book.optimizers.add(optimizer)
        try:
            if known:
                book.again(run, optimizer)
                return
            for network in _networks(optimizer, _reachable(sys._getframe(1))):
                book.note(run, network, optimizer)
        except Exception as error:
            run.notice(f"The network that is trained could not be described ({type(error).__name__}).")

    patches.undo_with(module.register_optimizer_step_post_hook(stepped).remove)


def _stop() -> None:
    global _on
    _on = False


def _over(info: LoaderInfo, cut: bool) -> None:
    """Look for the network that was evaluated in a pass of a loader, where none is known to be trained."""
    if cut or info.training or not _on or (info.batches is not None and info.batch < info.batches):
        return
    book = info.run.book("networks", _Book)
    if book.networks or book.looks >= MOST_LOOKS:
        return
    book.looks += 1
    try:
        for network in _evaluated(_reachable(sys._getframe(1))):
            book.note(info.run, network, None)
    except Exception as error:
        info.run.notice(f"The network that is evaluated could not be described ({type(error).__name__}).")


loaders.listen(_over)


def trainable(network: Any) -> int:
    """Count the numbers that training may change."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


class _Book:
    """The optimizers that have stepped in one run, and the networks that they train."""

    def __init__(self) -> None:
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.networks: list[weakref.ref[Any]] = []
        self.looks = 0
        self._told: list[tuple[dict[str, Any], Any]] = []
        """Of each network that became params what they say, and a weak reference to its optimizer."""
        self.alike: list[tuple[Callable[[], Any], dict[str, Any], str, Callable[[], Any]]] = []
        """Networks like one that was recorded before: the other one's optimizer, what is told of them, their own."""

    def note(self, run: Run, network: Any, optimizer: Any) -> None:
        """Record a network that is new here, unless it seems to be the next fold's."""
        if any(known() is network for known in self.networks) or len(self._told) >= MOST_NETWORKS:
            return
        self.networks.append(weakref.ref(network))
        network = _inner(network)
        seen = arguments(network)
        passed = held(network) if seen is None else seen
        told: dict[str, Any] = {"": class_name(network)}
        told.update((f".{argument}", _short(value)) for argument, value in passed.items())
        for part in passed.keys() & network._modules.keys():  # a detector around a network
            for argument, value in (arguments(network._modules[part]) or {}).items():
                told[f".{part}.{argument}"] = _short(value)
        told[".parameters"] = trainable(network)
        text = _description(network, passed, seen is not None)
        mine: Callable[[], Any] = weakref.ref(optimizer) if optimizer is not None else lambda: None
        for before, known in self._told:
            if before == told and optimizer is not None and known() is not optimizer:
                self.alike.append((known, told, text, mine))
                return
        self._tell(run, told, text, mine)

    def again(self, run: Run, optimizer: Any) -> None:
        """Record the networks that are trained together with that of `optimizer`, which steps again: no folds."""
        together = [item for item in self.alike if item[0]() is optimizer]
        self.alike = [item for item in self.alike if item not in together]
        for _, told, text, mine in together:
            self._tell(run, told, text, mine)

    def _tell(self, run: Run, told: dict[str, Any], text: str, optimizer: Callable[[], Any]) -> None:
        self._told.append((told, optimizer))
        name = "network" if len(self._told) == 1 else f"network_{len(self._told)}"
        for argument, value in told.items():
            run.note_param(f"{name}{argument}", value)
        run.log_text(text, f"model/{name}.txt")


def _inner(network: Any) -> Any:
    """Look through a module without arguments, a LightningModule for one, that only holds a network with some."""
    for _ in range(_DEEPEST):
        if arguments(network):
            break
        parts = [part for part in network._modules.values() if part is not None and _ids(part)]
        if len(parts) != 1 or not arguments(parts[0]) or _ids(parts[0]) != _ids(network):
            break
        network = parts[0]
    return network


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


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


def _reachable(frame: FrameType | None) -> Reachable:
    torch: Any = sys.modules["torch"]
    module, optimizer = torch.nn.Module, torch.optim.Optimizer

    def kind_of(cls: type, name: str) -> str | None:
        return "network" if issubclass(cls, module) else "optimizer" if issubclass(cls, optimizer) else None

    return Reachable(frame, kind_of)


def _evaluated(reachable: Reachable) -> list[Any]:
    """Find the modules that the code names: the outermost ones, and no losses."""
    torch: Any = sys.modules["torch"]
    named = [_unwrapped(module) for _, module in reachable.found.get("network", ())]
    named = [module for module in named if not is_loss_class(type(module), torch) and _ids(module)]
    parts = {id(part) for module in named for part in module.modules() if part is not module}
    return [module for module in dict.fromkeys(named) if id(module) not in parts]


def _networks(optimizer: Any, reachable: Reachable) -> list[Any]:
    """Find the modules that hold the parameters of `optimizer`: those that the code names, else the outermost ones."""
    torch: Any = sys.modules["torch"]
    missing = {id(item): item for group in optimizer.param_groups for item in group["params"]}
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

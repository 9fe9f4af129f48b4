"""Seeds of the random generators, and whether PyTorch was told to be deterministic, as params of the run.

Notebooks seed in a cell of its own, long before the tracked one. So from :func:`arm` on (``%load_ext mlops_lab``) the
last seed of each library is remembered; without it, those of the block, and PyTorch's own, which it tells itself.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import Any

from ...run import Run, runs
from ..arrival import Arrivals
from ..patches import Patches

MODULES = ("random", "numpy.random")

_CHOSEN = 2**32
"""PyTorch begins with a seed beyond this one; a smaller one was given, or drawn, by somebody."""
_ORDER = ("torch", "numpy", "random")
_WORKERS = ("torch.utils.data", "mlops_lab.")
_seeds: dict[str, int] = {}


def install(module: Any, patches: Patches) -> None:
    """Hook the seeding functions of `random`, ``numpy.random`` or `torch`."""
    if module.__name__ == "torch":
        for function in ("manual_seed", "seed"):
            _hook("torch", module.random, function, patches, module)
    else:
        _hook(module.__name__.partition(".")[0], module, "seed", patches)


def tell(run: Run) -> None:
    """Make the seeds that are known now params of `run`; the first value of each stands."""
    torch = sys.modules.get("torch")
    known = dict(_seeds)
    if torch is not None and "torch" not in known and hasattr(torch, "initial_seed"):
        seed = int(torch.initial_seed())
        if seed < _CHOSEN:
            known["torch"] = seed
    given = {name: known[name] for name in _ORDER if name in known}
    if not given:
        return
    run.note_param("seed", next(iter(given.values())))
    # NumPy takes 32 bits of what the others take 64 of.
    if len({seed % 2**32 for seed in given.values()}) > 1:
        for name, seed in given.items():
            run.note_param(f"seed.{name}", seed)


def tell_determinism(run: Run, torch: Any) -> None:
    """Make it a param of `run` whether PyTorch uses deterministic algorithms."""
    with contextlib.suppress(Exception):  # a build of PyTorch without these
        chosen = torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic
        run.note_param("deterministic", bool(chosen))


class _Arming:
    """The hooks that stay, from the loading of the extension on."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._arrivals: Arrivals | None = None
        self._guard = threading.Lock()

    def arm(self) -> None:
        with self._guard:
            if self._arrivals is not None:
                return
            waiting = frozenset((*MODULES, "torch"))
            self._arrivals = Arrivals(waiting, self._arrived)
            self._arrivals.install()
        for name in waiting:
            module = sys.modules.get(name)
            if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
                self._arrived(module)

    def disarm(self) -> None:
        with self._guard:
            if self._arrivals is not None:
                self._arrivals.remove()
                self._arrivals = None
            self._patches.restore()
            _seeds.clear()

    def _arrived(self, module: Any) -> None:
        try:
            install(module, self._patches)
        except Exception:
            return  # a library that looks different seeds without us


_arming = _Arming()
arm = _arming.arm
disarm = _arming.disarm


def _hook(library: str, owner: Any, name: str, patches: Patches, *others: Any) -> None:
    """Watch the function `name` of the module `owner`, which `others` have as well."""
    original = getattr(owner, name)
    if hasattr(original, "_mlops_lab_hook"):
        return

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        _seen(library, args, kwargs, sys._getframe(1).f_globals.get("__name__", ""))
        return result

    watched._mlops_lab_hook = True  # type: ignore[attr-defined]
    # Pickled by its place, for loaders that spawn their workers are given it as worker_init_fn.
    watched.__module__, watched.__qualname__ = owner.__name__, name
    for module in (owner, *others):
        patches.set(module, name, watched)


def _seen(library: str, args: tuple[Any, ...], kwargs: dict[str, Any], module: str) -> None:
    # The workers of a loader, which may be threads, seed themselves.
    if module.startswith(_WORKERS):
        return
    given = args[0] if args else next(iter(kwargs.values()), None)
    try:
        _seeds[library] = int(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        _seeds.pop(library, None)  # seeded from the clock, or with something that is no number
        return
    run = runs.current
    if run is not None:
        tell(run)

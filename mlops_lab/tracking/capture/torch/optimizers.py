"""The optimizers of a run: what they were set to, their learning rates step by step, the norm of their gradients."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

from ...run import Run
from .arriving import Value, is_captured, value_of
from .frames import inside
from .words import class_words, free, optimizer_words

MOST_OPTIMIZERS = 32
"""Optimizers of one run that become params; a cell that makes one per step has no use for more."""
MOST_GROUPS = 16
"""Parameter groups of one optimizer whose learning rates are series of their own."""


class Member:
    """One optimizer of a run.

    Attributes
    ----------
    suffix
        What sets its series apart from those of other optimizers; empty where there is only one.
    series
        The loss that it minimizes, once that is known.
    """

    __slots__ = ("norm", "optimizer", "rates", "seen", "series", "split", "suffix")

    def __init__(self, optimizer: Any, suffix: str) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.suffix = suffix
        self.series: Any = None
        self.seen: list[Any] = []
        """What the learning rates of the groups were at the last step."""
        self.rates: list[float | None] = []
        """The same, as numbers that were recorded."""
        self.split = False
        """The groups have had different rates."""
        self.norm: Value | None = None


class Optimizers:
    """The optimizers of one run, in the order of their first steps."""

    def __init__(self, run: Run, torch: Any) -> None:
        self._run = run
        self._torch = torch
        self._members: dict[int, Member] = {}
        self._count = 0
        self._prefixes: list[str] = []
        self._described: list[dict[str, Any]] = []
        self._carried: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def member(self, optimizer: Any) -> Member | None:
        """Give what is known of `optimizer`; None where it is new."""
        found = self._members.get(id(optimizer))
        return found if found is not None and found.optimizer() is optimizer else None

    def counted(self, optimizer: Any) -> Any:
        """Give the optimizer that counts when `optimizer` steps: the one that it carries, or itself."""
        if self.member(optimizer) is not None:
            return optimizer
        known = self._carried.get(optimizer)
        if known is None:
            known = self._carried[optimizer] = weakref.ref(carried(self._torch, optimizer))
        inner = known()
        return optimizer if inner is None else inner

    def add(self, optimizer: Any, names: list[str], companions: list[Any], scheduler: Any) -> Member:
        """Take in `optimizer`, which the user calls `names`; its settings become params.

        Parameters
        ----------
        companions
            The optimizers that are used beside it, itself among them.
        scheduler
            What sets its learning rate; None where nothing was found.
        """
        suffix = suffix_of(optimizer, names, companions) if len(companions) > 1 else ""
        member = self._members[id(optimizer)] = Member(optimizer, suffix)
        # Counted, for the loop of a grid search lets the one before go.
        self._count += 1
        if self._count <= MOST_OPTIMIZERS:
            self._describe(suffix, optimizer, scheduler)
        elif self._count == MOST_OPTIMIZERS + 1:
            self._run.notice(
                f"The cell made more than {MOST_OPTIMIZERS} optimizers; only the first ones became params."
            )
        return member

    def _describe(self, suffix: str, optimizer: Any, scheduler: Any) -> None:
        settings = {f"optimizer{name}": value for name, value in _settings(optimizer).items()}
        if scheduler is not None:
            settings.update((f"scheduler{name}", value) for name, value in _schedule(scheduler).items())
        if not suffix and settings in self._described:
            return  # the next fold
        self._described.append(settings)
        prefix = free(f"optimizer_{suffix}" if suffix else "optimizer", self._prefixes)
        self._prefixes.append(prefix)
        apart = prefix.removeprefix("optimizer")
        for name, value in settings.items():
            thing, dot, setting = name.partition(".")
            self._run.note_param(f"{thing}{apart}{dot}{setting}", value)

    def record(self, member: Member, optimizer: Any, step: int) -> None:
        """Record the learning rates where they changed, and the norm that was measured before the step."""
        groups = optimizer.param_groups
        seen = member.seen
        if len(seen) == len(groups) == 1 and member.norm is None:
            rate = groups[0].get("lr")
            if type(rate) is float and rate == seen[0]:
                return
        if len(seen) == len(groups):
            for before, group in zip(seen, groups, strict=True):
                rate = group.get("lr")
                if (rate if type(rate) is float else _state(rate)) != before:
                    break
            else:
                if member.norm is not None:
                    self._record_norm(member, step)
                return
        self._record_rates(member, groups, step)
        if member.norm is not None:
            self._record_norm(member, step)

    def _record_rates(self, member: Member, groups: list[dict[str, Any]], step: int) -> None:
        rates = [group.get("lr") for group in groups]
        member.seen = [_state(rate) for rate in rates]
        name = f"lr_{member.suffix}" if member.suffix else "lr"
        if any(getattr(getattr(rate, "device", None), "type", "cpu") != "cpu" for rate in rates):
            # It lives on the device, for a captured graph; training must not wait for it.
            value = value_of(self._torch, rates[0])
            self._run.log_deferred(name, lambda wait: value(wait) if callable(value) else value)
            return
        numbers = [_number(rate) for rate in rates]
        known, member.rates = member.rates, numbers
        member.split = member.split or (len(set(numbers)) > 1 and len(numbers) <= MOST_GROUPS)
        for position, number in enumerate(numbers if member.split else _highest(numbers)):
            before = (known if member.split else _highest(known))[position : position + 1]
            if number is not None and before != [number]:
                self._run.log_metric(f"{name}_group_{position}" if member.split else name, number, step)

    def measure(self, member: Member, optimizer: Any) -> None:
        """Measure the 2-norm of all gradients of `optimizer`, before it steps."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients or is_captured(self._torch, gradients[0]):
            return
        with self._torch.no_grad():
            norm = total_norm(self._torch, gradients)
            # A fused optimizer takes the scale of mixed precision away itself, later.
            scale = getattr(optimizer, "grad_scale", None)
            member.norm = value_of(self._torch, norm if scale is None else norm / scale.to(norm.device))

    def _record_norm(self, member: Member, step: int) -> None:
        name = f"grad_norm_{member.suffix}" if member.suffix else "grad_norm"
        value, member.norm = member.norm, None
        if isinstance(value, (float, int)):
            self._run.log_metric(name, value, step)
        elif value is not None:
            self._run.log_deferred(name, value)


def carried(torch: Any, optimizer: Any) -> Any:
    """Look through an optimizer that only carries another one for the same parameters, as Lightning's and Accelerate's.

    Returns
    -------
    optimizer
        The one that it carries; itself where it carries none.
    """
    for held in inside(optimizer).values():
        if issubclass(type(held), torch.optim.Optimizer) and _parameters(held) == _parameters(optimizer):
            return held
    return optimizer


def _parameters(optimizer: Any) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def total_norm(torch: Any, gradients: list[Any]) -> Any:
    """Give the 2-norm of all numbers in `gradients`, of any shapes, as a tensor on the device of the first."""
    gradients = [gradient.coalesce()._values() if gradient.is_sparse else gradient for gradient in gradients]
    device = gradients[0].device
    places: dict[Any, list[Any]] = {}
    for gradient in gradients:
        places.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    norms: list[Any] = []
    for same in places.values():
        norms += [norm.to(device, torch.float32) for norm in torch._foreach_norm(same, 2.0)]
    return torch.linalg.vector_norm(torch.stack(norms))


def suffix_of(optimizer: Any, names: list[str], companions: list[Any]) -> str:
    """Tell `optimizer` from its companions: by its variable, its class, or its place among them."""
    for words in map(optimizer_words, names):
        if words:
            return "_".join(words)
    classes = [type(other).__name__ for other in companions]
    if classes.count(type(optimizer).__name__) == 1:
        return "_".join(class_words(type(optimizer).__name__))
    return str(next((i for i, other in enumerate(companions, start=1) if other is optimizer), len(companions) + 1))


def _settings(optimizer: Any) -> dict[str, Any]:
    """Give the class of `optimizer` and what it was set to, as ``{"": "Adam", ".lr": 0.01}``."""
    found: dict[str, Any] = {"": type(optimizer).__name__}
    groups, defaults = optimizer.param_groups, optimizer.defaults
    rates = [_number(group.get("initial_lr", group.get("lr"))) for group in groups]
    if len(set(rates)) > 1:
        found[".lr"] = rates[:MOST_GROUPS]
    elif rates and rates[0] is not None:
        # With a scheduler the groups have its rates by now.
        passed = _number(defaults.get("lr")) if "initial_lr" in groups[0] else rates[0]
        found[".lr"] = rates[0] if passed is None else passed
    found.update((f".{name}", value) for name, value in _unusual(type(optimizer), defaults))
    return found


def _schedule(scheduler: Any) -> dict[str, Any]:
    """The same of a scheduler."""
    found: dict[str, Any] = {"": type(scheduler).__name__}
    try:
        from ..construction import arguments

        given = arguments(scheduler) or {}
    except ImportError:
        given = {}
    if not given:
        given = dict(_unusual(type(scheduler), vars(scheduler)))
    for name, value in given.items():
        if name not in ("optimizer", "last_epoch") and str(value) != "<lambda>":
            found[f".{name}"] = value
    return found


def _unusual(cls: type, values: dict[str, Any]) -> list[tuple[str, Any]]:
    """Give those of `values` that the constructor of `cls` takes, and that differ from its own defaults."""
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return []
    found = []
    for name, parameter in parameters.items():
        value = values.get(name)
        plain = isinstance(value, (bool, int, float, str))
        if not plain and not (isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)):
            continue
        if name != "lr" and (parameter.default is parameter.empty or value != parameter.default):
            found.append((name, value))
    return found


def _state(rate: Any) -> Any:
    """Give what is different as soon as `rate` is: a tensor is changed in place."""
    version = getattr(rate, "_version", None)
    return rate if version is None else (id(rate), version)


def _highest(rates: list[float | None]) -> list[float | None]:
    known = [rate for rate in rates if rate is not None]
    return [max(known)] if known else []


def _number(rate: Any) -> float | None:
    try:
        return float(rate)
    except (TypeError, ValueError, RuntimeError):
        return None

"""Plain PyTorch: every loss that is back-propagated becomes a point of ``train_loss``; optimizers become params.

Every door is watched: ``Tensor.backward``, ``torch.autograd.backward``, and ``torch.autograd.grad`` where it is asked
for the gradient of a model's parameters. The first calls the second, and a MetaTensor enters the first twice, so only
the outermost call counts. A loss on the CPU is read at once. One on a GPU
is copied asynchronously and read by a background thread, so that training never waits for the device.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from ..run import Reader, Run, runs
from .patches import Patches
from .scaling import Scaling, Unknown

MODULES = ("torch",)
LOSS = "train_loss"

MOST_OPTIMIZERS = 32
"""Optimizers of one run that become params; a cell that makes one per step has no use for more."""


def install(torch: Any, patches: Patches) -> None:
    """Hook `torch`; see :mod:`mlops_lab.tracking.capture`."""
    inside = threading.local()
    tensor_backward = torch.Tensor.backward
    autograd_backward = torch.autograd.backward
    autograd_grad = torch.autograd.grad
    scale = torch.amp.GradScaler.scale
    plain = torch._C.DisableTorchFunctionSubclass
    scaling = Scaling()
    optimizers: weakref.WeakKeyDictionary[Run, _Optimizers] = weakref.WeakKeyDictionary()

    def record(loss: Any) -> None:
        run = runs.current
        # A backward within a backward (reentrant checkpoints) is a part of one that has been recorded.
        if run is None or torch._C._current_graph_task_id() != -1:
            return
        with plain():
            losses = [loss] if isinstance(loss, torch.Tensor) else list(loss)
            if not losses or any(not isinstance(item, torch.Tensor) or item.numel() != 1 for item in losses):
                return
            try:
                losses = [scaling.undone(item) for item in losses]
            except Unknown:
                run.notice(
                    "A loss was put together from parts that a GradScaler scaled and parts that it did not (or "
                    "otherwise than as a sum or a multiple); it is not recorded. Scale the sum of the parts instead."
                )
                return
            if all(item.device.type == "cpu" for item in losses):
                run.log_metric(LOSS, sum(item.item() for item in losses))
                return
            total = losses[0].detach().clone()
            for item in losses[1:]:
                total = total + item.detach().to(total.device)
            run.log_deferred(LOSS, _reader(torch, total))

    def note(loss: Any) -> None:
        try:
            record(loss)
        except Exception:
            run = runs.current
            if run is not None:
                run.notice("The training loss could not be read from this kind of tensor.")

    @functools.wraps(tensor_backward)
    def watched_tensor_backward(self: Any, gradient: Any = None, *args: Any, **kwargs: Any) -> Any:
        if getattr(inside, "backward", False):
            return tensor_backward(self, gradient, *args, **kwargs)
        inside.backward = True
        try:
            if _is_loss_gradient(gradient):
                note(self)
            return tensor_backward(self, gradient, *args, **kwargs)
        finally:
            inside.backward = False

    @functools.wraps(autograd_backward)
    def watched_autograd_backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> Any:
        if getattr(inside, "backward", False):
            return autograd_backward(tensors, grad_tensors, *args, **kwargs)
        inside.backward = True
        try:
            if isinstance(tensors, Iterator):
                tensors = tuple(tensors)
            if _is_loss_gradient(grad_tensors):
                note(tensors)
            return autograd_backward(tensors, grad_tensors, *args, **kwargs)
        finally:
            inside.backward = False

    @functools.wraps(autograd_grad)
    def watched_autograd_grad(outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        # With create_graph it is a step on the way to a loss (a gradient penalty); of other tensors, a saliency map.
        asked = [inputs] if isinstance(inputs, torch.Tensor) else inputs
        if isinstance(asked, Iterator):
            asked = inputs = tuple(asked)
        trains = bool(asked) and all(isinstance(item, torch.nn.Parameter) for item in _values(asked))
        creates = kwargs.get("create_graph", args[1] if len(args) > 1 else False)
        if trains and not creates and not getattr(inside, "backward", False) and _is_loss_gradient(grad_outputs):
            note(outputs)
        return autograd_grad(outputs, inputs, grad_outputs, *args, **kwargs)

    @functools.wraps(scale)
    def watched_scale(self: Any, outputs: Any) -> Any:
        if not isinstance(outputs, (torch.Tensor, list, tuple)):
            outputs = list(outputs)
        scaled = scale(self, outputs)
        if scaled is not outputs:
            try:
                with plain():
                    scaling.mark(self, scaled, outputs)
            except Exception:
                run = runs.current
                if run is not None:
                    run.notice("This GradScaler is of an unknown kind; losses that it has scaled are recorded scaled.")
        return scaled

    def stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
        run = runs.current
        if run is not None:
            optimizers.setdefault(run, _Optimizers()).note(run, optimizer)

    patches.set(torch.Tensor, "backward", watched_tensor_backward)
    patches.set(torch.autograd, "backward", watched_autograd_backward)
    patches.set(torch.autograd, "grad", watched_autograd_grad)
    patches.set(torch.amp.GradScaler, "scale", watched_scale)
    # torch.optim hides its submodule of this name.
    module = import_module("torch.optim.optimizer")
    patches.undo_with(module.register_optimizer_step_post_hook(stepped).remove)


class _Optimizers:
    """The optimizers of one run, in the order of their first steps."""

    def __init__(self) -> None:
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
        self._count = 0

    def note(self, run: Run, optimizer: Any) -> None:
        """Make an optimizer that is new here, and its rate, params of the run."""
        if optimizer in self._seen:
            return
        self._seen.add(optimizer)
        # Counted, for the loop of a grid search lets the one before go.
        self._count += 1
        if self._count > MOST_OPTIMIZERS:
            run.notice(f"The cell made more than {MOST_OPTIMIZERS} optimizers; only the first ones became params.")
            return
        prefix = "optimizer" if self._count == 1 else f"optimizer_{self._count}"
        run.note_param(prefix, type(optimizer).__name__)
        rates = {float(group["lr"]) for group in optimizer.param_groups if "lr" in group}
        if len(rates) == 1:
            run.note_param(f"{prefix}.lr", rates.pop())


def _is_loss_gradient(gradient: Any) -> bool:
    """Tell whether a backward with this gradient starts at a loss: none, or one number, whatever it weighs."""
    given = gradient if isinstance(gradient, (list, tuple)) else [gradient]
    return all(item is None or getattr(item, "numel", lambda: 0)() == 1 for item in given)


def _values(inputs: Any) -> Any:
    return inputs.values() if isinstance(inputs, dict) else inputs


def _reader(torch: Any, value: Any) -> Reader:
    if value.device.type != "cuda":

        def read(wait: bool) -> float | None:
            return float(value.item())

        return read
    # Copied on the training's own stream, so it is the value of this very step; CUDA graphs reuse the loss's memory.
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def read_host(wait: bool) -> float | None:
        if wait:
            arrived.synchronize()
        elif not arrived.query():
            return None
        return float(host.item())

    return read_host

"""Plain PyTorch: every loss that is back-propagated becomes a point of ``train_loss``; optimizers become params.

Both doors are watched, ``Tensor.backward`` and ``torch.autograd.backward``; the first calls the second, and a
MetaTensor enters the first twice, so only the outermost call counts. A loss on the CPU is read at once. One on a GPU
is copied asynchronously and read by a background thread, so that training never waits for the device.
"""

from __future__ import annotations

import functools
import threading
import weakref
from importlib import import_module
from typing import Any

from ..run import Reader, runs
from .patches import Patches

MODULES = ("torch",)
LOSS = "train_loss"

_UNSCALED = "_mlops_lab_unscaled"
"""Attribute of a loss that a GradScaler has scaled: the loss as it was."""


def install(torch: Any, patches: Patches) -> None:
    """Hook `torch`; see :mod:`mlops_lab.tracking.capture`."""
    inside = threading.local()
    tensor_backward = torch.Tensor.backward
    autograd_backward = torch.autograd.backward
    scale = torch.amp.GradScaler.scale
    plain = torch._C.DisableTorchFunctionSubclass
    seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def record(loss: Any) -> None:
        run = runs.current
        if run is None:
            return
        with plain():
            losses = [loss] if isinstance(loss, torch.Tensor) else list(loss)
            if not losses or any(not isinstance(item, torch.Tensor) or item.numel() != 1 for item in losses):
                return
            losses = [getattr(item, _UNSCALED, item) for item in losses]
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
            if gradient is None:
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
            if grad_tensors is None:
                note(tensors)
            return autograd_backward(tensors, grad_tensors, *args, **kwargs)
        finally:
            inside.backward = False

    @functools.wraps(scale)
    def watched_scale(self: Any, outputs: Any) -> Any:
        scaled = scale(self, outputs)
        if isinstance(outputs, torch.Tensor) and scaled is not outputs:
            # On the tensor itself, so that it goes when the tensor goes.
            setattr(scaled, _UNSCALED, outputs.detach())
        return scaled

    def stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
        if optimizer in seen:
            return
        seen.add(optimizer)
        run = runs.current
        if run is not None:
            prefix = "optimizer" if len(seen) == 1 else f"optimizer_{len(seen)}"
            run.note_param(prefix, type(optimizer).__name__)
            rates = {float(group["lr"]) for group in optimizer.param_groups if "lr" in group}
            if len(rates) == 1:
                run.note_param(f"{prefix}.lr", rates.pop())

    patches.set(torch.Tensor, "backward", watched_tensor_backward)
    patches.set(torch.autograd, "backward", watched_autograd_backward)
    patches.set(torch.amp.GradScaler, "scale", watched_scale)
    # torch.optim hides its submodule of this name.
    optimizers = import_module("torch.optim.optimizer")
    patches.undo_with(optimizers.register_optimizer_step_post_hook(stepped).remove)


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

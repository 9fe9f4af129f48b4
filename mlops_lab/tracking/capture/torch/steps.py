"""Plain PyTorch: the doors through which a training passes, and what is noted at each of them.

Losses enter by ``Tensor.backward``, ``torch.autograd.backward``, and ``torch.autograd.grad`` where it is asked for the
gradient of a model's parameters. The first calls the second, and a MetaTensor enters the first twice, so only the
outermost call counts. Optimizers tell of their steps by hooks that PyTorch offers; what is made of all this is the
business of :mod:`.loops`.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from types import FrameType
from typing import Any

from ...run import Run, runs
from ..patches import Patches, family
from . import losses, seeds
from .compiler import unseen
from .loops import Loops
from .scaling import Scaling, Unknown

MODULES = ("torch",)

_UNKNOWN_SCALE = (
    "A loss was put together from parts that a GradScaler scaled and parts that it did not (or otherwise than as a sum "
    "or a multiple); it is not recorded. Scale the sum of the parts instead."
)


def install(torch: Any, patches: Patches) -> None:
    """Hook `torch`; see :mod:`mlops_lab.tracking.capture`."""
    doors = _Doors(torch, patches)
    doors.hook_backward()
    doors.hook_scaler()
    doors.hook_optimizers()
    doors.hook_losses()
    seeds.install(torch, patches)


class _Inside(threading.local):
    """Whether this thread is inside of a backward call."""

    backward = False


class _Doors:
    """The hooks of one installation."""

    def __init__(self, torch: Any, patches: Patches) -> None:
        self._torch = torch
        self._patches = patches
        self._scaling = Scaling()
        self._tensor = torch.Tensor
        self._plain = torch._C.DisableTorchFunctionSubclass
        self._task = torch._C._current_graph_task_id
        self._losses: set[type] = set()
        self._latest: tuple[Run | None, Any] = (None, None)
        self._measures = False
        patches.undo_with(self._forget)
        for own in (self._back_propagated, self._called, self._steps, self._left_out, self._failed):
            unseen(torch, own, deep=True)

    def loops(self, run: Run) -> Loops:
        """Give the training loops of `run`."""
        known, loops = self._latest
        if known is run:
            return loops  # type: ignore[no-any-return]
        loops = run.book("torch", lambda: Loops(run, self._torch, self.hook_loss))
        self._latest = (run, loops)
        if run.options.grad_norm and not self._measures:
            self._measures = True
            self._hook_gradients()
        return loops

    def _forget(self) -> None:
        self._latest = (None, None)

    def hook_losses(self) -> None:
        """Watch the calls of the loss modules that there are; a class that is made later is met in the first step."""
        self.hook_loss(self._torch.nn.modules.loss._Loss)
        for cls in family(self._torch.nn.Module):
            if losses.is_loss_class(cls, self._torch):
                self.hook_loss(cls)

    def hook_loss(self, cls: type) -> bool:
        """Watch the calls of a class of loss modules; False where that is done already."""
        if any(known in self._losses for known in cls.__mro__):
            return False
        self._losses.add(cls)
        losses.hook(cls, self._torch, self._patches, self._called)
        return True

    def hook_backward(self) -> None:
        """Watch the three ways to a gradient."""
        torch, note, take_back = self._torch, self._back_propagated, self._failed
        inside = _Inside()
        tensor_backward = torch.Tensor.backward
        autograd_backward = torch.autograd.backward
        autograd_grad = torch.autograd.grad

        @functools.wraps(tensor_backward)
        def watched_tensor_backward(self: Any, gradient: Any = None, *args: Any, **kwargs: Any) -> Any:
            if inside.backward:
                return tensor_backward(self, gradient, *args, **kwargs)
            inside.backward = True
            try:
                if gradient is None or _is_loss_gradient(gradient):
                    note(self, sys._getframe(1))
                return tensor_backward(self, gradient, *args, **kwargs)
            except Exception:
                take_back()
                raise
            finally:
                inside.backward = False

        @functools.wraps(autograd_backward)
        def watched_autograd_backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> Any:
            if inside.backward:
                return autograd_backward(tensors, grad_tensors, *args, **kwargs)
            inside.backward = True
            try:
                if isinstance(tensors, Iterator):
                    tensors = tuple(tensors)
                if _is_loss_gradient(grad_tensors):
                    note(tensors, sys._getframe(1))
                return autograd_backward(tensors, grad_tensors, *args, **kwargs)
            except Exception:
                take_back()
                raise
            finally:
                inside.backward = False

        @functools.wraps(autograd_grad)
        def watched_autograd_grad(
            outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **kwargs: Any
        ) -> Any:
            # With create_graph it is a step on the way to a loss (a penalty); of other tensors, a saliency map.
            asked = [inputs] if isinstance(inputs, torch.Tensor) else inputs
            if isinstance(asked, Iterator):
                asked = inputs = tuple(asked)
            trains = bool(asked) and all(isinstance(item, torch.nn.Parameter) for item in _values(asked))
            creates = kwargs.get("create_graph", args[1] if len(args) > 1 else False)
            if trains and not creates and not inside.backward and _is_loss_gradient(grad_outputs):
                note(outputs, sys._getframe(1), trains=True)
            return autograd_grad(outputs, inputs, grad_outputs, *args, **kwargs)

        for watched in (watched_tensor_backward, watched_autograd_backward, watched_autograd_grad):
            unseen(torch, watched)
        unseen(torch, _is_loss_gradient, deep=True)
        self._patches.set(torch.Tensor, "backward", watched_tensor_backward)
        self._patches.set(torch.autograd, "backward", watched_autograd_backward)
        self._patches.set(torch.autograd, "grad", watched_autograd_grad)

    def hook_scaler(self) -> None:
        """Watch what a GradScaler scales, and the steps that it leaves out."""
        torch, scaling, plain = self._torch, self._scaling, self._plain
        scale, step = torch.amp.GradScaler.scale, torch.amp.GradScaler.step

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
                    _notice("This GradScaler is of an unknown kind; losses that it has scaled are recorded scaled.")
            return scaled

        @functools.wraps(step)
        def watched_step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            before = self._steps()
            result = step(scaler, optimizer, *args, **kwargs)
            self._left_out(before, optimizer)
            return result

        for watched in (watched_scale, watched_step):
            unseen(torch, watched)
        self._patches.set(torch.amp.GradScaler, "scale", watched_scale)
        self._patches.set(torch.amp.GradScaler, "step", watched_step)

    def hook_optimizers(self) -> None:
        """Watch the steps of all optimizers."""
        torch = self._torch
        is_compiling = torch.compiler.is_compiling

        def stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
            if is_compiling():
                return
            run = runs.current
            if run is not None:
                try:
                    self.loops(run).stepped(optimizer)
                except Exception as error:
                    _notice(_not_recorded(error))

        unseen(torch, stepped, deep=True)
        # torch.optim hides its submodule of this name.
        module = import_module("torch.optim.optimizer")
        self._patches.undo_with(module.register_optimizer_step_post_hook(stepped).remove)

    def _hook_gradients(self) -> None:
        """Have gradients measured before each step; no other run pays for it."""
        is_compiling = self._torch.compiler.is_compiling

        def stepping(optimizer: Any, args: Any, kwargs: Any) -> None:
            if is_compiling():
                return
            run = runs.current
            if run is not None and run.options.grad_norm:
                self._quietly(self.loops(run).stepping, optimizer, args, kwargs)

        unseen(self._torch, stepping, deep=True)
        module = import_module("torch.optim.optimizer")
        self._patches.undo_with(module.register_optimizer_step_pre_hook(stepping).remove)

    def _steps(self) -> int:
        run = runs.current
        return self.loops(run).thread().stepped if run is not None else 0

    def _left_out(self, before: int, optimizer: Any) -> None:
        run = runs.current
        if run is not None and self.loops(run).thread().stepped == before:
            self._quietly(self.loops(run).skipped, optimizer)

    def _failed(self) -> None:
        run = runs.current
        if run is not None:
            self._quietly(self.loops(run).failed)

    def _back_propagated(self, loss: Any, frame: FrameType, trains: bool = False) -> None:
        run = runs.current
        # A backward within a backward (reentrant checkpoints) is a part of one that has been recorded.
        if run is None or self._task() != -1:
            return
        try:
            if type(loss) is self._tensor and not self._scaling.used:
                if loss.numel() == 1:
                    held = [loss]
                    self.loops(run).back_propagated(held, held, frame, trains)
            else:
                with self._plain():
                    self._record(run, [loss] if isinstance(loss, self._torch.Tensor) else list(loss), frame, trains)
        except Unknown:
            run.notice(_UNKNOWN_SCALE)
        except Exception:
            run.notice("The training loss could not be read from this kind of tensor.")

    def _record(self, run: Run, held: list[Any], frame: FrameType, trains: bool) -> None:
        for loss in held:
            if not isinstance(loss, self._torch.Tensor) or loss.numel() != 1:
                return
        if not held:
            return
        scaling = self._scaling
        scalars = [scaling.undone(loss) for loss in held] if scaling.used else held
        self.loops(run).back_propagated(scalars, held, frame, trains)

    def _called(self, module: Any, output: Any, frame: FrameType) -> None:
        run = runs.current
        if run is None:
            return
        calls = self.loops(run).thread().calls
        if calls.settled(module, frame):
            return
        with self._plain():
            self._quietly(calls.note, self._torch, module, output, frame)

    def _quietly(self, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except Exception as error:
            _notice(_not_recorded(error))


def _not_recorded(error: Exception) -> str:
    return f"A step of the training could not be recorded ({type(error).__name__})."


def _notice(sentence: str) -> None:
    run = runs.current
    if run is not None:
        run.notice(sentence)


def _is_loss_gradient(gradient: Any) -> bool:
    """Tell whether a backward with this gradient starts at a loss: none, or one number, whatever it weighs."""
    given = gradient if isinstance(gradient, (list, tuple)) else [gradient]
    return all(item is None or getattr(item, "numel", lambda: 0)() == 1 for item in given)


def _values(inputs: Any) -> Any:
    return inputs.values() if isinstance(inputs, dict) else inputs

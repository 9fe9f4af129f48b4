"""Undoes the scaling of mixed precision: what is recorded is the loss, not the loss times the scale of a GradScaler.

A tensor that a scaler gives is marked in the node of the graph that made it, with the scale of that moment. A loss that
is a sum or a multiple of such tensors (``scaler.scale(loss) / 4``) is divided by their scale. What is put together in
another way has no loss that could be told.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

_MARK = "mlops_lab_scale"
_LINEAR = re.compile(
    r"(Add|Sub|Rsub|Neg|Sum|Mean|Stack|Cat|View|UnsafeView|Reshape|ReshapeAlias|Squeeze|Unsqueeze|Select|Slice|Index"
    r"|Expand|Permute|Transpose|T|ToCopy|Clone|Unbind|Split|Alias|CopyBackwards|CopySlices|AsStrided)(Backward\w*)?\d*$"
)
_PRODUCT = re.compile(r"(Mul|Div)Backward\d*$")
_FARTHEST = 256
"""Nodes of the graph that are looked at before a loss is taken for one that no scaler has touched."""


class Unknown(Exception):
    """Scaled and unscaled parts, or parts of different scales, are mixed in one number."""


class Scaling:
    """What the GradScalers of a process have scaled; costs nothing until one of them does (`used`)."""

    def __init__(self) -> None:
        self.used = False
        self._scales: WeakKeyDictionary[Any, tuple[Any, int, Any]] = WeakKeyDictionary()

    def mark(self, scaler: Any, scaled: Any, plain: Any) -> None:
        """Note that `scaler` has made `scaled` of `plain`: tensors, or lists of them of one shape."""
        if isinstance(scaled, (list, tuple)):
            for inner, before in zip(scaled, plain, strict=True):
                self.mark(scaler, inner, before)
        elif getattr(scaled, "grad_fn", None) is not None:
            self.used = True
            scaled.grad_fn.metadata[_MARK] = (self._scale(scaler), plain)

    def undone(self, loss: Any) -> Any:
        """Give `loss` without the scale that it carries.

        Raises
        ------
        Unknown
            When no single scale can be told.
        """
        if not self.used or loss.grad_fn is None:
            return loss
        if _MARK in loss.grad_fn.metadata:
            return loss.grad_fn.metadata[_MARK][1].detach()
        scale = _scale(loss.grad_fn, {})
        return loss if scale is None else loss.detach() / scale.to(loss.device)

    def _scale(self, scaler: Any) -> Any:
        # The scaler changes its scale in place; one copy per change, so that equal scales are one object.
        scale = scaler._scale
        before = self._scales.get(scaler)
        if before is None or before[0] is not scale or before[1] != scale._version:
            before = self._scales[scaler] = (scale, scale._version, scale.detach().clone())
        return before[2]


def _scale(node: Any, known: dict[Any, Any]) -> Any:
    """Give the scale of what `node` computed, None where there is none; constants go with every scale."""
    if _MARK in node.metadata:
        return node.metadata[_MARK][0]
    if node in known:
        return known[node]
    children = [child for child, _ in node.next_functions]
    name = node.name()
    product = _PRODUCT.match(name)
    if len(known) >= _FARTHEST or not (product or _LINEAR.match(name)):
        if _touched([child for child in children if child is not None]):
            raise Unknown
        return None
    scales = [_scale(child, known) for child in children if child is not None]
    scaled = [scale for scale in scales if scale is not None]
    if scaled and product:
        divisor = children[1] if name.startswith("Div") and len(children) > 1 else None
        if len(scaled) > 1 or (divisor is not None and _scale(divisor, known) is not None):
            raise Unknown
    elif scaled and (len(scaled) < len(scales) or any(not _equal(scale, scaled[0]) for scale in scaled)):
        raise Unknown
    known[node] = scaled[0] if scaled else None
    return known[node]


def _equal(one: Any, other: Any) -> bool:
    return one is other or bool(one.item() == other.item())


def _touched(nodes: list[Any]) -> bool:
    seen: set[Any] = set()
    while nodes and len(seen) < _FARTHEST:
        node = nodes.pop(0)
        if node in seen:
            continue
        seen.add(node)
        if _MARK in node.metadata:
            return True
        nodes += [child for child, _ in node.next_functions if child is not None]
    return False

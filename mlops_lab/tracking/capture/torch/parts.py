"""What a loss is made of, read from the top of its graph: calls of loss modules, scalars, PyTorch's functions."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .arriving import Value, total, value_of
from .frames import authors, inside, variables
from .words import loss_words

_SUM = re.compile(
    r"(Add|Sub|Rsub|Neg|Sum|Mean|Stack|Cat|View|UnsafeView|Reshape|ReshapeAlias|Squeeze|Unsqueeze|Select|Expand|ToCopy"
    r"|Clone|Alias|CopyBackwards)(Backward\w*)?\d*$"
)
_PRODUCT = re.compile(r"(Mul|Div)Backward\d*$")
_FUNCTIONS = {
    "NllLoss": "nll_loss",
    "NllLoss2D": "nll_loss",
    "MseLoss": "mse_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "HuberLoss": "huber_loss",
    "BinaryCrossEntropy": "binary_cross_entropy",
    "BinaryCrossEntropyWithLogits": "binary_cross_entropy_with_logits",
    "CtcLoss": "ctc_loss",
    "SoftMarginLoss": "soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "MultilabelMarginLoss": "multilabel_margin_loss",
}
_MENTIONED = (
    "cross_entropy",
    "l1_loss",
    "kl_div",
    "poisson_nll_loss",
    "gaussian_nll_loss",
    "cosine_embedding_loss",
    "triplet_margin_loss",
    "margin_ranking_loss",
    "hinge_embedding_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "mse_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy",
)
"""Functions of torch.nn.functional that leave no node of their own name in the graph, or might not."""
_FARTHEST = 256
"""Nodes at the top of a graph that are looked at."""
_MOST_VALUES = 1024
"""Calls from one place that no backward has come for."""
_MOST_ENTRIES = 32
"""Entries of a dictionary that is looked into."""
_MOST_CALLS = 64
"""Calls from one place in one step that are looked for in the graph."""


class Part:
    """Something that a loss is made of: the calls of a loss module from one place, or a scalar that has a name.

    Attributes
    ----------
    name
        Class of the module, or the variable.
    called
        It is a call.
    module
        What was called last, while it exists.
    arguments
        What the module was built with.
    variable
        The user's name for its value.
    holder
        The variable that is read for it: the same, or a dictionary that has it as an entry.
    depth, attribute
        How many frames above the backward call the variable is; whether it is an attribute of ``self`` there.
    nodes
        The nodes of the graph that its calls have made, until it is known where they belong.
    values
        Those of the calls since the last backward.
    wanted
        Its values are recorded.
    settled
        There is nothing more to be found out about it, and its values are not recorded.
    """

    __slots__ = (
        "_last",
        "_noted",
        "arguments",
        "attribute",
        "called",
        "depth",
        "holder",
        "module",
        "name",
        "nodes",
        "series",
        "settled",
        "tries",
        "values",
        "variable",
        "wanted",
    )

    def __init__(self, name: str, called: bool) -> None:
        self.name = name
        self.called = called
        self.module: Callable[[], Any] = lambda: None
        self.arguments: dict[str, Any] = {}
        self.variable = self.holder = "" if called else name
        self.depth = 0
        self.attribute = False
        self.nodes: list[Any] = []
        self.values: list[Value] = []
        self.wanted = False
        self.settled = False
        self.series: Any = None
        self.tries = 0
        """Backward calls since it was met."""
        self._noted = 0
        """The same, before its last call."""
        self._last: weakref.ref[Any] | None = None

    def note(self, torch: Any, module: Any, output: Any) -> None:
        """Take note of a call that gave the tensor `output`."""
        if self.wanted:
            if output.numel() == 1 and len(self.values) < _MOST_VALUES:
                self.values.append(value_of(torch, output))
            return
        if self._noted != self.tries:
            self.forget()  # what is there is of an earlier step
        self._noted = self.tries
        self.module = weakref.ref(module)
        if len(self.nodes) < _MOST_CALLS:
            self.nodes.append(output.grad_fn)
        if output.numel() == 1:
            self.values.append(value_of(torch, output))

    def settle(self) -> None:
        """Let it be."""
        self.nodes, self.settled = [], True

    def want(self) -> None:
        """Have its values recorded from now on."""
        self.wanted, self.settled = True, False

    def look_again(self) -> None:
        """Have it found anew, in the graph of the next step."""
        self.settled, self.tries = False, 0
        self.forget()

    def forget(self) -> None:
        """Let the graphs of its calls go."""
        self.nodes, self.values = [], []

    @property
    def identity(self) -> Any:
        """What several calls of one module have in common, unless the user calls their values differently."""
        module = self.module()
        return self.variable or (self.name, id(module) if module is not None else 0)

    def words(self) -> list[str]:
        """Give the words that its series is named after."""
        return loss_words(self.variable) if self.variable else []

    def take(self, torch: Any, frame: FrameType | None) -> Value | None:
        """Give its value in the backward call at `frame`; None where it has none."""
        if self.called:
            values, self.values = self.values, []
            return total(values) if values else None
        value = self._read(frame)
        if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
            return None
        if self._last is not None and self._last() is value:
            return None  # of an earlier step
        self._last = weakref.ref(value)
        return value_of(torch, value)

    def _read(self, frame: FrameType | None) -> Any:
        for _ in range(self.depth):
            frame = frame.f_back if frame is not None else None
        if frame is None:
            return None
        if self.attribute:
            scope = inside(variables(frame).get("self"))
        else:
            scope = frame.f_globals if frame.f_code.co_name == "<module>" else variables(frame)
        value: Any = scope.get(self.holder)
        if self.holder == self.variable:
            return value
        return dict.get(value, self.variable) if issubclass(type(value), dict) else None


class Found:
    """What the top of a graph tells of a loss.

    Attributes
    ----------
    parts
        The calls and variables that it is a sum of.
    names
        Variables that hold the whole, the nearest first: before it was scaled or divided.
    functions
        The functions of PyTorch that it comes from besides.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.names: list[str] = []
        self.functions: list[str] = []

    def components(self, root: Any, named: dict[Any, Part], names: dict[Any, list[Part]]) -> list[Any]:
        """Take a graph apart into what is `named`; give the nodes where its sums end otherwise."""
        ends: list[Any] = []
        queue: list[Any] = [root]
        seen: set[Any] = set()
        branched = False
        while queue and len(seen) < _FARTHEST:
            node = queue.pop(0)
            if node in seen:
                continue
            seen.add(node)
            if not branched:
                self.names += [part.variable for part in names.get(node, ())]
            part = named.get(node)
            # A variable on the way to the sum is another name of the whole.
            if part is not None and (branched or part.called):
                if part not in self.parts:
                    self.parts.append(part)
                if not part.called:
                    ends.append(node)
                continue
            children = [child for child, _ in node.next_functions if child is not None]
            name = node.name()
            if _SUM.match(name) or (_PRODUCT.match(name) and len(children) == 1):
                branched = branched or len(children) > 1
                queue += children
            elif _PRODUCT.match(name) and any(child in named for child in children):
                branched = True  # a weight that is learned itself
                queue += [child for child in children if child in named]
            else:
                ends.append(node)
        return ends


def scalars(frame: FrameType | None) -> dict[Any, list[Part]]:
    """Give the scalars near `frame` that have a name and a graph, by the node that made them.

    The nearest frame comes first, and in it what was assigned last: ``loss_g = recons_loss`` is called loss_g.
    """
    found: dict[Any, list[Part]] = {}
    for caller in list(authors(frame))[:3]:
        held = variables(caller)
        for scope, attribute in ((held, False), (inside(held.get("self")), True)):
            for holder, name, value in _named(scope):
                node = _node(value)
                if node is not None:
                    part = Part(name, called=False)
                    part.holder, part.attribute, part.depth = holder, attribute, _distance(frame, caller)
                    found.setdefault(node, []).append(part)
    return found


def _named(scope: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Give variable, name and value of what `scope` holds, then of the entries of the dictionaries in it."""
    held = [(name, value) for name, value in list(scope.items()) if isinstance(name, str) and not name.startswith("_")]
    for name, value in reversed(held):
        yield name, name, value
    for name, value in reversed(held):
        # Asked of the type, as everywhere: no code of a class of the user's own is run for this.
        if issubclass(type(value), dict) and value is not scope and dict.__len__(value) <= _MOST_ENTRIES:
            for key, item in list(dict.items(value)):
                if isinstance(key, str) and key != name:
                    yield name, key, item


def _distance(frame: FrameType | None, caller: FrameType) -> int:
    distance = 0
    while frame is not None and frame is not caller:
        frame, distance = frame.f_back, distance + 1
    return distance


def _node(value: Any) -> Any:
    """Give the node of the graph that made the scalar tensor `value`; None for everything else."""
    torch = sys.modules.get("torch")
    if torch is None or not issubclass(type(value), torch.Tensor):
        return None
    with torch._C.DisableTorchFunctionSubclass():
        return value.grad_fn if value.numel() == 1 else None


def functions_of(nodes: list[Any], mentioned: set[str]) -> list[str]:
    found: list[str] = []
    for node in nodes:
        name = _FUNCTIONS.get(node.name().partition("Backward")[0])
        if name == "nll_loss":
            child = node.next_functions[0][0] if node.next_functions else None
            name = "cross_entropy" if child is not None and child.name().startswith("LogSoftmax") else name
        if name is not None and name not in found:
            found.append(name)
    named = [name for name in _MENTIONED if name in mentioned]
    return found or (named if len(named) == 1 else [])

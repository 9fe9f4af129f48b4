"""Follows what a pickle would build, without building it, to tell which texts are the values of identifying keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..detectors.labels import is_private, label_of

if TYPE_CHECKING:
    from .pickles import Step

_DESCRIBING = frozenset({"vr", "keyword", "tag", "name"})
_LONGEST_KEY = 80
_PRIVATE = re.compile(r"[0-9a-fA-F]{8}")


class _Box:
    """A container or an object: what it is made of."""

    __slots__ = ("items", "pairs")

    def __init__(self, items: Sequence[object] = ()) -> None:
        self.items = list(items)
        self.pairs: list[tuple[object, object]] = []


class _Mark:
    """The mark below the items of a container."""


_NEW = frozenset({"EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE"})
_OF_MARKED = frozenset({"LIST", "TUPLE", "FROZENSET", "INST", "OBJ"})
_FIXED = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "NEWOBJ": 2, "NEWOBJ_EX": 3, "BINPERSID": 1}
_SILENT = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})


class _Machine:
    """The stack and memo of an unpickler, with numbers of instructions in the place of values."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.pairs: list[tuple[object, object]] = []
        self.imported: set[int] = set()

    def run(self, number: int, step: Step) -> None:
        """Follow one instruction."""
        name, stack = step.name, self.stack
        if name in _SILENT:
            return
        if name == "MARK":
            stack.append(_Mark())
        elif name in _NEW:
            stack.append(_Box())
        elif name in _FIXED:
            count = _FIXED[name]
            box = _Box(stack[-count:])
            del stack[-count:]
            stack.append(box)
        elif name in _OF_MARKED:
            stack.append(_Box(self._marked()))
        elif name == "DICT":
            self._set(box := _Box(), self._marked())
            stack.append(box)
        elif name in ("APPEND", "BUILD"):
            self._add(stack[-2], [stack.pop()])
        elif name in ("APPENDS", "ADDITEMS"):
            items = self._marked()
            self._add(stack[-1], items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._set(stack[-1], [key, value])
        elif name == "SETITEMS":
            items = self._marked()
            self._set(stack[-1], items)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name.endswith("PUT"):
            self.memo[_integer(step)] = stack[-1]
        elif name.endswith("GET"):
            stack.append(self.memo[_integer(step)])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._marked()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "STACK_GLOBAL":
            self.imported.update(part for part in stack[-2:] if isinstance(part, int))
            del stack[-2:]
            stack.append(None)
        else:
            stack.append(number)

    def _marked(self) -> list[object]:
        at = len(self.stack) - 1
        while not isinstance(self.stack[at], _Mark):
            at -= 1
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    @staticmethod
    def _add(box: object, items: Sequence[object]) -> None:
        if isinstance(box, _Box):
            box.items += items

    def _set(self, box: object, items: Sequence[object]) -> None:
        pairs = list(zip(items[::2], items[1::2], strict=False))
        self.pairs += pairs
        if isinstance(box, _Box):
            box.pairs += pairs


def followed(steps: Sequence[Step]) -> tuple[dict[int, str], set[int]]:
    """Tell which values are identifying by their key.

    Returns
    -------
    tuple
        By the number of the instruction: values that stand under an identifying key, with that key; and the texts that
        name what the unpickler imports.

    Raises
    ------
    IndexError, KeyError
        When no unpickler could follow it.
    """
    machine = _Machine()
    for number, step in enumerate(steps):
        machine.run(number, step)
    named: dict[int, str] = {}
    for key, value in machine.pairs:
        text = steps[key].argument if isinstance(key, int) else None
        if not isinstance(text, str) or len(text) > _LONGEST_KEY:
            continue
        if _PRIVATE.fullmatch(text) and is_private(text[:4]) and _is_dicom_json(steps, value):
            text = f"{text[:4]}|{text[4:]}"
        if label_of(text) is not None:
            _name(named, steps, text, value, set())
    return named, machine.imported


def _is_dicom_json(steps: Sequence[Step], value: object) -> bool:
    """Tell whether `value` is an attribute of DICOM JSON: it says which representation it has."""
    pairs = value.pairs if isinstance(value, _Box) else []
    return any(isinstance(key, int) and steps[key].argument == "vr" for key, _ in pairs)


def _name(named: dict[int, str], steps: Sequence[Step], label: str, value: object, seen: set[int]) -> None:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int):
            named[value] = label
        elif isinstance(value, _Box) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.items
            waiting += [
                item for key, item in value.pairs if not (isinstance(key, int) and steps[key].argument in _DESCRIBING)
            ]


def _integer(step: Step) -> int:
    return step.argument if isinstance(step.argument, int) else int(str(step.argument))

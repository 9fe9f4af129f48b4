"""Changes to other libraries that can be taken back, all of them, in the opposite order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ABSENT = object()


class Patches:
    """What was changed in one library, and how it was before."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of a module or class; one that was inherited or missing is removed again later."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)

        def undo() -> None:
            if vars(owner).get(name) is not value:
                return  # somebody has put another one over ours, which stays, and calls ours, which does nothing then
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        self._undo.append(undo)

    def undo_with(self, undo: Callable[[], object]) -> None:
        """Remember how to take back a change that was made in another way."""
        self._undo.append(undo)

    def restore(self) -> None:
        """Take everything back; harmless when that has been done."""
        while self._undo:
            self._undo.pop()()


def family(base: type) -> list[type]:
    """Give `base` and all classes that are made of it, each before its own."""
    found: dict[type, None] = {base: None}
    waiting = [base]
    while waiting:
        below: list[type] = type.__subclasses__(waiting.pop())
        for cls in below:
            if cls not in found:
                found[cls] = None
                waiting.append(cls)
    return list(found)

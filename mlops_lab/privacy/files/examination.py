"""One look at one file: what may be spent on it, what was found in it, and why it may not be recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..model import Action, Finding, Kind
from ..words import finding
from .content import Content

if TYPE_CHECKING:
    from ..guard import Guard

DEEPEST = 5
"""Archives within archives."""
MOST_MEMBERS = 50_000
MOST_UNPACKED = 1024 * 2**20
"""Bytes that a file may hold when all its archives are unpacked; what is only passed by does not count."""
LARGEST_CHANGED = 256 * 2**20
"""Bytes of a part that has to be in memory to be changed."""


class Blocked(Exception):
    """The file may not be recorded; the message says why and what can be done."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Examination:
    """The state of looking through one file.

    Parameters
    ----------
    guard
        Screens the texts in it.
    where
        What to call the file in findings.
    pause
        Called after every piece of work.
    """

    def __init__(self, guard: Guard, where: str, pause: Callable[[], None] | None = None) -> None:
        self._pause = pause
        self.guard = guard
        self.where = where
        self._counts: Counter[tuple[Kind, Action]] = Counter()
        self._unpacked = 0
        self._members = 0
        self._depth = 0

    def rehearsal(self) -> Examination:
        """Give an examination whose findings do not count."""
        other = Examination(self.guard, self.where, self._pause)
        other._depth = self._depth
        return other

    def text(self, text: str, kind: str = "text") -> str:
        """Give `text` as it may be recorded.

        Raises
        ------
        Blocked
            When the policy blocks what is in it.
        """
        screened = self.guard.text(text, kind, self.where)
        self._note(screened.findings)
        self.breathe()
        return screened.text

    def breathe(self) -> None:
        """Let others work, after a piece of work of some milliseconds."""
        if self._pause is not None:
            self._pause()

    def code(self, code: str) -> str:
        """Give Python code as it may be recorded; see :meth:`text`."""
        screened = self.guard.source(code, self.where)
        self._note(screened.findings)
        return screened.text

    def name(self, name: str) -> str:
        """Give the name of a member as it may be recorded; see :meth:`text`."""
        parts = []
        for part in name.split("/"):
            screened = self.guard.name(part)
            self._note(screened.findings)
            parts.append(screened.text)
        joined = "/".join(parts)
        if joined == name:
            # A name that is known by its whole path, or a date beside a case.
            screened = self.guard.name(name)
            self._note(screened.findings)
            joined = screened.text
        return joined

    def value(self, name: str, text: str) -> str:
        """Give the value of the field `name` as it may be recorded; see :meth:`text`."""
        screened = self.guard.text(text, "text", self.where, name)
        self._note(screened.findings)
        return screened.text

    def note(self, kind: Kind, count: int = 1) -> bool:
        """Note something that was found by its place; True where it is to be replaced.

        Raises
        ------
        Blocked
            When the policy blocks it.
        """
        action = self.guard.policy.action(kind)
        self._counts[kind, action] += count
        if action == "block":
            raise Blocked(kind, f"{finding(kind, '', 'block', count).sentence} The project's policy blocks it.")
        return action == "replace"

    def _note(self, findings: tuple[Finding, ...]) -> None:
        for item in findings:
            self._counts[item.kind, item.action] += item.count
        for item in findings:
            if item.action == "block":
                raise Blocked(item.kind, f"{finding(item.kind, '', 'block', item.count).sentence}")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far, one finding per kind."""
        return tuple(
            finding(kind, self.where, action, count)
            for (kind, action), count in self._counts.items()
            if action != "block"
        )

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Look into a container.

        Raises
        ------
        Blocked
            When containers are nested too deep.
        """
        self._depth += 1
        if self._depth > DEEPEST:
            raise Blocked(Kind.UNREADABLE, f"it holds archives within archives, more than {DEEPEST} deep. Unpack it.")
        try:
            yield
        finally:
            self._depth -= 1

    def member(self) -> None:
        """Count a member of a container.

        Raises
        ------
        Blocked
            When there are too many.
        """
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise Blocked(Kind.UNREADABLE, f"it holds more than {MOST_MEMBERS:,} files. Record them in smaller parts.")

    def spend(self, size: int) -> None:
        """Count bytes that are unpacked.

        Raises
        ------
        Blocked
            When the file unpacks to more than is looked through.
        """
        self._unpacked += size
        if self._unpacked > MOST_UNPACKED:
            raise Blocked(
                Kind.UNREADABLE, f"it unpacks to more than {MOST_UNPACKED >> 20:,} MB. Record it in smaller parts."
            )

    def changeable(self, content: Content) -> bytes:
        """Give a content that has to be changed as bytes.

        Raises
        ------
        Blocked
            When it is too large for that.
        """
        if content.size > LARGEST_CHANGED:
            raise Blocked(
                Kind.UNREADABLE,
                f"an identifier in it cannot be replaced, because the part around it is larger than "
                f"{LARGEST_CHANGED >> 20} MB. Remove it and record the file again.",
            )
        return content.whole()

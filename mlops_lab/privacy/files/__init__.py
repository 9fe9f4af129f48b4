"""What is in a file, told by its bytes and not by its name, and whether it may be recorded.

One file per family of formats. Each gives a changed copy as pieces of the old file and new bytes, or nothing where the
file may be recorded as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..model import Finding, Kind
from ..words import finding
from .content import Content, FileContent, flow
from .examination import Blocked, Examination
from .sniffing import inspect

if TYPE_CHECKING:
    from ..guard import Guard

__all__ = ["Verdict", "examine"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a file may be recorded."""

    outcome: Literal["pass", "replace", "block"]
    """As it is, as a changed copy, or not at all."""
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    """Why it is blocked, one sentence."""
    _pieces: tuple[bytes | Content, ...] = field(default=(), repr=False)

    def chunks(self) -> Iterator[bytes]:
        """Give the changed copy, some bytes at a time; parts that did not change are read from the original."""
        return flow(self._pieces)

    def read(self) -> bytes:
        """Give the changed copy."""
        return b"".join(self.chunks())

    def save(self, target: str | Path) -> None:
        """Write the changed copy to `target`, which may not be the original."""
        with open(target, "wb") as stream:
            for data in self.chunks():
                stream.write(data)


def examine(guard: Guard, path: Path, where: str, pause: Callable[[], None] | None = None) -> Verdict:
    """Look through the file at `path`; see :meth:`~mlops_lab.privacy.Guard.file`."""
    examination = Examination(guard, where, pause)
    try:
        content = FileContent(path)
        pieces = inspect(examination, content)
    except Blocked as blocked:
        return _blocked(guard, where, blocked, examination.findings)
    except OSError as error:
        reason = f"it cannot be read ({type(error).__name__})."
        return _blocked(guard, where, Blocked(Kind.UNREADABLE, reason), ())
    except Exception as error:  # every parser fails in its own way, and a training goes on whatever a file is
        # What cannot be read to the end cannot be vouched for.
        reason = f"it does not keep to its format ({type(error).__name__}). Write it anew, or record it otherwise."
        return _blocked(guard, where, Blocked(Kind.UNREADABLE, reason), ())
    if pieces is None:
        return Verdict("pass", examination.findings)
    return Verdict("replace", examination.findings, "", tuple(pieces))


def _blocked(guard: Guard, where: str, blocked: Blocked, found: tuple[Finding, ...]) -> Verdict:
    action = guard.policy.action(blocked.kind) if blocked.kind is Kind.UNREADABLE else "block"
    if action == "warn":
        return Verdict("pass", (*found, finding(blocked.kind, where, "warn", 1, blocked.reason)))
    said = finding(blocked.kind, where, "block", 1, blocked.reason)
    return Verdict("block", (said,), said.sentence)

"""The base of every error that a person may read: what happened, and what to do next.

Each room derives its own small family from :class:`MlopsLabError`; the HTTP handlers, the magics and the
command line turn any member into one clear sentence, in one place each.
"""

from __future__ import annotations

from typing import ClassVar


class MlopsLabError(Exception):
    """An error written for the person at the screen.

    Parameters
    ----------
    message
        What happened and what it means for the user, one sentence.
    hint
        What to do next, one sentence; empty when the message says it already.
    """

    code: ClassVar[str] = "error"
    """A stable word for programs, e.g. ``"unreachable"``."""
    http_status: ClassVar[int] = 400
    """The status with which a handler answers."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

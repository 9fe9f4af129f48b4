"""Finds the entries that the server refuses among those that it takes, so that one bad name blocks nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ...connection import tags as names
from ...connection.errors import Refused, Unreachable
from ..model import Metric, Record, Tag
from .batches import Entry, post, shortened, unspeakable

if TYPE_CHECKING:
    from ...connection.rest import TrackingServer

SAME_REASON = 3
"""Refusals of one metric name in a row, for one reason, after which its other points are not asked for any more."""
BROKEN = 3
"""Attempts after which the entries are to blame for a server error that nothing else meets."""
PAUSE = 0.2
"""Seconds between two of these."""

Verdict = tuple[Record, str]
"""An entry that is refused for good, or in part, and why."""


class Target(NamedTuple):
    """Where entries go."""

    server: TrackingServer
    run_id: str
    run_key: str
    require_active: Callable[[], None]
    """Raises when the run takes no entries at all any more."""


class TooLarge(Exception):
    """A gateway does not take a request of this size; a smaller one may pass."""


class Refusals:
    """Sends entries and gives those that were refused for good.

    A 4xx of MLflow's own is split in halves down to the bad entries. So is a 500 that meets these entries again and
    again while the server stores another one for the same run. What anybody else on the way refuses is no verdict.
    """

    def __init__(self) -> None:
        self._hopeless: dict[str, tuple[str, int]] = {}
        """By metric name: the reason of the latest refusal, and how often in a row it was that."""

    def send(self, target: Target, entries: list[Entry]) -> list[Verdict]:
        """Store `entries`, but for those that are given back; of one that is too long its beginning is stored.

        Raises
        ------
        TooLarge
            See there.
        mlops_lab.connection.errors.Unreachable
            When it is worth another try later.
        """
        said: list[Verdict] = []
        sound: list[Entry] = []
        for entry in entries:
            reason = unspeakable(entry)
            if reason:
                said.append((entry, reason))
                continue
            short, reason = shortened(entry)
            if reason:
                said.append((entry, reason))
            sound.append(short)
        refused: list[Verdict] = []
        self._split(target, sound, refused)
        if refused:
            target.require_active()  # a run that is gone refuses everything, which says nothing about the entries
        return said + refused

    def _split(self, target: Target, entries: list[Entry], refused: list[Verdict]) -> None:
        if self._hopeless:
            refused += [(entry, reason) for entry in entries if (reason := self._known(entry))]
            entries = [entry for entry in entries if not self._known(entry)]
        if not entries:
            return
        try:
            unless_broken(target, lambda: post(target.server, target.run_id, entries))
        except Refused as refusal:
            if not refusal.error_code:
                if refusal.status == 413 and len(entries) > 1:
                    raise TooLarge from refusal
                raise not_the_server(refusal) from refusal
            if len(entries) == 1:
                refused.append((entries[0], refusal.message))
                self._learn(entries[0], refusal.message)
                return
            if not refused:
                target.require_active()
            middle = len(entries) // 2
            self._split(target, entries[:middle], refused)
            self._split(target, entries[middle:], refused)
        else:
            if self._hopeless:
                for entry in entries:
                    self._hopeless.pop(entry.key, None)

    def _known(self, entry: Entry) -> str:
        if not isinstance(entry, Metric):
            return ""
        reason, count = self._hopeless.get(entry.key, ("", 0))
        return reason if count >= SAME_REASON else ""

    def _learn(self, entry: Entry, reason: str) -> None:
        if isinstance(entry, Metric):
            before, count = self._hopeless.get(entry.key, ("", 0))
            self._hopeless[entry.key] = (reason, count + 1 if reason == before else 1)


def not_the_server(refusal: Refused) -> Unreachable:
    """Say that something between us and MLflow refused, which may change: MLflow's own refusals carry its word."""
    return Unreachable(
        f"What stands between this computer and the MLflow server refuses the request (HTTP {refusal.status}).",
        "Ask the administrator of the proxy or gateway, for a 413 to allow larger requests.",
        status=refusal.status,
    )


def unless_broken(target: Target, request: Callable[[], object]) -> None:
    """Make one request; a 500 that it meets again and again, and nothing else does, becomes a refusal.

    Without it an entry that breaks the server every time would keep the rest back for ever.
    """
    for attempt in range(BROKEN):
        try:
            request()
            return
        except Unreachable as problem:
            if problem.status != 500 or problem.retry_after is not None:
                raise
            post(target.server, target.run_id, [Tag(names.RUN_KEY, target.run_key)])
            if attempt == BROKEN - 1:
                raise Refused(problem.message, error_code="INTERNAL_ERROR", status=500) from problem
            time.sleep(PAUSE)

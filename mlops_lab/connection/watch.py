"""Is the server still there? Asked seldom, and by one thread at a time, so that a polling panel costs little."""

from __future__ import annotations

import threading
import time

import msgspec

from mlops_lab.connection.check import check_login
from mlops_lab.connection.errors import ConnectionProblem, Unreachable, WrongCredentials
from mlops_lab.connection.model import LoginRequest
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import Session
from mlops_lab.connection.transport import check_status

FRESH = 2.0
"""Seconds for which an answer is good enough."""
THOROUGH = 60.0
"""Seconds after which the whole login is checked again: a password may have been withdrawn, a database be down.

So long too is a refused password remembered: servers count them, and a panel that asks must not shut its owner out."""
PATIENCE = 2.0
"""Seconds to wait for a server that may hang."""


class Finding(msgspec.Struct):
    """What the last look saw."""

    problem: ConnectionProblem | None = None
    session: Session | None = None
    """The session completed with user and version, after a thorough look."""


class Watch:
    """Remembers for one server when it was last seen, and how."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._about: LoginRequest | None = None
        self._finding = Finding()
        self._looked = self._checked = float("-inf")

    def confirm(self, session: Session) -> None:
        """Take note that `session` has just been checked."""
        with self._lock:
            self._about, self._finding = session.request(), Finding()
            self._looked = self._checked = time.monotonic()

    def look(self, session: Session, server: TrackingServer) -> Finding:
        """Say how the server of `session` is doing, from memory where that is fresh."""
        about = session.request()
        known = self._remembered(about)
        if known is not None:
            return known
        # While one thread waits for a hanging server the others are told what was last known.
        if not self._asking.acquire(blocking=self._about != about):
            return self._finding
        try:
            known = self._remembered(about)
            if known is not None:
                return known
            thorough = self._about != about or time.monotonic() - self._checked > THOROUGH
            before = self._finding if self._about == about else Finding()
            finding = self._check(session, before) if thorough or before.problem else self._glance(server)
            with self._lock:
                self._about, self._finding, self._looked = about, finding, time.monotonic()
                if thorough or finding.session is not None:
                    self._checked = self._looked
            return finding
        finally:
            self._asking.release()

    def _remembered(self, about: LoginRequest) -> Finding | None:
        with self._lock:
            holds = THOROUGH if isinstance(self._finding.problem, WrongCredentials) else FRESH
            fresh = self._about == about and time.monotonic() - self._looked < holds
            return self._finding if fresh else None

    @staticmethod
    def _check(session: Session, before: Finding) -> Finding:
        try:
            checked = check_login(session.request(), PATIENCE)
        except ConnectionProblem as problem:
            # A server that counts logins, many of them from this address, is there: what was known of ours stands.
            counted = isinstance(problem, Unreachable) and problem.status == 429
            return before if counted else Finding(problem=problem)
        complete = msgspec.structs.replace(session, user=checked.user, server_version=checked.server_version)
        return Finding(session=complete)

    @staticmethod
    def _glance(server: TrackingServer) -> Finding:
        try:
            # Without our secret, and any answer will do: a gateway may not know the path, but it is there.
            response = server.raw("GET", "/health", anonymous=True, timeout=PATIENCE)
            if response.status_code >= 500:
                check_status(response, server.uri)
        except ConnectionProblem as problem:
            return Finding(problem=problem)
        return Finding()

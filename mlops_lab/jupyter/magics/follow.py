"""Keeps a running kernel on the server that the person is logged in to, and sends what waited for it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from ...errors import MlopsLabError

_VARIABLE = "MLOPS_LAB_SESSION"


class Follower:
    """Looks before each cell whether the login has changed; one `stat` when it has not."""

    def __init__(self) -> None:
        self._seen = self._stamp()

    def look(self) -> None:
        """Follow a login, a switch or a logout that happened since the last look."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            self.follow()

    def follow(self) -> None:
        """Point this process at the session's server, and send what was kept for it."""
        if self.point():
            send_in_background()

    def point(self) -> bool:
        """Point this process at the session's server; False where nobody is logged in."""
        from ...connection.session import point, read_session

        path = os.environ.get(_VARIABLE)
        if not path:
            _point_to_local_server()
            return False
        try:
            session = read_session(path)
        except MlopsLabError:
            return False  # %mlops_status and the first request tell it
        point(os.environ, session, path)
        mlflow = sys.modules.get("mlflow")
        if session is not None and mlflow is not None and hasattr(mlflow, "set_tracking_uri"):
            mlflow.set_tracking_uri(session.uri)
        self._seen = self._stamp()
        return session is not None

    def _stamp(self) -> tuple[str, int, int] | None:
        path = os.environ.get(_VARIABLE)
        if not path:
            return None
        try:
            facts = Path(path).stat()
        except OSError:
            return path, 0, 0
        return path, facts.st_mtime_ns, facts.st_ino


def _point_to_local_server() -> None:
    """Where nobody is logged in, what is not tracked goes to the local server as well, if there is one."""
    from ...connection import embedded

    if "MLFLOW_TRACKING_URI" not in os.environ:
        try:
            uri = embedded.status().uri
        except (MlopsLabError, OSError):
            return
        if uri:
            os.environ["MLFLOW_TRACKING_URI"] = uri


def send_in_background() -> None:
    """Send the runs that a dead server or kernel left on this computer, without anybody waiting for it."""
    threading.Thread(target=_send, name="mlops_lab sync", daemon=True).start()


def _send() -> None:
    from ...tracking.projection import synchronise

    try:
        if synchronise.pending():
            synchronise.sync(include_offline=False)
    except (MlopsLabError, OSError):
        pass  # they stay where they are; %mlops_status counts them

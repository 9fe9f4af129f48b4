"""Which tracking server we talk to, and who we are there.

:func:`open_server` is what kernels and the command line need; :mod:`~mlops_lab.connection.broker` is the Jupyter
server's side, :mod:`~mlops_lab.connection.embedded` the local server, :mod:`~mlops_lab.connection.rest` the client.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_lab.connection.broker import Broker
    from mlops_lab.connection.rest import TrackingServer

_lock = threading.Lock()
_broker: Broker | None = None


def open_server(timeout: float = 10.0) -> TrackingServer:
    """Give the current tracking server: the session's, else the environment's, else the running embedded one.

    The server itself is not asked, so this returns at once whether it is up or not.

    Raises
    ------
    NotConnected
        When there is none.
    BadAddress
        When the environment names one that is no MLflow server on the web, e.g. ``sqlite:///mlflow.db``.
    """
    from mlops_lab.connection.errors import NotConnected
    from mlops_lab.connection.rest import TrackingServer
    from mlops_lab.connection.session import SESSION_VARIABLE, read_session, refuse_unusable_environment

    session = read_session()
    if session is not None:
        return TrackingServer.of(session, timeout)
    if not os.environ.get(SESSION_VARIABLE):
        from mlops_lab.connection import embedded

        refuse_unusable_environment(os.environ)

        local = embedded.status()
        if local.state == "running" and local.uri:
            return TrackingServer(local.uri, timeout=timeout)
    raise NotConnected(
        "No MLflow server is connected.",
        "Start the embedded server (panel, or `mlops-lab server start`), or log in (panel, or %mlops_login URI).",
    )


def local_broker() -> Broker:
    """Give this process's broker, for magics and widgets: a guest of Jupyter's session where there is one.

    In a plain IPython or a script it keeps a session file of its own, removed when the process ends.
    """
    global _broker
    from mlops_lab.connection.broker import Broker
    from mlops_lab.connection.session import SESSION_VARIABLE
    from mlops_lab.home import home, private_folder

    with _lock:
        if _broker is None:
            path = os.environ.get(SESSION_VARIABLE)
            _broker = Broker(path or private_folder(home() / "sessions") / f"kernel-{os.getpid()}.json")
        return _broker


def refresh_environment() -> None:
    """Bring this kernel's MLflow variables (address, CA) up to a login or logout made elsewhere; costs a file read.

    Does nothing outside Jupyter, where no session file is named.
    """
    from mlops_lab.connection.errors import UnsafeSession
    from mlops_lab.connection.session import SESSION_VARIABLE, point, read_session

    path = os.environ.get(SESSION_VARIABLE)
    if path:
        try:
            session = read_session(path)
        except UnsafeSession:
            return
        if session is not None or "MLFLOW_TRACKING_AUTH" in os.environ:
            point(os.environ, session, path)

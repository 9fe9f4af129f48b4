"""How calls that go through mlflow itself prove who we are: MLflow's plugin point for request authentication.

MLflow asks the provider that ``MLFLOW_TRACKING_AUTH`` names for each request. Its own ways (environment variables,
``~/.mlflow/credentials``) know one secret and send it to any server; this one answers for one origin only.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Protocol, TypeVar

from mlops_lab.connection.session import AUTH_PLUGIN, SESSION_VARIABLE, origin, read_session
from mlops_lab.connection.transport import authorization


class PreparedRequest(Protocol):
    """The part of ``requests.PreparedRequest`` that we touch."""

    url: str | None
    headers: MutableMapping[str, str]


R = TypeVar("R", bound=PreparedRequest)


class SessionAuth:
    """Signs one request with the session's secret, if it goes where the secret was issued for."""

    def __call__(self, request: R) -> R:
        """Give `request` back, with our ``Authorization`` where it is due and untouched everywhere else."""
        path = os.environ.get(SESSION_VARIABLE)
        session = read_session(path) if path else None
        if session is None or origin(request.url or "") != origin(session.uri):
            return request
        # The session is what this server knows of us: what ~/.mlflow/credentials says was meant for another one.
        request.headers.pop("Authorization", None)
        request.headers.update(authorization(session.auth, session.username, session.password, session.token))
        return request


class SessionAuthProvider:
    """Entry point ``mlflow.request_auth_provider``, name ``mlops_lab``.

    It is not derived from MLflow's abstract class, which would import mlflow for a class of two methods.
    """

    def get_name(self) -> str:
        """Give the value of ``MLFLOW_TRACKING_AUTH`` that selects this provider."""
        return AUTH_PLUGIN

    def get_auth(self) -> SessionAuth:
        """Give the signer; it reads the session file anew for each request, so a new login needs no restart."""
        return SessionAuth()

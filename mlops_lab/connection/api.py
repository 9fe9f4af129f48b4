"""How we talk to one server: a shared HTTP client, our credentials, JSON in and out, errors as sentences."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_lab import wire
from mlops_lab.connection.errors import BadAddress
from mlops_lab.connection.model import AuthKind
from mlops_lab.connection.session import clean_uri

if TYPE_CHECKING:
    import httpx

_API = "/api/2.0/mlflow/"


class Api:
    """MLflow's API on one server, and who we are there. Safe to share between threads.

    Parameters
    ----------
    uri
        Address as in the browser, e.g. ``"https://mlflow.hospital.example/team"``.
    auth, username, password, token
        Who we are; see :class:`~mlops_lab.connection.model.LoginRequest`.
    ca_bundle
        PEM file of a private certificate authority; empty for those that the machine trusts.
    user
        The name that the server knows us by, where that is known; by default `username`.
    timeout
        Seconds to wait for the server at any one point.
    """

    def __init__(
        self,
        uri: str,
        *,
        auth: AuthKind = "none",
        username: str = "",
        password: str = "",
        token: str = "",
        ca_bundle: str = "",
        user: str = "",
        timeout: float = 10.0,
    ) -> None:
        from mlops_lab.connection.transport import authorization

        self.uri = clean_uri(uri)
        self.auth: AuthKind = auth
        self.ca_bundle = ca_bundle
        self.user = user or username
        self.timeout = timeout
        self._headers = authorization(auth, username, password, token)
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r}, auth={self.auth!r})"

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    # Requests

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """GET `path` (below MLflow's API, or from the server's root when it starts with ``/``)."""
        return self.request("GET", path, params=params)

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """POST `body` as JSON; NaN and the infinities in it travel as strings, the only way MLflow takes them."""
        return self.request("POST", path, body=body)

    def patch(self, path: str, body: Any) -> dict[str, Any]:
        """PATCH with `body` as JSON."""
        return self.request("PATCH", path, body=body)

    def delete(self, path: str, body: Any = None) -> dict[str, Any]:
        """DELETE `path`."""
        return self.request("DELETE", path, body=body)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        anonymous: bool = False,
    ) -> dict[str, Any]:
        """Send one request and give MLflow's answer.

        Parameters
        ----------
        anonymous
            Leave our credentials out, e.g. while we do not know yet who answers there.

        Raises
        ------
        Unreachable
            No answer, or 408, 429 or 5xx.
        WrongCredentials, Forbidden, NotMlflow, Refused
            See :mod:`mlops_lab.connection.errors`.
        """
        from mlops_lab.connection.transport import read_answer

        response = self.raw(method, path, params=params, body=body, anonymous=anonymous)
        return read_answer(response, self.uri)

    def raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send one request and give the answer as it is, whatever its status."""
        import httpx

        from mlops_lab.connection.transport import explain_failure

        sent = dict(headers or {})
        if not anonymous:
            sent |= self._headers
        if body is not None:
            content = wire.encode(body)
            sent["Content-Type"] = "application/json"
        try:
            return self.client().request(
                method,
                self.url(path),
                params=_query(params),
                content=content,
                headers=sent,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
            )
        except httpx.InvalidURL:
            raise BadAddress(f"{self.uri} is not an address that can be opened.", "Check its spelling.") from None
        except httpx.RequestError as error:
            raise explain_failure(error, self.uri) from error

    def url(self, path: str) -> str:
        """Give the full address of `path`."""
        return self.uri + (path if path.startswith("/") else _API + path)

    def client(self) -> httpx.Client:
        """Give the shared HTTP client, made on first use."""
        client = self._client
        if client is None:
            from mlops_lab.connection.transport import new_client

            with self._lock:
                client = self._client
                if client is None:
                    client = self._client = new_client(self.uri, self.ca_bundle, self.timeout)
        return client

    @property
    def headers(self) -> dict[str, str]:
        """The headers that prove who we are; for requests to this server's origin only."""
        return dict(self._headers)


def _query(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if params is None else {key: value for key, value in params.items() if value is not None}

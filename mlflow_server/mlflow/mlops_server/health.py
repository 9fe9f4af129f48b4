"""The health check: asks for what needs the database, and for the bucket; MLflow's own /health asks for neither.

It runs every few seconds for years: only the standard library, no client that takes half a second to import.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from .settings import PROBE_USER, ObjectStore, Refusal, Web

PATIENCE = 4.0
"""Seconds for each of the two answers; the container's health check gives both together twenty."""
_REGION = "us-east-1"
_EMPTY = hashlib.sha256(b"").hexdigest()


def check(url: str, web: Web, store: ObjectStore) -> None:
    """Refuse, in one line, unless MLflow answers from its database and the bucket is there.

    Parameters
    ----------
    url
        Where MLflow itself listens.
    web
        Under which name it answers, and the account of the check.
    store
        The bucket.
    """
    found = [problem for problem in (_mlflow(url, web), _bucket(store)) if problem]
    if found:
        raise Refusal(" ".join(found))


def _mlflow(url: str, web: Web) -> str | None:
    account = base64.b64encode(f"{PROBE_USER}:{web.probe_password}".encode()).decode()
    headers = {"Host": web.host, "Authorization": f"Basic {account}"}
    status = _ask(url, "GET", "/api/2.0/mlflow/experiments/search?max_results=1", headers)
    if status is None:
        return f"MLflow does not answer at {url} within {PATIENCE:.0f} seconds; it or its database is down."
    if status == 401:
        return f"MLflow does not know the account {PROBE_USER}: start again, so that the migrate job renews it."
    if status >= 500:
        return f"MLflow cannot use its database: it answers {status}."
    return None if status == 200 else f"MLflow answers {status} to the health check."


def _bucket(store: ObjectStore) -> str | None:
    path = f"/{store.bucket}"
    status = _ask(store.url, "HEAD", path, _signed(store, "HEAD", path))
    if status is None:
        return f"The object store does not answer at {store.url} within {PATIENCE:.0f} seconds."
    return None if status == 200 else f"The object store answers {status} for the bucket {store.bucket}."


def _ask(url: str, method: str, path: str, headers: Mapping[str, str]) -> int | None:
    where = urlsplit(url)
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(where.hostname or "", where.port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _signed(store: ObjectStore, method: str, path: str) -> dict[str, str]:
    """Sign a request without a body (AWS Signature Version 4)."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{_REGION}/s3/aws4_request"
    headers = {"host": store.address, "x-amz-content-sha256": _EMPTY, "x-amz-date": now}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = hashlib.sha256(f"{method}\n{path}\n\n{lines}\n{names}\n{_EMPTY}".encode()).hexdigest()
    key = f"AWS4{store.secret_key}".encode()
    for part in (now[:8], _REGION, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{request}".encode(), hashlib.sha256).hexdigest()
    account = f"AWS4-HMAC-SHA256 Credential={store.access_key}/{scope}"
    return {**headers, "Authorization": f"{account}, SignedHeaders={names}, Signature={signature}"}

"""Which addresses nginx keeps closed at MLflow's door and at the object store's, and that it closes no other.

The list is held against the addresses of the MLflow that is installed, so that an upgrade which adds some is noticed.
"""

from __future__ import annotations

import re

import pytest

from tests.stack.mlflow_routes import routes
from tests.stack.nginx_alone import Doors

CLOSED = [
    "/metrics",
    "/gateway/mlflow/v1/chat/completions",
    "/gateway/proxy/anything/v1/models",
    "/ajax-api/2.0/mlflow/gateway-proxy",
    "/api/3.0/mlflow/gateway/secrets/create",
    "/ajax-api/3.0/mlflow/gateway/endpoints/list",
    "/ajax-api/3.0/mlflow/assistant/message",
    "/ajax-api/3.0/mlflow/assistant/config",
    "/ajax-api/3.0/jobs/",
    "/ajax-api/3.0/jobs/search",
    "/ajax-api/3.0/mlflow/jobs/1",
    "/ajax-api/3.0/mlflow/jobs/cancel/1",
    "/api/3.0/mlflow/prompt-optimization/jobs",
    "/ajax-api/3.0/mlflow/scorer/invoke",
    "/api/3.0/mlflow/scorers/online-config",
    "/api/3.0/mlflow/scorers/online-configs",
    "/ajax-api/3.0/mlflow/issues/invoke",
    "/ajax-api/3.0/mlflow/genai/evaluate/invoke",
    "/api/2.0/mlflow/webhooks",
    "/ajax-api/2.0/mlflow/webhooks/1/test",
    "/api/3.0/mlflow/mcp-servers",
    "/ajax-api/3.0/mlflow/mcp-servers/a/versions/1",
    "/ajax-api/3.0/mlflow/demo/generate",
    "/ajax-api/3.0/mlflow/ui-telemetry",
    "/v1/traces",
    "/api/2.0/mlflow-artifacts/presigned/1/x",
    "/ajax-api/2.0/mlflow-artifacts/mpu/create/1/x",
    "/api/2.0/mlflow/artifacts/presigned-upload-url",
    "/ajax-api/2.0/mlflow/artifacts/presigned-download-url",
]


@pytest.mark.parametrize("path", CLOSED)
def test_what_nobody_needs_is_closed_however_it_is_written(doors: Doors, path: str) -> None:
    client = doors.nginx.client()
    before = len(doors.mlflow.heard)
    first = path.split("/")[1]
    for written in (path, f"/{path}", path.replace(first, f"%{ord(first[0]):02x}{first[1:]}", 1), f"{path}?a=b"):
        answer = client.post(f"{doors.nginx.mlflow}{written}")
        assert answer.status_code == 404, written
        assert "switched off" in answer.text
    assert len(doors.mlflow.heard) == before
    assert not doors.mlflow.asked(path)


def test_the_closed_addresses_exist_in_the_mlflow_that_is_installed() -> None:
    offered = routes()
    assert "/api/2.0/mlflow/runs/search" in offered
    for path in CLOSED:
        if path != "/metrics":  # It appears with an option that the server does not use.
            assert any(fits(path, one) for one in offered), path


OPEN_FAMILIES = {
    *("experiments", "runs", "metrics", "artifacts", "mlflow-artifacts", "upload-artifact", "logged-models"),
    *("model-versions", "registered-models", "users", "roles", "workspaces", "server-info"),
    # For language models; MLflow's page asks for some of them, and MLflow checks who may see them.
    *("traces", "unified-traces", "get-online-trace-details", "get-trace-artifact", "datasets"),
    *("scorers", "issues", "label-schemas", "review-queues"),
}
CLOSED_FAMILIES = {
    *("gateway", "gateway-proxy", "jobs", "prompt-optimization", "scorer", "genai", "webhooks", "mcp-servers"),
    *("assistant", "demo", "ui-telemetry"),
}
NOT_API = {"/", "/signup", "/graphql", "/health", "/version", "/get-artifact", "/model-versions/get-artifact"}


def test_an_mlflow_that_offers_more_is_noticed() -> None:
    """When this fails after an upgrade, decide in mlflow.conf whether the new addresses are let through."""
    families, others = set(), set()
    for path in routes():
        if found := re.match(r"/(?:ajax-)?api/\d\.\d(?:/?mlflow)?/([^/]+)", path):
            families.add(found[1])
        else:
            others.add(path)
    assert families == OPEN_FAMILIES | CLOSED_FAMILIES
    files = {path for path in others if path.startswith(("/static-files/", "/build/"))}
    closed = {path for path in others if path.startswith(("/gateway/", "/v1/"))}
    assert others - files - closed == NOT_API


def fits(path: str, route: str) -> bool:
    """Tell whether a route with variable parts answers this path."""
    pattern = re.sub(r"[<{](path:[^>}]*|[^>}]*:path)[>}]", ".+", route)
    return re.fullmatch(re.sub(r"[<{][^>}]*[>}]", "[^/]+", pattern), path) is not None


def test_mlflow_cannot_offer_a_way_around_itself(doors: Doors) -> None:
    doors.mlflow.body = b'{"store_type":"SqlStore","multipart_uploads_enabled":true,"multipart_downloads_enabled":true}'
    try:
        for start in ("/api", "/ajax-api"):
            answer = doors.nginx.client(headers={"Accept-Encoding": "gzip"}).get(f"{start}/3.0/mlflow/server-info")
            assert answer.json() == {
                "store_type": "SqlStore",
                "multipart_uploads_enabled": False,
                "multipart_downloads_enabled": False,
            }
    finally:
        doors.mlflow.body = None


def test_the_objects_door_leaves_signed_requests_alone(doors: Doors) -> None:
    signed = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=THEKEY/20261123/us-east-1/s3/aws4_request, Signature=abc",
        "X-Amz-Content-SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "Accept-Encoding": "identity",
        "Origin": "https://anywhere.example",
    }
    port = doors.nginx.environment["MINIO_PORT"]
    client = doors.nginx.client(None)
    written = "/mlflow/a%20b//c%2Bd?uploads=&X-Amz-Signature=secret-signature"
    host = f"LOCALHOST:{port}"
    answer = client.post(f"{doors.nginx.objects}{written}", headers={**signed, "Host": host})
    assert answer.json()["path"] == written
    arrived = answer.json()["headers"]
    assert arrived["host"] == host
    for name, value in signed.items():
        assert arrived[name.lower()] == value
    assert client.get(f"{doors.nginx.objects}/mlflow/x", headers={"Host": f"127.0.0.1:{port}"}).status_code == 421


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/minio"),
        ("GET", "/minio/admin/v3/info"),
        ("PUT", "/minio/admin/v3/add-user"),
        ("GET", "/%6Dinio/admin/v3/info"),
        ("GET", "//minio/v2/metrics/cluster"),
        ("GET", "/MINIO/console"),
        ("GET", "/minio/health/cluster"),
        ("POST", "/"),
        ("POST", "/?Action=AssumeRole"),
    ],
)
def test_the_administration_of_the_object_store_is_closed(doors: Doors, method: str, path: str) -> None:
    before = len(doors.objects.heard)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=ROOT/x"}
    answer = doors.nginx.client(None).request(method, f"{doors.nginx.objects}{path}", headers=signed)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/xml"
    assert "<Code>AccessDenied</Code>" in answer.text
    assert "closed from outside" in answer.text
    assert len(doors.objects.heard) == before


def test_the_object_store_says_that_it_lives(doors: Doors) -> None:
    client = doors.nginx.client(None)
    client.get(f"{doors.nginx.objects}/minio/health/live")
    assert doors.objects.asked("/minio/health/live")

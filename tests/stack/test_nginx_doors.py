"""What strangers, careless clients and the clients of a dead MLflow meet at nginx.

Behind it stand listeners that write down what arrives, so that a test can tell what nginx kept away.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.stack.nginx_alone import CURRENT, PASSWORDS, Doors

API = "/api/2.0/mlflow/runs/search"


def sentence(answer: httpx.Response) -> str:
    """Give the message of nginx's own answer, which is one plain sentence or two."""
    assert answer.headers["content-type"] == "application/json"
    document = json.loads(answer.content)
    assert set(document) == {"error_code", "message"}
    assert document["error_code"].isupper()
    return str(document["message"])


# Names, origins and transport


def test_no_other_name_is_answered(doors: Doors) -> None:
    port = doors.nginx.environment["MLFLOW_PORT"]
    client = doors.nginx.client()
    before = len(doors.mlflow.heard)
    for host in (
        f"127.0.0.1:{port}",
        "localhost",
        f"localhost:{int(port) - 1}",
        f"evil.example:{port}",
        f"localhost.:{port}",
    ):
        answer = client.get(API, headers={"Host": host})
        assert answer.status_code == 421, host
        assert sentence(answer) == f"This server answers only to its own name and port, as in https://localhost:{port}."
        page = client.get("/", headers={"Host": host})
        assert page.status_code == 421
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert f"https://localhost:{port}" in page.text
    assert len(doors.mlflow.heard) == before
    assert client.get(API, headers={"Host": f"LocalHost:{port}"}).json()["headers"]["host"] == f"localhost:{port}"


def test_a_name_in_the_request_line_does_not_replace_the_host(doors: Doors) -> None:
    port = int(doors.nginx.environment["MLFLOW_PORT"])
    context = ssl.create_default_context(cafile=str(doors.nginx.authority))
    with socket.create_connection(("127.0.0.1", port)) as plain:
        connection = context.wrap_socket(plain, server_hostname="localhost")
        request = f"GET https://localhost:{port}/health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 421 ")


def test_a_certificate_of_an_unknown_authority_ends_the_connection(doors: Doors) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(doors.nginx.mlflow, trust_env=False)
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(doors.nginx.objects, trust_env=False)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_only_tls_1_2_and_1_3_are_spoken(doors: Doors, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(doors.nginx.authority))
    # Without this, a modern OpenSSL would refuse TLS 1.1 on our side, and nginx would not be asked.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    for door in ("MLFLOW_PORT", "MINIO_PORT"):
        with socket.create_connection(("127.0.0.1", int(doors.nginx.environment[door]))) as plain:
            if version == ssl.TLSVersion.TLSv1_1:
                with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):
                    context.wrap_socket(plain, server_hostname="localhost")
            else:
                spoken = context.wrap_socket(plain, server_hostname="localhost")
                assert spoken.cipher()
                assert "GCM" in spoken.cipher()[0] or "CHACHA20" in spoken.cipher()[0]  # type: ignore[index]


@pytest.mark.parametrize("address", ["mlflow", "objects"])
def test_plain_http_is_sent_on_to_https_with_its_path(doors: Doors, address: str) -> None:
    place = getattr(doors.nginx, address)
    for host in ({}, {"Host": "evil.example"}):
        answer = httpx.get(f"{place.replace('https', 'http')}/a?b=c", headers=host, trust_env=False)
        assert answer.status_code == 308
        assert answer.headers["location"] == f"{place}/a?b=c"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost:{port}", "http://localhost:8888", "null", "https://localhost"]
)
@pytest.mark.parametrize("path", [API, "/graphql", "/signup"])
def test_a_page_of_another_site_cannot_use_the_login_of_its_visitor(doors: Doors, origin: str, path: str) -> None:
    client = doors.nginx.client()
    foreign = {"Origin": origin.format(port=doors.nginx.environment["MLFLOW_PORT"])}
    before = len(doors.mlflow.asked(path))
    for method in ("POST", "GET", "OPTIONS"):
        answer = client.request(method, path, headers=foreign)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        assert "Pages of another site" in answer.text
    assert len(doors.mlflow.asked(path)) == before
    assert client.post(path, headers={"Origin": doors.nginx.mlflow}).status_code == 200


# What gets through, and how it arrives


def test_what_a_client_claims_about_itself_is_replaced(doors: Doors) -> None:
    claims = {
        "X-Forwarded-For": "10.0.0.1, 127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "X-Real-IP": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
    }
    clients = {
        doors.nginx.mlflow: doors.nginx.client(source="127.0.0.9"),
        doors.nginx.objects: doors.nginx.client(None, "127.0.0.9", headers={"Authorization": "AWS4"}),
    }
    for door, client in clients.items():
        arrived = client.get(f"{door}/x", headers=claims).json()["headers"]
        assert arrived["x-forwarded-for"] == "127.0.0.9"
        assert arrived["x-forwarded-proto"] == "https"
        assert not {"x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded"} & set(arrived)


def test_the_address_arrives_as_it_was_written(doors: Doors) -> None:
    written = "/api/2.0/mlflow-artifacts/artifacts/1/a%20b/%C3%A9%2Bc?path=x%2Fy&z=%25"
    assert doors.nginx.client().get(written).json()["path"] == written


@pytest.mark.parametrize(
    "path",
    ["/a/../b", "/a/./b", "/a/..", "/a/%2e%2e/b", "/a/.%2E/b", "/a%2f..%2fb", "/gateway/proxy/x/../../../api/2.0/y"],
)
def test_an_address_with_dots_that_climb_is_refused(doors: Doors, path: str) -> None:
    for place in (doors.nginx.mlflow, doors.nginx.objects):
        connection = http.client.HTTPSConnection(
            "localhost",
            int(place.rpartition(":")[2]),
            context=ssl.create_default_context(cafile=str(doors.nginx.authority)),
        )
        connection.request("GET", path)
        assert connection.getresponse().status == 400, place
        connection.close()
    client = doors.nginx.client()
    for harmless in ("/a..b/c.d", "/a?b=/../c", "/.hidden/...", "/%2e2"):
        assert client.get(harmless).status_code == 200, harmless


def test_headers_protect_the_page_and_say_nothing_about_the_server(doors: Doors) -> None:
    client = doors.nginx.client()
    answers = [client.get("/"), client.get(API), client.get("/metrics"), client.get("/", headers={"Host": "x"})]
    for answer in [*answers, client.get("/health"), doors.nginx.client(None).get("/")]:
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
        assert answer.headers["referrer-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self' ")
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["server"] == "nginx"
        assert "strict-transport-security" not in answer.headers


def test_json_is_compressed_on_its_way_to_the_client_and_artifacts_are_not(doors: Doors) -> None:
    client = doors.nginx.client(headers={"Accept-Encoding": "gzip"})
    doors.mlflow.body = json.dumps({"runs": [{"name": f"run-{number}"} for number in range(5000)]}).encode()
    try:
        with client.stream("GET", API) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            packed = b"".join(answer.iter_raw())
        assert gzip.decompress(packed) == doors.mlflow.body
        assert len(packed) < len(doors.mlflow.body) / 5
        with client.stream("GET", "/api/2.0/mlflow-artifacts/artifacts/1/table.json") as answer:
            assert "content-encoding" not in answer.headers
            assert answer.headers["content-length"] == str(len(doors.mlflow.body))
    finally:
        doors.mlflow.body = None


@pytest.mark.parametrize("door", ["mlflow", "objects"])
def test_an_upload_reaches_the_other_side_before_it_is_complete(doors: Doors, door: str) -> None:
    listener = getattr(doors, door)
    listener.first_bytes.clear()
    path = "/api/2.0/mlflow-artifacts/artifacts/1/slow-upload" if door == "mlflow" else "/mlflow/slow-upload"
    total = 40_000_000

    def content() -> Iterator[bytes]:
        yield b"0" * 100_000
        assert listener.first_bytes.wait(30), "nginx kept the upload to itself"
        for _ in range(total // 100_000 - 1):
            yield b"0" * 100_000

    client = doors.nginx.client()
    answer = client.put(
        f"{getattr(doors.nginx, door)}{path}", content=content(), headers={"Content-Length": str(total)}
    )
    assert (answer.status_code, answer.text) == (200, str(total))


@pytest.mark.parametrize("door", ["mlflow", "objects"])
def test_a_download_reaches_the_client_before_it_is_complete(doors: Doors, door: str) -> None:
    listener = getattr(doors, door)
    listener.go_on.clear()
    path = "/api/2.0/mlflow-artifacts/artifacts/1/slow-download" if door == "mlflow" else "/mlflow/slow-download"
    with doors.nginx.client().stream("GET", f"{getattr(doors.nginx, door)}{path}") as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == b"first"
        listener.go_on.set()
        assert b"".join(chunks) == b"end"


def test_only_artifacts_may_be_large(doors: Doors) -> None:
    client = doors.nginx.client()
    large = b"0" * 33 * 1024 * 1024
    before = len(doors.mlflow.asked(API))
    assert "larger than 32 MB" in sentence(client.post(API, content=large))
    assert client.post(API, content=iter([large])).status_code == 413
    assert len(doors.mlflow.asked(API)) == before
    assert client.post(API, content=large[: 31 * 1024 * 1024]).status_code == 200
    answer = client.put("/ajax-api/2.0/mlflow-artifacts/artifacts/1/slow-upload", content=large)
    assert answer.text == str(len(large))


# When nobody is behind the door


def test_a_dead_mlflow_is_explained_and_found_again(doors: Doors) -> None:
    client = doors.nginx.client()
    assert client.get(API).status_code == 200
    doors.mlflow.stop()
    try:
        answer = client.get(API)
        assert answer.status_code == 502
        assert sentence(answer).startswith("MLflow does not answer")
        assert answer.headers["retry-after"] == "30"
        page = client.get("/")
        assert page.status_code == 502
        assert "<p>MLflow does not answer" in page.text
        stranger = doors.nginx.client("bert").get(API)
        assert stranger.status_code == 502, "nobody can be told that a password is wrong"
        assert doors.nginx.health().returncode == 0
    finally:
        doors.mlflow.start()
    assert client.get(API).status_code == 200


def test_a_dead_object_store_is_explained_in_its_own_language(doors: Doors) -> None:
    client = doors.nginx.client(None)
    doors.objects.stop()
    try:
        answer = client.get(f"{doors.nginx.objects}/mlflow/x?X-Amz-Signature=a-signature-in-vain")
    finally:
        doors.objects.start()
    assert answer.status_code == 502
    assert "<Code>ServiceUnavailable</Code>" in answer.text
    assert "object store does not answer" in answer.text
    assert "a-signature-in-vain" not in doors.nginx.log


# What is written down


def test_the_log_names_who_did_what_and_holds_no_secret(doors: Doors) -> None:
    client = doors.nginx.client("müller", headers={"User-Agent": 'a "quoted" one'})
    client.get("/get-artifact?token=a-secret-of-the-query")
    key = "AWS4-HMAC-SHA256 Credential=THEKEY/20261123/us-east-1/s3/aws4_request, Signature=a-secret-signature"
    doors.nginx.client(None, headers={"Authorization": key}).get(
        f"{doors.nginx.objects}/mlflow/logged?X-Amz-Signature=b"
    )
    limit = time.monotonic() + 10
    while not doors.nginx.accesses("/mlflow/logged") and time.monotonic() < limit:
        time.sleep(0.02)
    [line] = doors.nginx.accesses("/get-artifact")
    assert (line["user"], line["client"], line["method"], line["status"]) == ("müller", "127.0.0.1", "GET", 200)
    assert line["agent"] == 'a "quoted" one'
    [line] = doors.nginx.accesses("/mlflow/logged")
    assert line["user"] == "THEKEY"
    encoded = base64.b64encode(f"müller:{PASSWORDS['müller']}".encode()).decode()
    for secret in ("a-secret-of-the-query", "a-secret-signature", "X-Amz-Signature", "umlaut", encoded):
        assert secret not in doors.nginx.log
    assert doors.nginx.accesses(CURRENT) == [], "the question about a login is not a request of its own"


def test_many_clients_get_their_own_answer(doors: Doors) -> None:
    """Two users through the same remembered logins: each answer belongs to who asked."""
    wrong: list[str] = []

    def ask(user: str) -> None:
        client = doors.nginx.client(user)
        for number in range(40):
            text = f"/{user}/{hashlib.sha256(str(number).encode()).hexdigest()}"
            if client.get(text).json()["path"] != text:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(user,)) for user in ("anna", "bert") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

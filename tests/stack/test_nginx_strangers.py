"""What strangers make nginx do: nothing that costs memory, and a sentence is all they get, whatever they send."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stack.nginx_alone import Doors, Nginx

PUBLIC = ["/health", "/favicon.ico", "/static-files/index.js", "/nginx-health"]
CLOSED = ["/api/2.0/mlflow/runs/search", "/api/2.0/mlflow-artifacts/artifacts/1/x", "/", "/metrics", "/nginx-login"]
FORMS = {"a length": ("Content-Length: 33000000", ""), "chunks": ("Transfer-Encoding: chunked", "1f78a40\r\n")}
PART = "0" * 3_000_000
"""More of a body than nginx keeps outside of a file."""


def kept(nginx: Nginx) -> int:
    """Give how many bytes of bodies nginx holds in its work folder, which is memory in the container."""
    assert nginx.child
    bodies = str(nginx.place / "work" / "body")
    size = 0
    # Its files have no name any more, so they are found as what its workers have open.
    for worker in Path(f"/proc/{nginx.child.pid}/task/{nginx.child.pid}/children").read_text().split():
        for opened in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(OSError):
                size += opened.stat().st_size if os.readlink(opened).startswith(bodies) else 0
    return size


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_body_of_a_strangers_request_is_never_kept(doors: Doors, method: str, form: str) -> None:
    host = f"localhost:{doors.nginx.environment['MLFLOW_PORT']}"
    announced, begin = FORMS[form]
    before = len(doors.mlflow.heard)
    for path in PUBLIC + CLOSED:
        text = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{announced}\r\n\r\n{begin}{PART}"
        with doors.nginx.say(text) as connection:
            # The answer comes while the body is still on its way.
            status = connection.recv(100).decode()[9:12]
            assert status in ({"413", "405", "200"} if path in PUBLIC else {"401", "404"}), (path, status)
            assert status != "200" or path == "/nginx-health", path
            assert kept(doors.nginx) == 0, path
    assert len(doors.mlflow.heard) == before


def test_the_body_of_a_login_that_is_right_is_kept_until_it_is_whole(doors: Doors) -> None:
    """Or the test before would prove nothing."""
    host = f"localhost:{doors.nginx.environment['MLFLOW_PORT']}"
    login = doors.nginx.client().auth
    assert login
    [request] = login.sync_auth_flow(doors.nginx.client().build_request("GET", "/"))
    text = (
        f"POST /api/2.0/mlflow/runs/search HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: {request.headers['authorization']}\r\nContent-Length: 33000000\r\n\r\n{PART}"
    )
    with doors.nginx.say(text):
        limit = time.monotonic() + 30
        while not kept(doors.nginx) and time.monotonic() < limit:
            time.sleep(0.02)
        assert kept(doors.nginx)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_what_needs_no_login_is_only_read(doors: Doors, method: str) -> None:
    client = doors.nginx.client(None)
    before = len(doors.mlflow.heard) + len(doors.objects.heard)
    for path in PUBLIC:
        assert client.request(method, path).status_code == 405, path
    for path in ("/nginx-health", "/minio/health/live"):
        assert client.request(method, f"{doors.nginx.objects}{path}").status_code == 405, path
    assert len(doors.mlflow.heard) + len(doors.objects.heard) == before
    assert client.head("/nginx-health").status_code == 200
    assert client.head("/health").status_code == 401, "the listener's own answer"


UNREADABLE = {
    "a zero byte": ("GET /static-files/%00", {"400"}),
    "dots that climb out": ("GET /static-files/%2e%2e%2f%2e%2e%2fx", {"400"}),
    "an endless address": ("GET /" + "a" * 40_000, {"414"}),
    "the server itself": ("OPTIONS *", {"400"}),
    # Newer versions of nginx know this method, and refuse it by its name.
    "a tunnel": ("CONNECT inside.example:443", {"400", "405"}),
    "no method": ("GE\x01T /", {"400"}),
    "no address": ("GET", {"400"}),
    "an echo": ("TRACE /", {"405"}),
    "another protocol": ("GET / HTTP/7.0\r\nX:", {"505"}),
    "endless headers": ("GET / HTTP/1.1\r\nX: " + "a" * 40_000 + "\r\nY:", {"400"}),
    "an unknown encoding": ("GET /api/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\nX:", {"501"}),
}


@pytest.mark.parametrize("door", ["MLFLOW_PORT", "MINIO_PORT"])
@pytest.mark.parametrize("what", UNREADABLE)
def test_a_request_that_cannot_be_read_is_refused_in_a_sentence(doors: Doors, what: str, door: str) -> None:
    line, statuses = UNREADABLE[what]
    host = f"localhost:{doors.nginx.environment[door]}"
    request = f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with doors.nginx.say(request, door) as connection, connection.makefile("rb") as answer:
        head, _, body = answer.read().decode().partition("\r\n\r\n")
    assert head[9:12] in statuses, head
    if door == "MINIO_PORT":
        assert body.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>')
    elif "application/json" in head:
        assert set(json.loads(body)) == {"error_code", "message"}
    else:
        assert body.startswith("<!doctype html>")
        assert what in ("a tunnel", "an echo", "another protocol", "endless headers")
    assert "The server could not answer" not in body


def test_nginxs_own_answers_are_no_addresses(doors: Doors) -> None:
    foreign = {"Host": "evil.example", "Origin": "https://evil.example"}
    for client in (doors.nginx.client(None), doors.nginx.client()):
        for name in ("json", "page", "fault"):
            assert client.get(f"/nginx-answer/{name}", headers=foreign).status_code == 404
        assert client.get("/nginx-answer/json/x", headers={"Host": "evil.example"}).status_code == 421
        answer = client.get(f"{doors.nginx.objects}/nginx-answer/xml", headers=foreign)
        assert answer.status_code == 404


def test_the_log_says_what_was_asked_and_not_what_nginx_made_of_it(doors: Doors) -> None:
    doors.nginx.client(None).post("/api/2.0/refused?token=a-secret-of-a-stranger", content=b"{}")
    doors.nginx.say("GET /unreadable/%00?token=a-secret-of-a-stranger HTTP/1.1\r\n\r\n").recv(1)
    for path, method, status in (("/api/2.0/refused", "POST", 401), ("/unreadable/%00", "GET", 400)):
        limit = time.monotonic() + 10
        while not doors.nginx.accesses(path) and time.monotonic() < limit:
            time.sleep(0.02)
        [line] = doors.nginx.accesses(path)
        assert (line["method"], line["status"]) == (method, status)
    assert "nginx-answer" not in [line.get("path") for line in map(json.loads, lines(doors.nginx))]


def lines(nginx: Nginx) -> list[str]:
    """Give the access log as it is."""
    return [line for line in nginx.log.splitlines() if line.startswith("{")]

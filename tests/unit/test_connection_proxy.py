"""What nginx in front of a hospital's MLflow server says by itself: each gets one sentence, and none shows its page."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from mlops_lab.connection.check import check_login
from mlops_lab.connection.errors import (
    ConnectionProblem,
    NotMlflow,
    Refused,
    Unreachable,
    WrongCredentials,
    WrongName,
    WrongScheme,
)
from mlops_lab.connection.model import LoginRequest
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import Session
from mlops_lab.connection.watch import Watch
from tests.web_sites import Answer, Authority, Reply, Site, like_mlflow, says

SECRET = "correct-horse-battery"


def page(status: str) -> str:
    """The page of nginx."""
    return f"<html><head><title>{status}</title></head><body><center>nginx</center></body></html>"


def answers(status: int, sentence: str = "", **headers: str) -> list[Reply]:
    """The same refusal as an HTML page, and as a proxy says it that writes MLflow's JSON."""
    document = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": sentence}
    return [says(status, page(str(status)), "text/html", **headers), says(status, document, **headers)]


def refusal(uri: str) -> ConnectionProblem:
    with pytest.raises(ConnectionProblem) as caught:
        check_login(LoginRequest(uri, "basic", "anna", SECRET))
    assert "<" not in str(caught.value)
    assert "nginx" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_server_that_starts_again_behind_its_proxy_is_said_to(site: Callable[..., Site], status: int) -> None:
    for reply in answers(status, "nginx: no live upstreams", **{"Retry-After": "30"}):
        hospital = site(reply)
        problem = refusal(hospital.uri)
        assert isinstance(problem, Unreachable)
        assert f"The MLflow server behind 127.0.0.1:{hospital.port} does not answer at the moment" in problem.message
        assert "starting again: try again in 30 seconds" in problem.hint
        assert hospital.secrets == []


def test_too_many_wrong_passwords_are_a_matter_of_waiting(site: Callable[..., Site]) -> None:
    for counted, said in zip(
        answers(429, "Too many failed logins.", **{"Retry-After": "10"}),
        ("it sent too many requests.", "Too many failed logins."),
        strict=True,
    ):

        def strict(self: Site, request: BaseHTTPRequestHandler, counted: Reply = counted) -> Answer:
            if request.headers.get("Authorization"):
                return counted(self, request)
            return 401, {"WWW-Authenticate": 'Basic realm="mlflow"'}, b"who?"

        problem = refusal(site(strict).uri)
        assert isinstance(problem, Unreachable)
        assert problem.retry_after == 10
        assert problem.message.endswith(f"asks this computer to wait (HTTP 429): {said}")
        assert problem.hint == "Try again in 10 seconds; wrong passwords count too."


@pytest.mark.parametrize(
    ("sent", "read"),
    [("7", 7.0), ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0), ("soon", None), ("-3", None), ("", None)],
)
def test_how_long_to_wait_is_read_as_seconds_or_as_a_date(
    site: Callable[..., Site], sent: str, read: float | None
) -> None:
    server = TrackingServer(site(says(503, page("503"), "text/html", **{"Retry-After": sent})).uri)
    with pytest.raises(Unreachable) as caught:
        server.post("runs/log-batch", {})
    assert caught.value.retry_after == read


def test_a_date_to_come_is_time_to_wait(site: Callable[..., Site]) -> None:
    tomorrow = formatdate(time.time() + 86_400, usegmt=True)
    server = TrackingServer(site(says(429, page("429"), "text/html", **{"Retry-After": tomorrow})).uri)
    with pytest.raises(Unreachable) as caught:
        server.post("runs/log-batch", {})
    assert caught.value.retry_after
    assert caught.value.retry_after > 3600


def test_a_name_that_the_proxy_does_not_answer_to_is_said_and_gets_no_password(site: Callable[..., Site]) -> None:
    for reply in answers(421, "This server answers only to its own name and port, as in https://mlflow.example:85."):
        hospital = site(reply)
        problem = refusal(hospital.uri)
        assert isinstance(problem, WrongName)
        assert f"does not answer to the name 127.0.0.1:{hospital.port}" in problem.message
        assert hospital.secrets == []
    assert "https://mlflow.example:85" in problem.hint


def test_a_request_that_is_too_large_names_who_can_help(site: Callable[..., Site]) -> None:
    server = TrackingServer(site(says(413, page("413 Request Entity Too Large"), "text/html")).uri)
    with pytest.raises(Refused) as caught:
        server.post("runs/log-batch", {})
    assert (caught.value.status, caught.value.error_code) == (413, "")
    assert "does not take a request of this size" in caught.value.message
    assert "<" not in str(caught.value)


@pytest.mark.parametrize("name", ["127.0.0.1", "mlflow.clinic.example"])
def test_http_on_the_port_of_https_says_the_address_to_write(site: Callable[..., Site], name: str) -> None:
    def upgrade(self: Site, request: BaseHTTPRequestHandler) -> Answer:
        return 308, {"Location": f"https://{name}:{self.port}{request.path}"}, page("308").encode()

    hospital = site(upgrade)
    for auth in ("basic", "token"):
        with pytest.raises(WrongScheme) as caught:
            check_login(LoginRequest(hospital.uri, auth, "anna", SECRET, SECRET))
        assert f"https://{name}:{hospital.port}" in str(caught.value)
    assert hospital.secrets == []


def test_plain_http_that_nginx_refuses_on_its_tls_port_says_https(
    site: Callable[..., Site], authority: Authority, tmp_path: Path
) -> None:
    hospital = site(like_mlflow, authority.issue(tmp_path))
    assert isinstance(refusal(hospital.uri.replace("https", "http")), WrongScheme)


def test_a_page_in_place_of_an_answer_is_not_mlflow(site: Callable[..., Site]) -> None:
    assert isinstance(refusal(site(says(200, page("Welcome"), "text/html")).uri), NotMlflow)


def test_what_mlflow_says_of_its_database_is_left_out(site: Callable[..., Site]) -> None:
    said = "User (username=anna) already exists. [SQL: INSERT INTO users VALUES (?)] [parameters: ('scrypt:1$abc')]"
    server = TrackingServer(site(says(400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": said})).uri)
    with pytest.raises(Refused) as caught:
        server.post("users/create", {})
    assert caught.value.message == "User (username=anna) already exists."


def test_a_server_that_counts_logins_is_still_connected(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many researchers of one JupyterHub share an address: that others log in must not look like an outage.
    counting = site(says(429, page("429"), "text/html"))
    session = Session(uri=counting.uri, auth="basic", username="anna", password=SECRET)
    watch = Watch()
    watch.confirm(session)
    monkeypatch.setattr("mlops_lab.connection.watch.FRESH", -1.0)
    monkeypatch.setattr("mlops_lab.connection.watch.THOROUGH", -1.0)
    assert watch.look(session, TrackingServer.of(session)).problem is None
    assert counting.heard


def test_a_panel_that_asks_does_not_use_up_the_logins_of_its_owner(site: Callable[..., Site]) -> None:
    withdrawn = site(says(401, page("401"), "text/html"))
    session = Session(uri=withdrawn.uri, auth="basic", username="anna", password=SECRET)
    watch = Watch()
    for _ in range(50):
        assert isinstance(watch.look(session, TrackingServer.of(session)).problem, WrongCredentials)
    assert len(withdrawn.secrets) == 1

"""Logging in to what is no MLflow server, or not there at all: each gets its own sentence, and no secret leaks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from mlops_lab.connection.check import check_login
from mlops_lab.connection.errors import (
    BadAddress,
    ConnectionProblem,
    Forbidden,
    NotMlflow,
    Refused,
    Unreachable,
    UntrustedCertificate,
    WrongCredentials,
    WrongScheme,
)
from mlops_lab.connection.model import AuthKind, LoginRequest
from mlops_lab.connection.rest import TrackingServer
from tests.web_sites import Answer, Authority, Reply, Site, like_mlflow, says

SECRET = "correct-horse-battery"


def login(uri: str, auth: AuthKind = "basic", **more: str) -> LoginRequest:
    secret = {"basic": {"username": "anna", "password": SECRET}, "token": {"token": SECRET}, "none": {}}[auth]
    return LoginRequest(uri, auth, **(secret | more))


def refusal(request: LoginRequest, timeout: float = 5.0) -> ConnectionProblem:
    with pytest.raises(ConnectionProblem) as caught:
        check_login(request, timeout)
    problem = caught.value
    assert SECRET not in str(problem)
    assert problem.hint or isinstance(problem, Refused)
    assert "Traceback" not in problem.message
    return problem


@pytest.mark.parametrize(
    "reply",
    [
        says(200, "<html><body>Welcome to our intranet</body></html>", "text/html"),
        says(200, {"hello": "I am another API"}),
        says(200, {}),
        says(200, [1, 2, 3]),
        says(200, {"experiments": "none"}),
        says(404, "<h1>Not Found</h1>", "text/html"),
        says(404, {"detail": "Not Found"}),
        says(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "No such path"}),
        says(405, "Method Not Allowed", "text/plain"),
    ],
    ids=["html", "other-json", "empty-json", "list", "wrong-type", "404", "json-404", "coded-404", "405"],
)
@pytest.mark.parametrize("auth", ["none", "basic", "token"])
def test_what_is_no_mlflow_server_is_named_so_and_never_hears_the_secret(
    site: Callable[..., Site], reply: Reply, auth: AuthKind
) -> None:
    strange = site(reply)
    problem = refusal(login(strange.uri, auth))
    assert isinstance(problem, NotMlflow)
    assert "is not an MLflow tracking server" in problem.message
    assert strange.heard
    assert strange.secrets == []


def test_nothing_listening_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    problem = refusal(login(f"http://127.0.0.1:{port}"))
    assert isinstance(problem, Unreachable)
    assert f"Nothing answers at 127.0.0.1:{port}." in problem.message


def test_an_unknown_computer_is_unreachable() -> None:
    problem = refusal(login("http://no-such-computer.invalid:5000"))
    assert isinstance(problem, Unreachable)
    assert "no-such-computer.invalid" in problem.message


def test_a_server_that_accepts_and_never_answers_is_unreachable() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        problem = refusal(login(f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout=0.5)
    assert isinstance(problem, Unreachable)
    assert "did not answer in time" in problem.message


def test_an_answer_that_is_not_http_is_unreachable() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def greet() -> None:
            for _ in range(2):
                connection, _ = other.accept()
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.close()

        threading.Thread(target=greet, daemon=True).start()
        problem = refusal(login(f"http://127.0.0.1:{other.getsockname()[1]}"))
    assert isinstance(problem, Unreachable)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_server_in_trouble_is_worth_a_retry(site: Callable[..., Site], status: int) -> None:
    problem = refusal(login(site(says(status, "<html>later</html>", "text/html")).uri))
    assert isinstance(problem, Unreachable)
    assert problem.status == status
    assert f"HTTP {status}" in problem.message


def test_a_password_that_a_gateway_refuses_is_wrong_credentials(site: Callable[..., Site]) -> None:
    gateway = site(says(401, "no", "text/plain", **{"WWW-Authenticate": 'Basic realm="clinic"'}))
    problem = refusal(login(gateway.uri))
    assert isinstance(problem, WrongCredentials)
    assert "did not accept this login" in problem.message


def test_a_server_that_wants_a_login_says_so_to_one_who_brings_none(site: Callable[..., Site]) -> None:
    problem = refusal(login(site(says(401, "no", "text/plain")).uri, "none"))
    assert isinstance(problem, WrongCredentials)
    assert "asks for a login" in problem.message


def test_a_forbidden_host_name_is_explained(site: Callable[..., Site]) -> None:
    reply = says(403, "Invalid Host header - possible DNS rebinding attack detected", "text/plain")
    problem = refusal(login(site(reply).uri, "none"))
    assert isinstance(problem, Forbidden)
    assert "--allowed-hosts" in problem.hint


def test_a_token_is_sent_as_bearer_and_a_gateway_without_users_gives_no_name(site: Callable[..., Site]) -> None:
    def gateway(self: Site, request: BaseHTTPRequestHandler) -> Answer:
        if request.headers.get("Authorization") != f"Bearer {SECRET}":
            return 401, {}, b"token?"
        return like_mlflow(self, request)

    guarded = site(gateway)
    session = check_login(login(guarded.uri, "token"))
    assert (session.user, session.server_version, session.token) == (None, "3.17.2", SECRET)
    assert isinstance(refusal(login(guarded.uri, "token", token="wrong")), WrongCredentials)


def test_a_redirect_to_another_origin_never_receives_the_secret(site: Callable[..., Site]) -> None:
    thief = site(like_mlflow)

    def lure(self: Site, request: BaseHTTPRequestHandler) -> Answer:
        # It looks like a server that wants a login, and sends those who bring one away.
        if request.headers.get("Authorization"):
            return 307, {"Location": thief.uri + request.path}, b""
        return 401, {}, b"login, please"

    for auth in ("basic", "token"):
        bait = site(lure)
        problem = refusal(login(bait.uri, auth))
        assert isinstance(problem, NotMlflow)
        assert thief.uri in problem.message
        assert bait.secrets
    assert thief.heard == []


def test_a_server_that_sends_on_to_https_says_which_address_to_write(site: Callable[..., Site]) -> None:
    def upgrade(self: Site, request: BaseHTTPRequestHandler) -> Answer:
        return 308, {"Location": f"https://127.0.0.1:{self.port}{request.path}"}, b""

    old = site(upgrade)
    problem = refusal(login(old.uri))
    assert isinstance(problem, WrongScheme)
    assert "https://" in problem.hint
    assert old.secrets == []


def test_a_sign_in_page_is_not_mlflow(site: Callable[..., Site]) -> None:
    portal = site(lambda self, request: (302, {"Location": "/login?next=%2F"}, b""))
    problem = refusal(login(portal.uri))
    assert isinstance(problem, NotMlflow)
    assert "/login" in problem.message
    assert portal.secrets == []


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökén"])
def test_a_token_that_cannot_be_one_is_refused_before_anything_is_sent(site: Callable[..., Site], token: str) -> None:
    quiet = site(like_mlflow)
    problem = refusal(login(quiet.uri, "token", token=token))
    assert isinstance(problem, WrongCredentials)
    assert token.strip() == "" or token not in str(problem)
    assert quiet.heard == []


def test_a_missing_password_is_refused_before_anything_is_sent(site: Callable[..., Site]) -> None:
    quiet = site(like_mlflow)
    assert isinstance(refusal(login(quiet.uri, password="")), WrongCredentials)
    assert quiet.heard == []


def test_an_unknown_authority_is_named_and_its_certificate_file_lets_us_in(
    site: Callable[..., Site], authority: Authority, tmp_path: Path
) -> None:
    clinic = site(like_mlflow, authority.issue(tmp_path))
    problem = refusal(login(clinic.uri))
    assert isinstance(problem, UntrustedCertificate)
    assert "authority that this computer does not know" in problem.message
    assert "'Clinic CA'" in problem.message
    assert "Private certificate authority" in problem.hint
    assert clinic.heard == []
    session = check_login(login(clinic.uri, ca_bundle=str(authority.pem)))
    assert (session.server_version, session.ca_bundle) == ("3.17.2", str(authority.pem))


@pytest.mark.parametrize(
    ("host", "days", "says_"),
    [
        ("10.1.2.3", 9, "was issued for 10.1.2.3, not for 127.0.0.1"),
        ("mlflow.clinic.example", 9, "was issued for mlflow.clinic.example, not for 127.0.0.1"),
        ("127.0.0.1", -1, "expired"),
    ],
)
def test_a_certificate_of_another_name_or_an_expired_one_is_told_apart(
    site: Callable[..., Site], authority: Authority, tmp_path: Path, host: str, days: int, says_: str
) -> None:
    clinic = site(like_mlflow, authority.issue(tmp_path, host, days))
    problem = refusal(login(clinic.uri, ca_bundle=str(authority.pem)))
    assert isinstance(problem, UntrustedCertificate)
    assert says_ in problem.message
    assert clinic.heard == []


def test_the_file_of_another_authority_is_named(
    site: Callable[..., Site], authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    old = Authority(tmp_path / "old", "Clinic CA of last year")
    clinic = site(like_mlflow, authority.issue(tmp_path))
    problem = refusal(login(clinic.uri, ca_bundle=str(old.pem)))
    assert isinstance(problem, UntrustedCertificate)
    assert f"signed by 'Clinic CA', which is not in {old.pem}" in problem.message
    assert clinic.heard == []


def test_a_certificate_file_is_kept_by_its_whole_path(
    site: Callable[..., Site], authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kernels work in the folders of their notebooks, and MLflow expands no tilde.
    clinic = site(like_mlflow, authority.issue(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in ("ca.pem", "~/ca.pem"):
        assert check_login(login(clinic.uri, ca_bundle=typed)).ca_bundle == str(authority.pem)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_is_none_gets_a_sentence(tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    problem = refusal(login("https://127.0.0.1:9", ca_bundle=str(bundle)))
    assert isinstance(problem, BadAddress)
    assert "ca.pem" in problem.message


def test_http_written_for_an_https_server_is_said(
    site: Callable[..., Site], authority: Authority, tmp_path: Path
) -> None:
    clinic = site(like_mlflow, authority.issue(tmp_path))
    problem = refusal(login(clinic.uri.replace("https", "http")))
    assert isinstance(problem, WrongScheme)
    assert "https://" in problem.hint
    assert clinic.secrets == []


def test_https_written_for_an_http_server_is_said(site: Callable[..., Site]) -> None:
    plain = site(like_mlflow)
    problem = refusal(login(plain.uri.replace("http", "https")))
    assert isinstance(problem, WrongScheme)
    assert "http://" in problem.hint
    assert plain.heard == []


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "Bad\nname"}, Refused),
        (413, "<h1>Too Large</h1>", Refused),
        (501, {"error_code": "NOT_IMPLEMENTED", "message": "no"}, Refused),
        (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}, Refused),
        (404, "<h1>Not Found</h1>", NotMlflow),
        (401, "who?", WrongCredentials),
        (403, {"error_code": "PERMISSION_DENIED", "message": "not yours"}, Forbidden),
        (429, "slow down", Unreachable),
        (503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}, Unreachable),
    ],
)
def test_every_status_means_one_kind_of_error(
    site: Callable[..., Site], status: int, body: object, kind: type[ConnectionProblem]
) -> None:
    server = TrackingServer(site(says(status, body)).uri)
    with pytest.raises(ConnectionProblem) as caught:
        server.post("runs/log-batch", {})
    assert type(caught.value) is kind
    if isinstance(caught.value, Refused):
        assert caught.value.status == status
        assert caught.value.error_code == (body["error_code"] if isinstance(body, dict) else "")
        assert "\n" not in caught.value.message


def test_a_request_is_sent_once_however_it_fails(site: Callable[..., Site]) -> None:
    failing = site(says(503, "later"))
    with pytest.raises(Unreachable):
        TrackingServer(failing.uri).post("runs/create", {})
    assert len(failing.heard) == 1


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert check_login(login(site(like_mlflow).uri, "none")).server_version == "3.17.2"


def test_a_download_that_breaks_off_leaves_no_file(site: Callable[..., Site], tmp_path: Path) -> None:
    def broken(self: Site, request: BaseHTTPRequestHandler) -> Answer:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
        raise ConnectionAbortedError

    server = TrackingServer(site(broken).uri)
    with pytest.raises(Unreachable):
        server.download_artifact("mlflow-artifacts:/0/run/artifacts", "model.pt", tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_artifacts_of_another_host_do_not_receive_our_secret(site: Callable[..., Site], tmp_path: Path) -> None:
    from mlops_lab.connection.artifacts import _proxied

    server = TrackingServer(site(like_mlflow).uri, auth="token", token=SECRET)
    other = site(like_mlflow)
    path = "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts"
    assert _proxied(server, f"mlflow-artifacts://127.0.0.1:{other.port}/0/r/artifacts") is None
    assert _proxied(server, other.uri + path) is None
    assert _proxied(server, server.uri + path) == path

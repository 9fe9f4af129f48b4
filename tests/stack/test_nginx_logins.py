"""Whoever guesses passwords is slowed down at every address; whoever knows theirs never notices.

A listener stands behind nginx and counts which logins reach it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count

import httpx
import pytest

from tests.stack.nginx_alone import CURRENT, PASSWORDS, Doors, Listener, prepare

ALLOWED = 11
"""Wrong passwords for one account from one computer, before it has to wait."""
SLACK = 3
"""More that may fit in while a busy machine takes its time: one every ten seconds."""

Guess = Callable[..., httpx.Response]


@pytest.fixture
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """An nginx of its own for every test, because it remembers logins."""
    mlflow = Listener()
    nginx = prepare(tmp_path_factory.mktemp("nginx"), mlflow.port, mlflow.port)
    try:
        nginx.start()
        yield Doors(nginx, mlflow, mlflow)
    finally:
        nginx.stop()
        mlflow.stop()


@pytest.fixture
def guess(doors: Doors) -> Guess:
    """Try another wrong password for an account, from an address of this computer, at some path."""
    numbers = count()

    def try_one(user: str = "anna", path: str = "/", source: str = "127.0.0.1") -> httpx.Response:
        client = doors.nginx.client(None, source)
        return client.get(path, auth=(user, f"wrong-{next(numbers)}"))

    return try_one


def until_limited(guess: Callable[[], httpx.Response]) -> int:
    """Guess until nginx says wait; give how many guesses were answered before."""
    for number in range(ALLOWED + SLACK + 1):
        answer = guess()
        if answer.status_code == 429:
            return number
        assert answer.status_code == 401
    pytest.fail(f"{number} wrong passwords, and still no limit")


@pytest.mark.parametrize("path", [CURRENT, "/", "/api/2.0/mlflow/runs/search", "/get-artifact", "/graphql"])
def test_guessing_ends_at_every_address(doors: Doors, guess: Guess, path: str) -> None:
    assert ALLOWED <= until_limited(lambda: guess(path=path)) <= ALLOWED + SLACK
    reached = len(doors.mlflow.heard)
    answer = guess(path=path)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "10"
    assert "Too many failed logins" in answer.text
    assert len(doors.mlflow.heard) == reached, "a guess beyond the limit reached MLflow"
    assert {one.path for one in doors.mlflow.heard} == {CURRENT}, "a guess reached more than the question itself"


def test_changing_the_address_does_not_help_the_guesser(guess: Guess) -> None:
    paths = count()
    assert ALLOWED <= until_limited(lambda: guess(path=f"/api/2.0/mlflow/{next(paths)}")) <= ALLOWED + SLACK


def test_the_right_password_is_not_accepted_beyond_the_limit_either(doors: Doors, guess: Guess) -> None:
    until_limited(guess)
    answers = {doors.nginx.client("anna").get("/").status_code for _ in range(3)}
    assert 429 in answers, "otherwise the limit would only hide the answer from the guesser, not stop the guess"


def test_a_training_run_with_the_right_password_is_never_limited(doors: Doors, guess: Guess) -> None:
    training = doors.nginx.client("anna")
    assert training.get("/").status_code == 200
    until_limited(guess)
    done = threading.Event()
    guesses: list[int] = []

    def go_on_guessing() -> None:
        while not done.is_set():
            guesses.append(guess().status_code)

    guesser = threading.Thread(target=go_on_guessing)
    guesser.start()
    try:
        logged = [training.post("/api/2.0/mlflow/runs/log-batch", content=b"{}").status_code for _ in range(500)]
    finally:
        done.set()
        guesser.join()
    assert set(logged) == {200}
    assert guesses.count(429) >= len(guesses) - SLACK
    questions = [one for one in doors.mlflow.asked(CURRENT) if one.headers["authorization"] == header("anna")]
    assert len(questions) == 1, "nginx asked MLflow about a login that it knew"


def test_others_at_the_same_computer_still_log_in(doors: Doors, guess: Guess) -> None:
    until_limited(guess)
    assert doors.nginx.client("bert").get("/").status_code == 200
    assert doors.nginx.client("müller").get("/").status_code == 200


def test_the_same_account_from_another_computer_still_logs_in(doors: Doors, guess: Guess) -> None:
    until_limited(guess)
    assert doors.nginx.client("anna", source="127.0.0.2").get("/").status_code == 200


def test_claiming_another_address_does_not_help_the_guesser(doors: Doors) -> None:
    numbers = count()

    def forged() -> httpx.Response:
        number = next(numbers)
        claims = {"X-Forwarded-For": f"10.0.0.{number}", "X-Login-From": f"10.0.0.{number}"}
        return doors.nginx.client(None).get("/", headers=claims, auth=("anna", f"wrong-{number}"))

    assert ALLOWED <= until_limited(forged) <= ALLOWED + SLACK


@pytest.mark.parametrize(
    "name", ["anna ", "anna    ", " anna", "anna\t", "anna\n", "anna\0", "an\x7fna", "\x1fanna", ""]
)
def test_a_name_that_no_account_can_have_is_refused_unasked(doors: Doors, guess: Guess, name: str) -> None:
    """The database takes "anna  " for anna: every such spelling would have tries of its own."""
    doors.mlflow.passwords[name] = PASSWORDS["anna"]
    answer = doors.nginx.client(None).get("/", auth=(name, PASSWORDS["anna"]))
    assert answer.status_code == 401
    assert answer.headers.get_list("www-authenticate") == ['Basic realm="mlflow"']
    assert {guess(user=name).status_code for _ in range(ALLOWED + SLACK + 1)} == {401}
    assert doors.mlflow.heard == []


@pytest.mark.parametrize("junk", ["!{}", "={}", "QQ=={}", "\t{}"])
def test_a_login_that_nginx_cannot_read_is_refused_unasked(doors: Doors, junk: str) -> None:
    """Python's reading of base64 forgives much, and would find the account where nginx finds no name to count."""
    encoded = header("anna").removeprefix("Basic ")
    answer = doors.nginx.client(None).get("/", headers={"Authorization": f"Basic {junk.format(encoded)}"})
    assert answer.status_code == 401
    assert doors.mlflow.heard == []


def test_names_with_a_space_inside_or_of_one_letter_log_in(doors: Doors) -> None:
    for name in ("anna maria", "é", "x", "o'hara-née", "李 小龙"):
        doors.mlflow.passwords[name] = "a-password-of-her-own"
        assert doors.nginx.client(None).get("/", auth=(name, "a-password-of-her-own")).status_code == 200, name


def test_guesses_at_many_accounts_end_too(guess: Guess) -> None:
    statuses = [guess(user=f"anna-{number}").status_code for number in range(80)]
    assert 60 <= statuses.count(401) <= 70
    assert statuses[-1] == 429


def test_a_whole_cluster_that_starts_at_once_counts_as_one_login(doors: Doors) -> None:
    answers: list[int] = []
    gate = threading.Barrier(32)

    def worker() -> None:
        client = doors.nginx.client("anna")
        gate.wait()
        answers.append(client.get("/").status_code)

    workers = [threading.Thread(target=worker) for _ in range(32)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert answers == [200] * 32
    assert len(doors.mlflow.asked(CURRENT)) == 1


def test_a_changed_password_counts_at_once(doors: Doors) -> None:
    client = doors.nginx.client("anna")
    assert client.get("/").status_code == 200
    doors.mlflow.passwords["anna"] = "a-new-password-10"
    assert client.get("/").status_code == 401, "what nginx remembers must not replace MLflow's own check"
    assert client.get("/", auth=("anna", "a-new-password-10")).status_code == 200


def test_a_stranger_reaches_nothing_of_mlflow(doors: Doors) -> None:
    client = doors.nginx.client(None)
    for headers in ({}, {"Authorization": "Bearer token"}, {"Authorization": "Basic"}, {"Authorization": "Digest a"}):
        for path in ("/", "/api/2.0/mlflow/runs/search", "/graphql", "/version", "/signup", "/nginx-login"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == (404 if path == "/nginx-login" else 401), (path, headers)
            if path != "/nginx-login":
                assert answer.headers["www-authenticate"] == 'Basic realm="mlflow"'
    assert doors.mlflow.heard == []
    assert client.get("/health").status_code == 401, "the listener's own answer"
    assert client.get("/static-files/index.js").status_code == 401
    assert [one.path for one in doors.mlflow.heard] == ["/health", "/static-files/index.js"]


def test_a_login_is_asked_for_once_where_a_browser_looks(doors: Doors) -> None:
    answer = doors.nginx.client(None).get("/api/2.0/mlflow/runs/search", auth=("anna", "wrong"))
    assert answer.status_code == 401
    assert answer.headers.get_list("www-authenticate") == ['Basic realm="mlflow"']
    assert answer.json() == {"error_code": "UNAUTHENTICATED", "message": "Name or password is missing or wrong."}


def test_a_dead_mlflow_locks_nobody_out(doors: Doors) -> None:
    known = doors.nginx.client("anna")
    assert known.get("/").status_code == 200
    doors.mlflow.stop()
    for _ in range(ALLOWED + SLACK):
        assert known.get("/").status_code == 502
        assert doors.nginx.client("bert").get("/").status_code == 502
    doors.mlflow.start()
    assert known.get("/").status_code == 200


def test_a_mlflow_that_hangs_is_explained_and_locks_nobody_out(doors: Doors) -> None:
    path = "/api/2.0/mlflow/runs/search"
    doors.mlflow.awake.clear()
    try:
        for _ in range(ALLOWED + SLACK):
            answer = doors.nginx.client("anna").get(path)
            assert answer.status_code == 503
            assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
            assert answer.json()["message"].startswith("MLflow does not answer: it, or its database,")
            assert answer.headers["retry-after"] == "30"
    finally:
        doors.mlflow.awake.set()
    assert {one.path for one in doors.mlflow.heard} == {CURRENT}
    assert len(doors.mlflow.heard) <= 3, "each of these tries waited for MLflow"
    # Another login of the same account, because this very question is answered from memory for ten seconds.
    doors.mlflow.passwords["anna"] = "another-password-11"
    assert doors.nginx.client(None).get(path, auth=("anna", "another-password-11")).status_code == 200


def header(user: str) -> str:
    """Give the Authorization header of an account with its right password."""
    return httpx.BasicAuth(user, PASSWORDS[user])._auth_header

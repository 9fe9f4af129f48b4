"""Day by day with ``./mlops-server``: start, status, accounts, logs, a certificate, backups, and parts that fail."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from mlops_lab.connection import process
from tests.production_stack import SERVER, ProductionStack, require_programs
from tests.stack.test_operator_check import one_line
from tests.stack.test_operator_init import hospitals

pytestmark = pytest.mark.xdist_group("operator")

API = "/api/2.0/mlflow"
ORDER = ("db", "objects", "mlflow", "nginx")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductionStack]:
    """A server of this file's own; a test that stops a part of it starts it again."""
    require_programs()
    one = ProductionStack.make(tmp_path_factory.mktemp("operator") / "mlflow_server", MLFLOW_WORKERS="1")
    try:
        one.start()
        yield one
    finally:
        one.end()


def status(stack: ProductionStack, *, well: bool) -> dict[str, Any]:
    """Give what ``status --json`` says."""
    answer = stack.operate("status", "--json")
    assert answer.returncode == (0 if well else 1), answer.stdout + answer.stderr
    return dict(json.loads(answer.stdout))


def pids(stack: ProductionStack) -> dict[str, int]:
    """Give the process of each service."""
    services = json.loads((stack.folder / ".native" / "state.json").read_text())["services"]
    return {name: one["pid"] for name, one in services.items()}


def test_a_start_says_where_the_server_is_and_a_second_one_disturbs_nobody(stack: ProductionStack) -> None:
    before = pids(stack)

    answer = stack.operate("start")

    assert answer.returncode == 0, answer.stderr
    assert pids(stack) == before
    for said in (stack.uri, stack.objects_uri, str(stack.ca), "./mlops-server user add NAME"):
        assert said in answer.stdout
    assert stack.env["MLFLOW_ADMIN_PASSWORD"] not in answer.stdout + answer.stderr
    assert stack.client(stack.administrator).get(f"{API}/users/current").json()["user"]["is_admin"] is True


def test_status_notices_a_dead_part_and_its_return(stack: ProductionStack) -> None:
    found = status(stack, well=True)
    assert {name: one["healthy"] for name, one in found["services"].items()} == dict.fromkeys(ORDER, True)
    assert (found["mlflow"], found["objects"], found["answers"]) == (stack.uri, stack.objects_uri, True)
    assert found["certificate"]["days_left"] > 390

    stack.engine("stop", "db").check_returncode()
    services = status(stack, well=False)["services"]
    assert services["db"]["state"] != "running"
    assert "MLflow" in services["mlflow"]["complaint"], "MLflow's own /health would say that all is well"
    assert services["objects"]["healthy"]
    shown = stack.operate("status")
    assert re.search(r"^mlflow +running, MLflow ", shown.stdout, re.MULTILINE)

    stack.operate("start").check_returncode()
    status(stack, well=True)


def test_accounts_are_made_changed_and_removed(stack: ProductionStack) -> None:
    name = "dora"
    password = stack.add_user(name)
    assert len(password) >= 20
    assert stack.client((name, password)).get(f"{API}/users/current").json()["user"]["username"] == name
    assert "already" in one_line(stack.operate("user", "add", name))

    answer = stack.operate("user", "add", "emil", "--password-stdin", given="emils-own-password-5\n")
    assert answer.returncode == 0, answer.stderr
    assert "emils-own-password-5" not in answer.stdout + answer.stderr
    assert stack.client(("emil", "emils-own-password-5")).get(f"{API}/users/current").status_code == 200
    assert "No password came in" in one_line(stack.operate("user", "password", "emil", "--password-stdin"))
    assert "12 characters" in one_line(stack.operate("user", "password", "emil", "--password-stdin", given="short\n"))

    client = stack.client((name, password))
    created = client.post(f"{API}/experiments/create", json={"name": "of dora"})
    assert created.status_code == 200, created.text
    stack.share("of dora", "emil", "READ")
    listed = json.loads(stack.operate("user", "list", "--json").stdout)
    assert {"user": "emil", "administrator": False, "experiments": {"of dora": "READ"}} in listed
    assert "There is no account nobody" in one_line(stack.operate("share", "of dora", "nobody", "READ"))

    removed = stack.operate("user", "remove", "emil")
    assert removed.returncode == 0
    assert "emil" not in stack.operate("user", "list").stdout


def test_no_secret_is_on_a_command_line_or_in_a_log(stack: ProductionStack) -> None:
    env = stack.env
    secrets = [env[name] for name in env if name.endswith(("PASSWORD", "SECRET_KEY"))]
    assert len(secrets) == 6
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for one in psutil.process_iter():
                try:
                    seen.append(" ".join(one.cmdline()))
                except psutil.Error:
                    continue
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        stack.operate("backup", str(stack.folder / "backups" / "watched")).check_returncode()
        status(stack, well=True)
        stack.operate("start").check_returncode()
    finally:
        done.set()
        watcher.join()

    assert any("dump" in line for line in seen), "the watcher was there"
    logs = [file.read_text("utf-8", "replace") for file in (stack.folder / ".native").glob("*.log")]
    assert not [secret for secret in secrets for text in [*seen, *logs] if secret in text]


def test_a_backup_disturbs_no_training(stack: ProductionStack, tmp_path: Path) -> None:
    client = stack.client(stack.administrator)
    run = client.post(f"{API}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    answers: list[int] = []
    done = threading.Event()

    def train() -> None:
        step = 0
        while not done.is_set():
            step += 1
            metrics = [{"key": f"m{key}", "value": step, "timestamp": step, "step": step} for key in range(20)]
            answers.append(client.post(f"{API}/runs/log-batch", json={"run_id": run, "metrics": metrics}).status_code)

    training = threading.Thread(target=train)
    training.start()
    try:
        while not answers:
            time.sleep(0.01)
        answer = stack.operate("backup", str(tmp_path / "kept"), "--json")
    finally:
        done.set()
        training.join()

    assert answer.returncode == 0, answer.stderr
    assert set(answers) == {200}
    assert stack.operate("restore", str(tmp_path / "kept"), "--check").returncode == 0
    made = json.loads(answer.stdout)
    assert made["counts"]["runs"] >= 1
    assert made["images"]["MYSQL_IMAGE"].startswith("mysql:8.4")
    modes = {path.stat().st_mode & 0o077 for path in [tmp_path / "kept", *(tmp_path / "kept").rglob("*")]}
    assert modes == {0}, "a backup holds patients' data: nobody else reads it"


def test_a_backup_that_fails_leaves_nothing_that_looks_like_one(stack: ProductionStack, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    assert "is there already" in one_line(stack.operate("backup", str(tmp_path)))

    # The database does not let it in; then the object store does not.
    for name, said in (("MYSQL_PASSWORD", "Access denied"), ("MINIO_SECRET_KEY", "bucket")):
        right = stack.env[name]
        stack.set(**{name: "another-password-1234"})
        answer = stack.operate("backup", str(place / name))
        stack.set(**{name: right})
        assert answer.returncode == 1
        assert said in answer.stderr.splitlines()[-1], answer.stderr
        assert "Traceback" not in answer.stderr
        assert list(place.iterdir()) == []

    # No room: files may have four kilobytes.
    words = ["sh", "-c", 'ulimit -f 8; exec "$0" "$@"', sys.executable, "mlops-server", "backup", str(place / "large")]
    answer = subprocess.run(words, cwd=stack.folder, env=stack.environment(), capture_output=True, text=True)
    assert answer.returncode == 1
    assert "No backup was made: " in answer.stderr
    assert list(place.iterdir()) == []

    stack.engine("stop", "objects").check_returncode()
    assert "objects is not running: run ./mlops-server start" in one_line(stack.operate("backup", str(place / "x")))
    assert list(place.iterdir()) == []
    stack.operate("start").check_returncode()


def test_what_is_no_backup_is_refused(stack: ProductionStack, tmp_path: Path) -> None:
    (tmp_path / "half.partial").mkdir()
    (tmp_path / "other").mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "manifest.json").write_text('{"format": "mlops-server backup 1"')
    later = tmp_path / "later"
    later.mkdir()
    files = {name: {"sha256": ""} for name in ("database.sql.gz", "objects/manifest.jsonl")}
    (later / "manifest.json").write_text(json.dumps({"format": "mlops-server backup 9", "made": "", "files": files}))

    for folder, said in (
        (tmp_path / "missing", "is no backup"),
        (tmp_path / "other", "is no backup"),
        (tmp_path / "half.partial", "did not finish"),
        (damaged, "is damaged"),
        (later, "another version of mlops-server (mlops-server backup 9)"),
    ):
        assert said in one_line(stack.operate("restore", str(folder), "--replace"))


def test_a_new_certificate_is_served_at_once(stack: ProductionStack) -> None:
    def served() -> str:
        address = ("localhost", int(stack.env["MLFLOW_PORT"]))
        return ssl.get_server_certificate(address, ca_certs=str(stack.ca))

    before = served()

    answer = stack.operate("certificate", "--renew")

    assert answer.returncode == 0, answer.stderr
    assert served() != before
    assert served() == (stack.folder / "tls" / "server.crt").read_text()


def test_the_hospitals_own_certificate_is_served_from_the_next_start_on(stack: ProductionStack) -> None:
    tls = stack.folder / "tls"
    own = {file: file.read_bytes() for file in tls.iterdir()}
    before = pids(stack)
    try:
        chain = hospitals(tls, "localhost", days=20)
        # What researchers meet now is still the old one, whose authority is no longer in ca.crt.
        found = status(stack, well=False)
        assert "that is not trusted (" in found["complaint"]
        assert "its chain in tls/server.crt, or the authority's root" in found["complaint"]
        assert (found["certificate"]["served"], found["certificate"]["days_left"] > 390) == (True, True)
        assert found["certificate"]["warning"].endswith("than the one that is served: run ./mlops-server start")

        stack.operate("start").check_returncode()

        after = pids(stack)
        assert {name for name in ORDER if after[name] != before[name]} == {"nginx"}
        found = status(stack, well=True)
        assert found["certificate"]["days_left"] in (19, 20)
        assert found["certificate"]["warning"].endswith("order a new one from who issued it and put it there")
        # A second start, and one whose chain alone has grown.
        stack.operate("start").check_returncode()
        assert pids(stack) == after
        (tls / "server.crt").write_text((tls / "server.crt").read_text() + chain)
        stack.operate("start").check_returncode()
        assert pids(stack) != after
        (tls / "server.crt").write_text("spoiled")
        assert "no certificate in PEM form" in status(stack, well=True)["certificate"]["warning"]
    finally:
        for file, content in own.items():
            file.write_bytes(content)
        stack.operate("start").check_returncode()
    status(stack, well=True)


def test_a_password_that_the_database_does_not_know_is_named(stack: ProductionStack) -> None:
    right = stack.env["MYSQL_PASSWORD"]
    stack.set(MYSQL_PASSWORD="another-password-1234")

    answer = stack.operate("start")
    stack.set(MYSQL_PASSWORD=right)

    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        "The database refuses MLflow: MYSQL_PASSWORD or MYSQL_USER in .env is not what it was made with. "
        "Put your copy of .env back."
    )
    stack.operate("start").check_returncode()


def test_logs_are_shown_and_can_be_cut(stack: ProductionStack) -> None:
    answer = stack.operate("logs", "--tail", "3", "nginx")

    assert answer.returncode == 0
    assert answer.stdout.count("\n") == 3
    assert all(line.startswith("nginx") for line in answer.stdout.splitlines())
    assert "mlflow" in stack.operate("logs").stdout


def test_a_part_that_does_not_stay_up_is_named_with_its_last_words(stack: ProductionStack) -> None:
    script = stack.folder / "nginx" / "start.sh"
    right = script.read_text()
    stack.engine("stop", "nginx").check_returncode()
    script.write_text("echo the disk is full >&2; exit 1\n")

    answer = stack.operate("start")
    script.write_text(right)

    assert answer.returncode == 1
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("nginx does not stay up. Its last words: the disk is full (more: ./mlops-server logs nginx)")
    assert stack.operate("start").returncode == 0


def test_stop_stops_all_and_start_brings_everything_back(stack: ProductionStack) -> None:
    password = stack.add_user("frida")
    before = [known for pid in pids(stack).values() if pid and (known := process.know(pid))]

    assert stack.operate("stop").returncode == 0

    assert len(before) == len(ORDER)
    assert not [known for known in before if process.alive(known)]
    assert {one["state"] for one in status(stack, well=False)["services"].values()} == {"not started"}
    assert "The server does not run" in one_line(stack.operate("user", "list"))
    # Whoever prefers compose itself gets the same server, in the order that the compose file gives.
    started = stack.engine("up", "-d", "--wait")
    assert started.returncode == 0, started.stderr
    status(stack, well=True)
    assert stack.client(("frida", password)).get(f"{API}/users/current").status_code == 200


def test_the_commands_own_health_checks_are_those_of_the_compose_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SERVER)
    from operate.engine import PROBES, SERVICES

    services = yaml.safe_load((SERVER / "compose.yaml").read_text())["services"]
    checks = {name: one["healthcheck"]["test"] for name, one in services.items() if "healthcheck" in one}

    assert set(checks) == set(PROBES)
    assert set(services) == set(SERVICES)
    for name, (kind, *words) in checks.items():
        assert PROBES[name] == (["sh", "-c", *words] if kind == "CMD-SHELL" else words)

"""What an operator relies on when a disk dies or an upgrade waits: backup, restore and migrate."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pymysql
import pytest
from werkzeug.security import generate_password_hash

from tests.production_stack import ProductionStack, require_programs
from tests.stack.services import make_old

pytestmark = pytest.mark.xdist_group("stack")

API = "/api/2.0/mlflow"
LARGE = 20_000_000
METRICS = {"dice": 0.875, "loss": math.nan, "distance": math.inf, "gain": -math.inf}
Account = tuple[str, str]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[ProductionStack]:
    """A server that its test may destroy; it does not run yet."""
    require_programs()
    one = ProductionStack.make(tmp_path / "mlflow_server", MLFLOW_WORKERS="1")
    try:
        yield one
    finally:
        one.end()


def test_a_destroyed_server_comes_back_as_it_was(stack: ProductionStack, tmp_path: Path) -> None:
    stack.start()
    people: list[Account] = [(name, stack.add_user(name)) for name in ("anna", "ben")]
    studies = [_study(stack, person, f"study of {person[0]}") for person in people]
    stack.share("study of anna", "ben", "READ")
    before = _everything(stack, people, studies)
    assert before["anna sees"] == ["study of anna"]
    assert before["ben sees"] == ["study of anna", "study of ben"]

    first = _backup(stack, tmp_path / "backups" / "first")
    # An upgrade is prepared: what was made by the image of before is still said to be.
    stack.set(MLFLOW_IMAGE="mlflow:of-tomorrow")
    second = _backup(stack, tmp_path / "backups" / "second")
    stack.unset("MLFLOW_IMAGE")
    assert second["images"] == first["images"]

    counts = second["counts"]
    assert (counts["runs"], counts["objects"], counts["new_objects"]) == (2, 4, 0)
    assert counts["bytes"] > LARGE
    contents = _contents(Path(first["folder"]))
    assert {file.name: file.stat().st_ino for file in contents} == {
        file.name: file.stat().st_ino for file in _contents(Path(second["folder"]))
    }, "what has not changed takes no room again"
    saved = Path(second["folder"])

    # Nothing is lost by mistake: a server that holds something is not replaced unless the operator says so.
    refused = stack.operate("restore", str(saved))
    assert (refused.returncode, refused.stderr.splitlines()[-1].count("--replace")) == (1, 1)
    assert "2 experiments, 2 runs, 2 users" in refused.stderr
    assert _everything(stack, people, studies) == before

    # A backup of which one byte has changed is refused, whichever file it is in, before anything is touched.
    largest = max(_contents(saved), key=lambda file: file.stat().st_size)
    for broken in (largest, saved / "database.sql.gz"):
        damaged = Path(shutil.copytree(saved, tmp_path / f"damaged-{broken.name[:8]}"))
        _flip_a_byte(damaged / broken.relative_to(saved))
        for verb in (["--check"], ["--replace"]):
            refused = stack.operate("restore", str(damaged), *verb)
            assert refused.returncode == 1
            assert f"{damaged.name}/{broken.relative_to(saved)}" in refused.stderr
            assert "Nothing was changed" in refused.stderr
    assert _everything(stack, people, studies) == before
    assert stack.operate("restore", str(saved), "--check").returncode == 0

    # The disk dies. Only the backup is left: the new server has other secrets.
    stack.operate("stop").check_returncode()
    shutil.rmtree(stack.folder / "data")
    kept = {"MLFLOW_ADMIN_PASSWORD"}  # the account is in the backup, with its password
    others = {name for name in stack.env if name.endswith(("PASSWORD", "SECRET_KEY"))} - kept
    assert len(others) == 5
    stack.set(**{name: secrets.token_hex(16) for name in others})
    stack.start()
    assert stack.client(people[0]).get(f"{API}/experiments/search?max_results=1").status_code == 401
    restored = stack.operate("restore", str(saved))

    assert restored.returncode == 0, restored.stderr
    assert "2 runs" in restored.stdout
    assert _everything(stack, people, studies) == before
    # It goes on: new work lands in the restored server, and is in the next backup.
    _study(stack, people[0], "after the fire")
    assert _backup(stack, tmp_path / "backups" / "third")["counts"]["new_objects"] == 1
    # A restore that is killed half-way leaves nothing that could be taken for a whole server.
    _kill_a_restore(stack, saved)
    for verb in ("start", "backup", "migrate"):
        refused = stack.operate(verb)
        assert refused.returncode == 1
        assert f"run ./mlops-server restore {saved} --replace" in refused.stderr.splitlines()[-1]
    assert not (stack.folder / "backups").exists()
    # Whoever asks for the state of the backup gets that, and nothing of what came later.
    assert stack.operate("restore", str(saved), "--replace").returncode == 0
    assert _everything(stack, people, studies) == before


def test_an_older_schema_waits_for_migrate_which_makes_a_backup_first(stack: ProductionStack, tmp_path: Path) -> None:
    (stack.folder / "data" / "db").mkdir(parents=True, exist_ok=True)
    started = stack.engine("up", "-d", "--wait", "db")
    assert started.returncode == 0, started.stderr
    make_old({**stack.env, "MYSQL_ADDRESS": f"127.0.0.1:{stack.port('db:3306')}"})
    anna = ("anna", "annas-password-of-old")
    _query(stack, "UPDATE users SET password_hash = %s WHERE username = 'anna'", generate_password_hash(anna[1]))

    served = stack.engine("run", "--rm", "-T", "--no-deps", "mlflow", "serve", "--host", "0.0.0.0", "--port", "5000")
    started = stack.operate("start")

    assert served.returncode == 1
    assert len(served.stderr.splitlines()) == 1
    assert started.returncode == 1
    for said in (served.stderr, started.stderr.splitlines()[-1]):
        assert "./mlops-server migrate" in said
    assert _status(stack)["state"] == "behind", "a start upgrades nothing"

    # Without a backup to go back to there is no upgrade: here its folder cannot be made.
    (stack.folder / "backups").write_text("in the way")
    refused = stack.operate("migrate")
    (stack.folder / "backups").unlink()
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("Nothing was upgraded, for there is no backup to go back to.")
    assert _status(stack)["state"] == "behind"

    upgraded = stack.operate("migrate")

    assert upgraded.returncode == 0, upgraded.stderr
    (saved,) = (stack.folder / "backups").iterdir()
    assert str(saved) in upgraded.stdout, "the way back is named"
    assert stack.operate("restore", str(saved), "--check").returncode == 0
    assert json.loads((saved / "manifest.json").read_text())["schema"]["auth"] == "8606fa83a998"
    assert _status(stack)["state"] == "current"
    assert stack.client(anna).get(f"{API}/experiments/search?max_results=1").status_code == 200
    names = [one["name"] for one in _experiments(stack.client(stack.administrator))]
    assert "kept" in names
    # A second one finds nothing to do, and makes no backup.
    assert "current" in stack.operate("migrate").stdout
    assert list((stack.folder / "backups").iterdir()) == [saved]


def _kill_a_restore(stack: ProductionStack, saved: Path) -> None:
    words = [sys.executable, "mlops-server", "restore", str(saved), "--replace"]
    restore = subprocess.Popen(words, cwd=stack.folder, env=stack.environment(), start_new_session=True)
    limit = time.monotonic() + 120
    while not (stack.folder / ".restoring").exists():
        assert restore.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.killpg(restore.pid, signal.SIGKILL)
    restore.wait()


def _study(stack: ProductionStack, person: Account, name: str) -> dict[str, str]:
    """Log one run as somebody, with what is hard to keep."""
    client = stack.client(person)
    experiment = _post(client, "experiments/create", name=name)["experiment_id"]
    info = _post(client, "runs/create", experiment_id=experiment, run_name=f"run of {person[0]}", start_time=1)
    run = info["run"]["info"]["run_id"]
    metrics = [
        {"key": key, "value": _as_json(value), "step": step, "timestamp": 1_700_000_000_000 + step}
        for key, value in METRICS.items()
        for step in range(3)
    ]
    _post(
        client,
        "runs/log-batch",
        run_id=run,
        metrics=metrics,
        params=[{"key": "optimizer", "value": "Ädäm \N{BRAIN} 'quoted' \\ `x`"}],
        tags=[{"key": "ward", "value": "line one\nline two; -- DROP"}],
    )
    place = info["run"]["info"]["artifact_uri"].partition(":/")[2].lstrip("/")
    contents = {"model.bin": os.urandom(LARGE if name == "study of anna" else 1000)}
    if name.startswith("study"):
        contents["reports/naïve file, 100 %.txt"] = b""
    for file, content in contents.items():
        answer = client.put(f"/api/2.0/mlflow-artifacts/artifacts/{place}/{quote(file)}", content=content)
        assert answer.status_code == 200, answer.text
    return {"run": run, "experiment": experiment, "place": place, "owner": person[0]}


def _as_json(value: float) -> float | str:
    """Write a number as MLflow's clients do; JSON has no number for some."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"


def _everything(stack: ProductionStack, people: list[Account], studies: list[dict[str, str]]) -> dict[str, Any]:
    """Tell all that people could see and do: runs, metrics' histories, artifacts, accounts and shares."""
    admin = stack.client(stack.administrator)
    known: dict[str, Any] = {"experiments": sorted(_experiments(admin), key=lambda one: one["experiment_id"])}
    passwords = dict(people)
    for study in studies:
        client = stack.client((study["owner"], passwords[study["owner"]]))
        known[f"run {study['run']}"] = _get(client, "runs/get", run_id=study["run"])
        for key in METRICS:
            found = _get(client, "metrics/get-history", run_id=study["run"], metric_key=key)
            known[f"{key} of {study['run']}"] = found["metrics"]
            assert len(found["metrics"]) == 3
        known[f"files of {study['run']}"] = {file: _download(client, study, file) for file in _files(client, study)}
    for person in people:
        client = stack.client(person)
        known[f"{person[0]} sees"] = sorted(one["name"] for one in _experiments(client) if one["name"] != "Default")
        known[f"{person[0]} may"] = _get(admin, "users/get", username=person[0])
        reads = [client.get(f"{API}/runs/get", params={"run_id": study["run"]}).status_code for study in studies]
        known[f"{person[0]} reads"] = reads
    listed = stack.operate("user", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    known["accounts"] = json.loads(listed.stdout)
    known["tables"] = _tables(stack)
    # As text: NaN equals NaN there.
    return {key: value if key.endswith("sees") else json.dumps(value, sort_keys=True) for key, value in known.items()}


def _experiments(client: httpx.Client) -> list[dict[str, Any]]:
    return list(_post(client, "experiments/search", max_results=100)["experiments"])


def _files(client: httpx.Client, study: dict[str, str], folder: str = "") -> Iterator[str]:
    for one in _get(client, "artifacts/list", run_id=study["run"], path=folder).get("files", []):
        if one.get("is_dir"):
            yield from _files(client, study, one["path"])
        else:
            yield one["path"]


def _download(client: httpx.Client, study: dict[str, str], file: str) -> str:
    answer = client.get("/get-artifact", params={"run_id": study["run"], "path": file})
    assert answer.status_code == 200, f"{file}: {answer.text[:200]}"
    return hashlib.sha256(answer.content).hexdigest()


def _post(client: httpx.Client, call: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"{API}/{call}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _get(client: httpx.Client, call: str, **query: str) -> dict[str, Any]:
    answer = client.get(f"{API}/{call}", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _backup(stack: ProductionStack, folder: Path) -> dict[str, Any]:
    answer = stack.operate("backup", str(folder), "--json")
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def _contents(backup: Path) -> list[Path]:
    return [file for file in (backup / "objects" / "contents").rglob("*") if file.is_file()]


def _flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)


def _status(stack: ProductionStack) -> dict[str, Any]:
    answer = stack.operate("migrate", "--status")
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def _tables(stack: ProductionStack) -> dict[str, list[str]]:
    """Give every row of every table, passwords' hashes and schema revisions included.

    Only the account of the health check is left out, whose password belongs to the server and not to the data.
    """
    names = [name for (name,) in _query(stack, "SHOW TABLES")]
    assert {"users", "metrics", "alembic_version", "alembic_version_auth"} <= set(names)
    rows = {name: _query(stack, f"SELECT * FROM `{name}`") for name in names}
    rows["users"] = [row for row in rows["users"] if "healthcheck" not in row]
    return {name: sorted(map(repr, found)) for name, found in rows.items()}


def _query(stack: ProductionStack, question: str, *values: object) -> list[tuple[Any, ...]]:
    env = stack.env
    with pymysql.connect(
        host="127.0.0.1",
        port=stack.port("db:3306"),
        user=env["MYSQL_USER"],
        password=env["MYSQL_PASSWORD"],
        database=env["MYSQL_DATABASE"],
        autocommit=True,
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(question, values or None)
        return list(cursor.fetchall())

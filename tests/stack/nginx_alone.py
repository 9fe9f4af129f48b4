"""nginx from the production stack's own files, with listeners behind it that write down what reaches them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.jupyter_servers import free_port
from tests.stack.engine.places import quiet_port
from tests.web_sites import Authority

NGINX = Path(__file__).parents[2] / "mlflow_server" / "nginx"
CURRENT = "/api/2.0/mlflow/users/current"
"""What nginx asks to learn whether a login is right."""
PASSWORDS = {"anna": "annas-own-password-7", "bert": "berts-own-password-8", "müller": "umlaut-pässword-9"}


@dataclass
class Heard:
    """One request as it reached the listener behind nginx."""

    method: str
    path: str
    headers: dict[str, str]


class Listener:
    """What stands behind nginx: it knows a few passwords, says what it hears, and can be told to wait."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.heard: list[Heard] = []
        self.passwords = dict(PASSWORDS)
        self.first_bytes = threading.Event()
        self.go_on = threading.Event()
        self.awake = threading.Event()
        self.awake.set()
        self.body: bytes | None = None
        self.answering = False
        self.start()

    def start(self) -> None:
        """Open the port."""
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                listener.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 200

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.answering = True

    def stop(self) -> None:
        """Close the port."""
        if self.answering:
            self.server.shutdown()
            self.server.server_close()
            self.answering = False

    def asked(self, path: str) -> list[Heard]:
        """Every request for this path, without its query."""
        return [one for one in self.heard if one.path.partition("?")[0] == path]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Write down what came and answer it."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append(Heard(request.command, request.path, headers))
        if not self.awake.is_set():
            self.awake.wait(60)
            request.close_connection = True
            return
        if request.path.endswith("/slow-upload"):
            self._take_slowly(request)
            return
        if request.path.endswith("/slow-download"):
            self._give_slowly(request)
            return
        request.rfile.read(int(headers.get("content-length") or 0))
        status = 200 if self._knows(headers.get("authorization", "")) else 401
        body = self.body or json.dumps({"path": request.path, "headers": headers}).encode()
        request.send_response(status)
        if status == 401:
            request.send_header("WWW-Authenticate", 'Basic realm="mlflow"')
        request.send_header("Content-Type", "application/json")
        request.send_header("X-Frame-Options", "DENY")
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "close")
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def _knows(self, authorization: str) -> bool:
        if not authorization.startswith("Basic "):
            return authorization.startswith("AWS4")
        user, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
        return self.passwords.get(user) == password

    def _take_slowly(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers["Content-Length"])
        taken = len(request.rfile.read(1))
        self.first_bytes.set()
        while taken < length:
            taken += len(request.rfile.read(min(65536, length - taken)))
        self._finish(request, str(taken).encode())

    def _give_slowly(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/octet-stream")
        request.send_header("Content-Length", "8")
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(b"first")
        request.wfile.flush()
        self.go_on.wait(30)
        request.wfile.write(b"end")

    def _finish(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(body)


@dataclass
class Nginx:
    """nginx as start.sh runs it, on free ports of this machine."""

    place: Path
    environment: dict[str, str]
    authority: Path
    files: Path = NGINX
    child: subprocess.Popen[bytes] | None = None
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def mlflow(self) -> str:
        """Address of the MLflow door."""
        return f"https://localhost:{self.environment['MLFLOW_PORT']}"

    @property
    def objects(self) -> str:
        """Address of the object store's door."""
        return f"https://localhost:{self.environment['MINIO_PORT']}"

    @property
    def log(self) -> str:
        """All that it has said."""
        return (self.place / "nginx.log").read_text()

    def accesses(self, path: str) -> list[dict[str, Any]]:
        """The lines of its access log about one path."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["path"] == path]

    def start(self, *before: str) -> None:
        """Start it, behind a command such as setpriv, and wait until its own health check is content."""
        with (self.place / "nginx.log").open("ab") as log:
            command = [*before, "sh", str(self.files / "start.sh")]
            self.child = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        limit = time.monotonic() + 30
        while (sick := self.health()).returncode and time.monotonic() < limit and self.child.poll() is None:
            time.sleep(0.05)
        if sick.returncode:
            self.stop()
            pytest.fail(f"nginx did not start:\n{sick.stderr}\n{self.log}")

    def stop(self) -> None:
        """End it."""
        for client in self.clients:
            client.close()
        if self.child and self.child.poll() is None:
            self.child.terminate()
            self.child.wait(20)

    def health(self) -> subprocess.CompletedProcess[str]:
        """Run its health check."""
        return subprocess.run(
            ["sh", str(self.files / "health.sh")], env=self.environment, capture_output=True, text=True, check=False
        )

    def check(self, *before: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        """Only render and test the configuration, with some variables changed or (None) taken away."""
        changed = {**self.environment, **changes}
        environment = {name: value for name, value in changed.items() if value is not None}
        command = [*before, "sh", str(self.files / "start.sh"), "--test"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def say(self, text: str, door: str = "MLFLOW_PORT") -> ssl.SSLSocket:
        """Send these very bytes to a door, as no well-behaved client would, and leave the connection open."""
        context = ssl.create_default_context(cafile=str(self.authority))
        plain = socket.create_connection(("127.0.0.1", int(self.environment[door])), timeout=60)
        connection = context.wrap_socket(plain, server_hostname="localhost")
        # nginx may hang up before the end: its answer can be read all the same.
        with suppress(OSError):
            connection.sendall(text.encode())
        return connection

    def client(self, user: str | None = "anna", source: str = "127.0.0.1", **options: Any) -> httpx.Client:
        """Make a client that trusts the authority, logs in as `user`, and comes from the address `source`."""
        auth = (user, PASSWORDS[user]) if user else None
        verify = ssl.create_default_context(cafile=str(self.authority))
        transport = httpx.HTTPTransport(verify=verify, local_address=source)
        options = {"auth": auth, "base_url": self.mlflow, "timeout": 60.0, **options}
        self.clients.append(httpx.Client(transport=transport, trust_env=False, **options))
        return self.clients[-1]


def prepare(place: Path, mlflow: int, objects: int) -> Nginx:
    """Make all that nginx needs in `place`, with the two listeners' ports behind it."""
    for program in ("nginx", "envsubst", "curl"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"):
            missing(program, "apt install nginx gettext-base curl")
    authority = Authority(place)
    authority.issue(place, "localhost")
    # nginx opens them later than a listener would: none that the system hands out to others meanwhile.
    door = quiet_port()
    store = quiet_port([door])
    environment = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "SERVER_NAME": "localhost",
        "MLFLOW_PORT": str(door),
        "MINIO_PORT": str(store),
        "MLFLOW_LISTEN": f"127.0.0.1:{door}",
        "MINIO_LISTEN": f"127.0.0.1:{store}",
        "MLFLOW_UPSTREAM": f"127.0.0.1:{mlflow}",
        "MINIO_UPSTREAM": f"127.0.0.1:{objects}",
        "NGINX_WORK": str(place / "work"),
        "TLS_CERTIFICATE": str(place / "server-localhost-9.pem"),
        "TLS_KEY": str(place / "server-localhost-9.pem"),
    }
    return Nginx(place, environment, authority.pem)


@dataclass
class Doors:
    """nginx, with what stands behind its two doors."""

    nginx: Nginx
    mlflow: Listener
    objects: Listener


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A running nginx that the tests of a module share."""
    mlflow, objects = Listener(), Listener()
    nginx = prepare(tmp_path_factory.mktemp("nginx"), mlflow.port, objects.port)
    try:
        nginx.start()
        yield Doors(nginx, mlflow, objects)
    finally:
        nginx.stop()
        mlflow.stop()
        objects.stop()

"""Small web servers that answer as a test tells them, with certificates of a private authority where it wants TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = tuple[int, dict[str, str], bytes]
Reply = Callable[["Site", BaseHTTPRequestHandler], Answer]


class Site:
    """A real web server on this machine that answers as told and remembers what it was sent."""

    def __init__(self, reply: Reply, tls: ssl.SSLContext | None = None) -> None:
        site = self
        self.heard: list[tuple[str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                site.heard.append((self.path, self.headers.get("Authorization")))
                assert self.headers.get("Origin") is None
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, body = reply(site, self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.uri = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}"
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def secrets(self) -> list[str]:
        """Every Authorization header that it was sent."""
        return [sent for _, sent in self.heard if sent]


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    """Make servers; all are closed at the end of the test."""
    made: list[Site] = []

    def make(reply: Reply, tls: ssl.SSLContext | None = None) -> Site:
        made.append(Site(reply, tls))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def says(status: int, body: object, kind: str = "application/json", **headers: str) -> Reply:
    """Give one answer to everything."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return lambda site, request: (status, {"Content-Type": kind, **headers}, data)


def like_mlflow(site: Site, request: BaseHTTPRequestHandler) -> Answer:
    """Answer as an MLflow server without users and experiments does."""
    if request.path.startswith("/version"):
        return 200, {}, b"3.17.2"
    if "/experiments/search" in request.path:
        return 200, {}, b'{"experiments": []}'
    return 404, {"Content-Type": "text/html"}, b"<h1>Not Found</h1>"


class Authority:
    """A private certificate authority, as hospitals run them."""

    def __init__(self, folder: Path, name: str = "Clinic CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._build(self.name, self.key.public_key(), ca=True)
        self.pem = folder / "ca.pem"
        self.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _build(self, name: x509.Name, public: ec.EllipticCurvePublicKey, ca: bool, days: int = 9, host: str = ""):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=20))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, folder: Path, host: str = "127.0.0.1", days: int = 9) -> ssl.SSLContext:
        """Give what a server for `host` needs; its certificate ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        pem = folder / f"server-{host}-{days}.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self._build(name, key.public_key(), ca=False, days=days, host=host).public_bytes(
                serialization.Encoding.PEM
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority whose certificate lies in the test's folder as ca.pem."""
    return Authority(tmp_path)

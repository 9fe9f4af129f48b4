"""``./mlops-server init`` and ``certificate``: what an operator has after the first command on a bare machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.production_stack import ROOT, SERVER, ProductionStack
from tests.stack.engine.places import quiet_port

SECRETS = (
    "MYSQL_PASSWORD",
    "MYSQL_ROOT_PASSWORD",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ACCESS_KEY",
    "MINIO_SECRET_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_SECRET_KEY",
)
NO_ENGINE = {"MLOPS_SERVER_COMPOSE": "true"}
"""An engine in which nothing runs."""


@pytest.fixture
def server(tmp_path: Path) -> ProductionStack:
    """The folder as it was copied to the machine."""
    folder = tmp_path / "mlflow_server"
    shutil.copytree(SERVER, folder, ignore=shutil.ignore_patterns(".env", "tls", "data", "backups", "__pycache__"))
    return ProductionStack(folder)


def test_init_writes_strong_secrets_that_only_the_operator_reads(server: ProductionStack) -> None:
    answer = server.operate("init", "--name", "MLflow.Hospital.example.")

    assert answer.returncode == 0, answer.stderr
    env = server.env
    assert env["SERVER_NAME"] == "mlflow.hospital.example"
    assert not [name for name, value in env.items() if value.startswith("change-me")]
    assert all(env[name].isalnum() and len(env[name]) >= 20 for name in SECRETS)
    assert len({env[name] for name in SECRETS}) == len(SECRETS)
    assert int(env["MLOPS_UID"]) == (os.getuid() or 10101)
    assert (server.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert set(env) == set(ProductionStack(_example(server)).env), "every setting is in it, and nothing else"
    assert not [secret for secret in map(env.get, SECRETS) if secret in answer.stdout + answer.stderr]
    assert {folder.name: folder.stat().st_uid for folder in (server.folder / "data").iterdir()} == {
        "db": int(env["MLOPS_UID"]),
        "db-tmp": int(env["MLOPS_UID"]),
        "objects": int(env["MLOPS_UID"]),
        "scratch": int(env["MLOPS_UID"]),
    }
    # The folder is mounted into containers of another user: nothing is left lying in it.
    assert not [*server.folder.rglob("__pycache__")]


def test_a_second_init_changes_nothing(server: ProductionStack) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    before = {path: path.read_bytes() for path in server.folder.rglob("*") if path.is_file()}

    answer = server.operate("init", "--name", "other.example")

    assert answer.returncode == 0
    assert "SERVER_NAME in .env stays localhost; to change it, write other.example there, delete tls/" in answer.stdout
    assert {path: path.read_bytes() for path in server.folder.rglob("*") if path.is_file()} == before


def test_init_fills_in_what_is_missing_and_leaves_the_rest(server: ProductionStack) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    server.set(MYSQL_PASSWORD="the-hospitals-own-1", MINIO_SECRET_KEY="change-me-secret-key", MINIO_ROOT_PASSWORD="")
    server.unset("MLFLOW_SECRET_KEY")
    before = server.env

    answer = server.operate("init")

    after = server.env
    assert "Added to .env: MINIO_ROOT_PASSWORD, MINIO_SECRET_KEY, MLFLOW_SECRET_KEY." in answer.stdout
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"MINIO_SECRET_KEY", "MINIO_ROOT_PASSWORD", "MLFLOW_SECRET_KEY"}
    assert server.operate("check", "--json").stdout.count("example") == 0


def test_init_invents_no_password_for_a_database_that_knows_another(server: ProductionStack) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    (server.folder / "data" / "db" / "ibdata1").write_text("a database")
    (server.folder / ".env").unlink()

    answer = server.operate("init", "--name", "localhost")

    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "data/db holds a database already" in answer.stderr
    assert not (server.folder / ".env").exists()


def test_the_name_is_asked_for_and_checked(server: ProductionStack) -> None:
    assert "--name NAME" in server.operate("init").stderr
    for wrong in ("https://mlflow.example", "mlflow.example:85", "under_score", "-x.example", "1.2.3", "", "a b"):
        answer = server.operate("init", f"--name={wrong}")
        assert (answer.returncode, answer.stderr.count("\n")) == (1, 1), wrong
        assert "neither a host name nor an IPv4 address" in answer.stderr
    assert not (server.folder / ".env").exists()


@pytest.mark.parametrize("name", ["mlflow.hospital.example", "10.20.30.40"])
def test_a_client_that_trusts_the_authority_accepts_the_certificate(server: ProductionStack, name: str) -> None:
    server.operate("init", "--name", name).check_returncode()
    tls = server.folder / "tls"

    assert _handshake(tls, name) is None
    assert "match" in str(_handshake(tls, "other.example"))
    system = ssl.create_default_context()
    assert "verif" in str(_handshake(tls, name, system))
    modes = {file.name: file.stat().st_mode & 0o777 for file in tls.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "server.crt": 0o644, "server.key": 0o600}
    shown = json.loads(server.operate("certificate", "--json").stdout)
    assert shown["names"] == [name]
    assert 395 <= shown["days_left"] <= 397


def test_a_stolen_authority_cannot_vouch_for_another_site(server: ProductionStack) -> None:
    server.operate("init", "--name", "mlflow.hospital.example").check_returncode()
    server.set(SERVER_NAME="bank.example")
    before = (server.folder / "tls" / "server.crt").read_bytes()

    answer = server.operate("certificate", "--renew")

    assert answer.returncode == 1
    assert "may not vouch for bank.example" in answer.stderr
    assert (server.folder / "tls" / "server.crt").read_bytes() == before


def test_a_new_name_has_one_advice_and_it_works(server: ProductionStack) -> None:
    server.operate("init", "--name", "mlflow.hospital.example").check_returncode()
    server.set(SERVER_NAME="mlflow.clinic.example")
    _take_free_ports(server)

    for verb in (["init"], ["check"], ["certificate", "--renew"]):
        answer = server.operate(*verb, environment=NO_ENGINE)
        assert (answer.returncode, answer.stderr.count("\n")) == (1, 1), answer.stderr
        advice = "delete tls/, run ./mlops-server init, and give every researcher the new tls/ca.crt."
        assert answer.stderr.endswith(f": {advice}\n")
        assert "Next: " not in answer.stdout

    shutil.rmtree(server.folder / "tls")
    answer = server.operate("init")
    assert answer.returncode == 0, answer.stderr
    assert _handshake(server.folder / "tls", "mlflow.clinic.example") is None


def test_renewing_makes_a_new_certificate_that_the_same_clients_accept(server: ProductionStack) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    tls = server.folder / "tls"
    before = {file.name: file.read_bytes() for file in tls.iterdir()}

    answer = server.operate("certificate", "--renew")

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("Renewed: ")
    changed = {file.name for file in tls.iterdir() if file.read_bytes() != before.get(file.name)}
    assert changed == {"server.crt", "server.key"}
    assert _handshake(tls, "localhost") is None
    assert json.loads(server.operate("certificate", "--json").stdout)["own"] is True


def test_the_hospitals_own_certificate_stays(server: ProductionStack) -> None:
    tls = server.folder / "tls"
    tls.mkdir()
    self_signed(tls, "localhost", days=90)
    before = {file.name: file.read_bytes() for file in tls.iterdir()}

    answer = server.operate("init", "--name", "localhost")

    assert "tls/server.crt is as it was" in answer.stdout
    # Nobody trusts it without the root, so this is not the moment to start.
    assert "root, which researchers get, in tls/ca.crt" in answer.stderr
    assert "Next: " not in answer.stdout
    assert {file.name: file.read_bytes() for file in tls.iterdir()} == before
    assert "order a new one from who issued it" in server.operate("certificate", "--renew").stderr
    assert {file.name: file.read_bytes() for file in tls.iterdir()} == before


@pytest.mark.parametrize("left", ["of the server's own authority", "of the hospital's"])
def test_renewing_never_replaces_what_another_authority_issued(server: ProductionStack, left: str) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    tls = server.folder / "tls"
    own = (tls / "ca.crt").read_bytes()
    hospitals(tls, "localhost", days=20)
    if "own" in left:
        (tls / "ca.crt").write_bytes(own)
    before = {file.name: file.read_bytes() for file in tls.iterdir()}

    answer = server.operate("certificate", "--renew")

    assert answer.returncode == 1
    assert answer.stderr == (
        "tls/server.crt is not from this server's own authority: order a new one from who issued it and put it there.\n"
    )
    assert {file.name: file.read_bytes() for file in tls.iterdir()} == before
    shown = server.operate("certificate")
    assert shown.returncode == 0
    assert "Hospital Issuing" in shown.stdout


def test_renewing_never_replaces_a_key_that_belongs_to_another_order(server: ProductionStack, tmp_path: Path) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    tls = server.folder / "tls"
    self_signed(tmp_path, "localhost", days=90)
    # The hospital's key is here already, its certificate not yet.
    shutil.copyfile(tmp_path / "server.key", tls / "server.key")

    answer = server.operate("certificate", "--renew")

    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert "tls/server.key is not the key of the first certificate" in answer.stderr
    assert (tls / "server.key").read_bytes() == (tmp_path / "server.key").read_bytes()


def test_a_certificate_or_key_that_nginx_could_not_read_is_named_with_the_way_out(server: ProductionStack) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    _take_free_ports(server)
    tls = server.folder / "tls"
    pem, key = (tls / "server.crt").read_bytes(), (tls / "server.key").read_bytes()
    owner = (tls / "server.key").stat()

    def complaint() -> str:
        answer = server.operate("check", environment=NO_ENGINE)
        assert (answer.returncode, answer.stderr.count("\n")) == (1, 1), answer.stderr
        return answer.stderr

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=server.folder, check=True, capture_output=True)

    def follow(said: str) -> None:
        subprocess.run(["sh", "-c", said.partition(": run ")[2]], cwd=server.folder, check=True, capture_output=True)

    openssl("x509 -in tls/server.crt -outform DER -out tls/der")
    (tls / "der").replace(tls / "server.crt")
    said = complaint()
    assert said.startswith("tls/server.crt is in DER form, and PEM is needed: run openssl x509")
    follow(said)
    assert (tls / "server.crt").read_bytes() == pem

    openssl("pkey -in tls/server.key -aes256 -passout pass:secret -out tls/locked")
    (tls / "server.key").write_bytes((tls / "locked").read_bytes())
    said = complaint()
    assert said.startswith("tls/server.key has a passphrase, and nobody is there to type it: run openssl pkey")
    follow(said.replace("openssl pkey", "openssl pkey -passin pass:secret"))
    os.chown(tls / "server.key", owner.st_uid, owner.st_gid)
    assert (tls / "server.key").read_bytes() == key
    assert server.operate("check", environment=NO_ENGINE).returncode == 0

    (tls / "server.key").unlink()
    (tls / "server.key").mkdir()
    assert "tls/server.key is a folder" in complaint()
    (tls / "server.key").rmdir()
    (tls / "server.key").write_bytes(b"\x30\x82")
    assert "tls/server.key is no key in PEM form" in complaint()
    (tls / "server.key").write_bytes(key)
    (tls / "ca.crt").write_bytes(b"\x30\x82")
    assert "tls/ca.crt is in DER form" in complaint()


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_the_command_runs_on_the_pythons_that_hospitals_have(server: ProductionStack, version: str) -> None:
    # Where that Python is not here, at least its grammar is checked.
    for file in [server.folder / "mlops-server", *(server.folder / "operate").glob("*.py")]:
        words = f"import ast; ast.parse(open({str(file)!r}).read(), feature_version=(3, {version.split('.')[1]}))"
        subprocess.run([sys.executable, "-c", words], check=True)
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-V"], capture_output=True).returncode:
        return
    command = [python, "-I", str(server.folder / "mlops-server"), "init", "--name", "localhost"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=server.folder)
    assert answer.returncode == 0, answer.stderr


def test_the_command_needs_the_standard_library_only() -> None:
    command = [sys.executable, "-I", "-S", str(SERVER / "mlops-server"), "--help"]

    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    assert answer.returncode == 0, answer.stderr
    assert "backup" in answer.stdout


def _example(server: ProductionStack) -> Path:
    folder = server.folder / "example"
    folder.mkdir()
    shutil.copyfile(server.folder / ".env.example", folder / ".env")
    return folder


def _take_free_ports(server: ProductionStack) -> None:
    server.set(BIND_ADDRESS="127.0.0.1", MLFLOW_PORT=str(quiet_port()), MINIO_PORT=str(quiet_port()))


def self_signed(tls: Path, name: str, days: int) -> None:
    """Make a certificate that no authority signed, as a hospital's own looks to the command."""
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name}"
    files = ["-keyout", str(tls / "server.key"), "-out", str(tls / "server.crt")]
    extension = ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(["openssl", *words.split(), *files, *extension], check=True, capture_output=True)


def hospitals(tls: Path, name: str, days: int) -> str:
    """Put a certificate of a hospital there: server.crt with its chain, server.key, and the root as ca.crt.

    Returns the chain without the server's own certificate.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "extensions").write_text(
            f"[ca]\nbasicConstraints=critical,CA:TRUE\n[server]\nsubjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\n"
        )
        parent = None
        for one, common_name, kind, lasts in (
            ("root", "Hospital Root", "ca", 3650),
            ("middle", "Hospital Issuing", "ca", 1000),
            ("server", name, "server", days),
        ):
            key, request, made = (scratch / f"{one}.{suffix}" for suffix in ("key", "csr", "crt"))
            words = [
                "req",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                f"/CN={common_name}",
                "-keyout",
                key,
                "-out",
                request,
            ]
            subprocess.run(["openssl", *words], check=True, capture_output=True)
            signer = (
                ["-CA", f"{parent}.crt", "-CAkey", f"{parent}.key", "-CAcreateserial"] if parent else ["-signkey", key]
            )
            words = ["x509", "-req", "-in", request, "-days", str(lasts), *signer, "-out", made]
            extensions = ["-extfile", scratch / "extensions", "-extensions", kind]
            subprocess.run(["openssl", *words, *extensions], check=True, capture_output=True)
            parent = scratch / one
        chain = (scratch / "middle.crt").read_text()
        (tls / "server.crt").write_text((scratch / "server.crt").read_text() + chain)
        (tls / "server.key").write_bytes((scratch / "server.key").read_bytes())
        (tls / "ca.crt").write_bytes((scratch / "root.crt").read_bytes())
    return chain


def _handshake(tls: Path, name: str, trusting: ssl.SSLContext | None = None) -> ssl.SSLError | None:
    """Let a real client and a real server shake hands; give why the client refuses, or None."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(tls / "server.crt", tls / "server.key")
    trusting = trusting or ssl.create_default_context(cafile=str(tls / "ca.crt"))
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            serving.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError):
            there.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        trusting.wrap_socket(here, server_hostname=name).close()
        return None
    except ssl.SSLError as error:
        return error
    finally:
        here.close()
        server.join()

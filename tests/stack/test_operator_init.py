"""``./mlops-server init`` and ``certificate``: what an operator has after the first command on a bare machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.production_stack import ROOT, SERVER, ProductionStack

SECRETS = (
    "MYSQL_PASSWORD",
    "MYSQL_ROOT_PASSWORD",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ACCESS_KEY",
    "MINIO_SECRET_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_SECRET_KEY",
)


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
    assert "SERVER_NAME in .env stays localhost" in answer.stdout
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


def test_renewing_makes_a_new_certificate_that_the_same_clients_accept(server: ProductionStack) -> None:
    server.operate("init", "--name", "localhost").check_returncode()
    tls = server.folder / "tls"
    before = {file.name: file.read_bytes() for file in tls.iterdir()}

    answer = server.operate("certificate", "--renew")

    assert answer.returncode == 0, answer.stderr
    changed = {file.name for file in tls.iterdir() if file.read_bytes() != before.get(file.name)}
    assert changed == {"server.crt", "server.key"}
    assert _handshake(tls, "localhost") is None


def test_the_hospitals_own_certificate_stays(server: ProductionStack) -> None:
    tls = server.folder / "tls"
    tls.mkdir()
    self_signed(tls, "localhost", days=90)
    before = {file.name: file.read_bytes() for file in tls.iterdir()}

    answer = server.operate("init", "--name", "localhost")

    assert "tls/server.crt is as it was" in answer.stdout
    assert {file.name: file.read_bytes() for file in tls.iterdir()} == before
    assert "signed" in server.operate("certificate", "--renew").stderr


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


def self_signed(tls: Path, name: str, days: int) -> None:
    """Make a certificate that no authority signed, as a hospital's own looks to the command."""
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name}"
    files = ["-keyout", str(tls / "server.key"), "-out", str(tls / "server.crt")]
    extension = ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(["openssl", *words.split(), *files, *extension], check=True, capture_output=True)


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

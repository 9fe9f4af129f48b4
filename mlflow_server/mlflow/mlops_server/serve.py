"""Starts MLflow as this server wants it: accounts on, jobs and gateway off, exact hosts, artifacts by proxy."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from . import bucket, database, schema
from .settings import Database, ObjectStore, Refusal, Web

_FORGET = ("MLFLOW_", "MYSQL_", "MINIO_", "AWS_", "MLOPS_")
"""Variables that MLflow gets from here only, or not at all."""
_MODEL_SOURCES = r"\A((mlflow-artifacts|models|runs):/(?!/)|(dummy-source|prompt-template)\Z)"
"""What a model version may be made from: what this server keeps, and what MLflow writes there for a prompt."""


def serve(db: Database, store: ObjectStore, web: Web, host: str, port: int) -> NoReturn:
    """Become MLflow's server; comes back only to refuse.

    Parameters
    ----------
    db, store, web
        Where runs and artifacts are kept, and under which name people reach the server.
    host, port
        Where to listen.

    Raises
    ------
    Refusal
        If the database's schema is not exactly the one of this MLflow, which would upgrade it without a backup.
    """
    engine = database.connect(db)
    state = schema.status(engine).state
    engine.dispose()
    if state != "current":
        raise Refusal(schema.REASONS[state])
    ready = environment(os.environ, db, store, web)
    os.environ.clear()
    os.environ.update(ready)
    _become_mlflow(host, port, web.workers)


def _become_mlflow(host: str, port: int, workers: int) -> NoReturn:
    """Let MLflow's own command prepare everything, then take the server's place instead of waiting for it.

    MLflow starts its server as a child and waits: 270 MB for nothing, and an exit code of 0 however the child ended.
    """
    import mlflow.server
    from mlflow.cli import cli

    def become(command: list[str], extra_env: Mapping[str, str], **_: object) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(command[0], command, {**os.environ, **extra_env})

    mlflow.server._exec_cmd = become  # type: ignore[attr-defined,assignment]
    # An upload that is under way when the server is stopped has eight of the ten seconds to end.
    uvicorn = "--no-server-header --timeout-graceful-shutdown 8"
    arguments = ["server", "--app-name", "basic-auth", "--serve-artifacts", "--host", host, "--port", str(port)]
    cli.main([*arguments, "--workers", str(workers), "--uvicorn-opts", uvicorn], standalone_mode=False)
    raise Refusal("MLflow ended before it served anything; the lines above say why.")


def environment(env: Mapping[str, str], db: Database, store: ObjectStore, web: Web) -> dict[str, str]:
    """Give MLflow's variables. Secrets travel here or in a private file, never on the command line."""
    kept = {name: value for name, value in env.items() if not name.startswith(_FORGET)}
    return {
        **kept,
        "TMPDIR": str(_scratch(env)),
        "MLFLOW_BACKEND_STORE_URI": db.serving_uri,
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{store.bucket}",
        "MLFLOW_S3_ENDPOINT_URL": store.url,
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path",
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_DEFAULT_REGION": bucket.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "MLFLOW_AUTH_CONFIG_PATH": str(_accounts_file(db)),
        # They count at the very first start only, when there is no such account yet.
        "MLFLOW_AUTH_ADMIN_USERNAME": web.admin_user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": web.admin_password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": web.secret_key,
        # An address for which MLflow knows no permission is closed.
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": _MODEL_SOURCES,
        "MLFLOW_SERVER_ALLOWED_HOSTS": web.host,
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": web.origin,
        # MLflow asks each connection whether it still lives; this one drops those that a firewall forgot.
        "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE": "1800",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PYTHONWARNINGS": "ignore",
    }


def _accounts_file(db: Database) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mlops-server-"))
    file = folder / "basic_auth.ini"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(
            "[mlflow]\n"
            "default_permission = NO_PERMISSIONS\n"
            f"database_uri = {db.serving_uri.replace('%', '%%')}\n"
            "authorization_function = mlops_server.authorization:authenticate\n"
            # Without it every request pays for a slow password hash.
            "auth_cache_ttl_seconds = 60\n"
        )
    return file


def _scratch(env: Mapping[str, str]) -> Path:
    """Where MLflow keeps an artifact while it passes through: a folder on disk, for /tmp is memory in the container."""
    if "MLFLOW_SCRATCH" not in env:
        return Path(tempfile.gettempdir())
    folder = Path(env["MLFLOW_SCRATCH"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A server that was killed leaves half an artifact here.
        for left in folder.glob("tmp*"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Refusal(f"The folder {folder} for passing artifacts cannot be used: {error.strerror}.") from error
    return folder

"""Moving a run's files: through the tracking server where it proxies them, else through MLflow's own client."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx

from mlops_lab.connection.errors import ConnectionProblem, Refused, Unreachable
from mlops_lab.connection.session import origin
from mlops_lab.connection.transport import check_status, explain_failure, read_answer

if TYPE_CHECKING:
    from mlops_lab.connection.rest import TrackingServer

_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_CHUNK = 1 << 20
# The server answers an upload only after it has passed everything on to its store.
_UPLOAD_PATIENCE = 300.0


def upload(server: TrackingServer, root: str, local: Path, artifact_path: str = "") -> str:
    """Upload `local` (file or folder) into the folder `artifact_path` below the artifact URI `root`."""
    if not local.exists():
        raise Refused(f"There is no file {local} to upload.", "Check the path.", status=404)
    folder = _inside(artifact_path)
    base = _proxied(server, root)
    if base is None:
        _through_mlflow(server, root, local, folder)
        return _join(folder, local.name) if local.is_file() else folder
    if local.is_file():
        target = _join(folder, local.name)
        _put(server, base, local, target)
        return target
    for path in sorted(local.rglob("*")):
        if path.is_file():
            _put(server, base, path, _join(folder, path.relative_to(local).as_posix()))
    return folder


def download(server: TrackingServer, root: str, artifact_path: str, local: Path) -> Path:
    """Download the file `artifact_path` below `root` to `local`; a file that breaks off leaves nothing behind."""
    inside = _inside(artifact_path)
    target = local / inside.rpartition("/")[2] if local.is_dir() else local
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    base = _proxied(server, root)
    try:
        if base is None:
            with tempfile.TemporaryDirectory(dir=target.parent) as room:
                os.replace(_fetch_through_mlflow(server, root, inside, Path(room)), draft)
        else:
            _get(server, f"{base}/{quote(inside)}", draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _put(server: TrackingServer, base: str, local: Path, target: str) -> None:
    if "#" in target:
        raise Refused(f"MLflow takes no file name with '#', such as '{target}'.", "Rename it and upload it again.")
    with local.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        response = server.raw(
            "PUT",
            f"{base}/{quote(target)}",
            content=_chunks(file, size),
            # With the length said, httpx does not fall back to chunked transfer, which proxies like to buffer.
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            timeout=_UPLOAD_PATIENCE,
        )
    check_status(response, server.uri)
    if response.content:  # MLflow says nothing; a sign-in page of the network answers 200 too, and has stored nothing
        read_answer(response, server.uri)


def _chunks(file: object, size: int) -> Iterator[bytes]:
    # A file that is still being written is sent as it was when we looked: exactly the length that we announced.
    read = file.read  # type: ignore[attr-defined]
    while size > 0:
        block: bytes = read(min(_CHUNK, size))
        if not block:
            raise Refused("The file became shorter while it was uploaded.", "Upload it again when it is complete.")
        size -= len(block)
        yield block


def _get(server: TrackingServer, path: str, draft: Path) -> None:
    try:
        with server.client().stream("GET", server.url(path), headers=server.headers) as response:
            if not response.is_success:
                response.read()
                check_status(response, server.uri)
            announced = response.headers.get("content-length")
            with draft.open("xb") as file:
                for block in response.iter_raw(_CHUNK) if announced else response.iter_bytes(_CHUNK):
                    file.write(block)
            if announced and draft.stat().st_size != int(announced):
                raise Unreachable("The download broke off.", "Try again.")
    except httpx.RequestError as error:
        raise explain_failure(error, server.uri) from error


def _proxied(server: TrackingServer, root: str) -> str | None:
    """Give the path on the tracking server under which `root` is reached, or None where it does not proxy it."""
    parts = urlsplit(root)
    if parts.scheme == "mlflow-artifacts":
        if parts.netloc and parts.netloc.lower() != urlsplit(server.uri).netloc:
            return None
        return f"{_PROXY}/{quote(parts.path.strip('/'))}".rstrip("/")
    if parts.scheme in ("http", "https") and origin(root) == origin(server.uri):
        prefix = urlsplit(server.uri).path
        if parts.path.startswith(prefix + _PROXY):
            return parts.path.removeprefix(prefix).rstrip("/")
    return None


def _through_mlflow(server: TrackingServer, root: str, local: Path, folder: str) -> None:
    try:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        store: Any = get_artifact_repository(root, tracking_uri=server.uri)
        if local.is_dir():
            store.log_artifacts(str(local), folder or None)
        else:
            store.log_artifact(str(local), folder or None)
    except Exception as error:
        raise _store_problem(root, error) from error


def _fetch_through_mlflow(server: TrackingServer, root: str, inside: str, room: Path) -> str:
    try:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        store: Any = get_artifact_repository(root, tracking_uri=server.uri)
        return str(store.download_artifacts(inside, str(room)))
    except Exception as error:
        raise _store_problem(root, error) from error


def _store_problem(root: str, error: Exception) -> ConnectionProblem:
    scheme = urlsplit(root).scheme or "file"
    if isinstance(error, ModuleNotFoundError):
        return Refused(
            f"Files of this run lie in a store of kind '{scheme}', which needs the package '{error.name}'.",
            f"Install it: pip install {error.name}",
        )
    detail = " ".join(str(error).split())[:300]
    return Unreachable(
        f"The artifact store of this run ({scheme}:) did not take or give the file: {detail}",
        "Check the access keys of the store, or ask the server's administrator for proxied artifacts.",
    )


def _inside(path: str) -> str:
    clean = path.strip("/")
    if any(part in ("..", ".") for part in clean.split("/")):
        raise Refused(f"The artifact path '{path}' leaves the run's folder.", "Use a path without '..'.")
    return clean


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name

"""Missing objects are fetched by DVC itself, in a child process that can be killed and a project of its own.

The private project shares nothing with the user's but the cache directory and the remotes, so neither the working tree
nor DVC's lock is touched, and a fetch runs while another DVC command holds that lock.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from ..home import home, private_folder
from . import dvc_config, git
from .definitions import Output
from .errors import CorruptObject, FetchFailed, NoDvc
from .objects import File, ObjectStore, presence
from .verifying import Report, corrupt_remote

_LOOK_EVERY = 0.5
_ABANDONED_AFTER = 7 * 24 * 3600
_CREDENTIALS = re.compile(r"(\w+://)[^/@\s]+@")


def fetch(
    top: Path,
    root: Path,
    store: ObjectStore,
    output: Output,
    commit: str,
    missing: list[File],
    report: Report | None = None,
) -> None:
    """Ask DVC for the objects of `output` that the cache lacks; what is there already is not fetched again.

    Parameters
    ----------
    top, root
        Tops of the git repository and of the DVC project in it.
    commit
        A commit that holds `output`; the source of an imported dataset is read from it.
    missing
        The files to wait for, for progress only; empty when even the folder's list of files is missing.

    Raises
    ------
    NoDvc
        When this Python has no dvc.
    CorruptObject
        When the remote's list of files cannot be read.
    FetchFailed
        When DVC reports an error. What came before stays in the cache, so the next try goes on from there.
    """
    if find_spec("dvc") is None:
        raise NoDvc(
            f"{output.path} must be fetched from its remote, and DVC is not installed in this Python environment.",
            "Install it: pip install dvc, with the extra for your remote, e.g. dvc[s3].",
        )
    definition = _definition(top, root, output, commit)
    if not (output.remote or "deps" in definition or dvc_config.read(root).get("core", {}).get("remote")):
        raise FetchFailed(
            f"{output.path} is not complete in the cache, and this project has no DVC remote to fetch it from.",
            "Add the remote (dvc remote add -d NAME URL), or ask the author of this version to share its cache.",
        )
    with _private_project(root, store, definition) as project:
        complaint = project / "complaint"
        with complaint.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "fetch", "data.dvc"],
                cwd=project,
                env=_environment(project),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                # Its own group: an interrupt of the kernel does not tear it apart, and we can end it with its children.
                start_new_session=True,
            )
        try:
            _watch(process, store, output.legacy, missing, report)
        finally:
            _end(process)
        if process.returncode != 0:
            raise _failure(output, store, complaint.read_text("utf-8", "replace"))


def _watch(
    process: subprocess.Popen[bytes], store: ObjectStore, legacy: bool, missing: list[File], report: Report | None
) -> None:
    waiting = list(missing)
    told = -1
    while True:
        try:
            process.wait(timeout=_LOOK_EVERY)
            return
        except subprocess.TimeoutExpired:
            pass
        if report:
            if waiting:
                waiting = presence(store).missing(waiting, legacy)
            done = len(missing) - len(waiting)
            if done != told:
                told = done
                report(f"Fetching: {done} of {len(missing)} missing files" if missing else "Fetching the list of files")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        try:
            process.wait(timeout=patience)
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def _private_project(root: Path, store: ObjectStore, definition: Mapping[str, Any]) -> Iterator[Path]:
    # In our own folder, not in /tmp: the settings may hold the remote's secrets.
    parent = private_folder(home() / "fetch")
    _sweep(parent)
    project = Path(tempfile.mkdtemp(dir=parent))
    try:
        (project / ".dvc" / "tmp").mkdir(parents=True)
        settings = {name: dict(options) for name, options in dvc_config.read_project(root).items()}
        settings["cache"] = {**settings.get("cache", {}), "dir": str(store.root)}
        settings["core"] = {
            **settings.get("core", {}),
            "no_scm": "true",
            "analytics": "false",
            "check_update": "false",
            "autostage": "false",
        }
        (project / ".dvc" / "config").touch(0o600)
        _write_private(project / ".dvc" / "config.local", _ini(settings))
        (project / "data.dvc").write_bytes(orjson.dumps(definition))
        yield project
    finally:
        shutil.rmtree(project, ignore_errors=True)


def _definition(top: Path, root: Path, output: Output, commit: str) -> dict[str, Any]:
    out: dict[str, Any] = {"md5": output.md5, "path": "data"}
    if not output.legacy:
        out["hash"] = "md5"
    if output.remote:
        out["remote"] = output.remote
    for name in ("size", "nfiles"):
        if getattr(output, name) is not None:
            out[name] = getattr(output, name)
    found: dict[str, Any] = {"outs": [out]}
    if output.stage is None:
        source = _import_source(top, root, output, commit)
        if source:
            found.update(deps=source, frozen=True)
    return found


def _import_source(top: Path, root: Path, output: Output, commit: str) -> list[Any]:
    """Give the ``deps`` of a dataset that was imported from another repository: its bytes are in that one's remote."""
    import yaml

    ids = [blob for blob in git.look_up(top, [f"{commit}:{output.definition}"]) if blob]
    for _, data in git.blobs(top, ids):
        document = yaml.safe_load(data)
        deps = document.get("deps") if isinstance(document, dict) else None
        imported = [d for d in deps or [] if isinstance(d, dict) and isinstance(d.get("repo"), dict)]
        for dep in imported:
            url = str(dep["repo"].get("url", ""))
            if url and ":" not in url and not os.path.isabs(url):
                dep["repo"]["url"] = os.path.abspath(root / url)
        return imported
    return []


def _environment(project: Path) -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_DIR")}
    environment["DVC_NO_ANALYTICS"] = "1"
    # DVC keeps databases per project folder outside of it; ours must vanish with the project.
    environment["DVC_SITE_CACHE_DIR"] = str(project / "site")
    return environment


def _ini(settings: dvc_config.Config) -> str:
    lines: list[str] = []
    for section, options in settings.items():
        lines.append(f"['{section}']" if '"' in section else f"[{section}]")
        lines += [f"    {key} = {_quoted(value)}" for key, value in options.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    if not re.search(r"[#,'\"]|^\s|\s$", value):
        return value
    return f"'{value}'" if "'" not in value else f'"{value}"'


def _write_private(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def _failure(output: Output, store: ObjectStore, complaint: str) -> FetchFailed | CorruptObject:
    if f"{output.md5} is corrupted" in complaint:
        return corrupt_remote("The list of files", store, output.md5, output.legacy)
    lines = [line for line in complaint.splitlines() if line.startswith("ERROR:")] or complaint.splitlines()[-1:]
    reason = _CREDENTIALS.sub(r"\1", lines[-1].removeprefix("ERROR:").strip()) if lines else "no reason given"
    return FetchFailed(
        f"DVC could not fetch {output.path}: {reason.rstrip('.')}.",
        "Check that the remote can be reached and that its author has run dvc push for this version.",
    )


def _sweep(parent: Path) -> None:
    for folder in parent.iterdir():
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)

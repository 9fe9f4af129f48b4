"""``backup``: the database as of one moment, then the bucket, into a folder that is whole or not there.

The database comes first, so that every artifact that it knows of is in the bucket when that is copied. The server goes
on working meanwhile.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from operate import lifecycle, manifest
from operate.engine import Engine, json_line
from operate.errors import Problem
from operate.server import Server

_LAST_LINE = b"-- Dump completed"
_CHUNK = 1 << 20


def make(server: Server, target: Path | None, report: lifecycle.Report) -> manifest.Backup:
    """Make a backup.

    Parameters
    ----------
    server
        The server; its database and object store must run.
    target
        A folder that does not exist yet; one named after the time in ``backups/`` by default. What has not changed
        since the newest backup next to it takes no room again.
    report
        Told what is being done.

    Raises
    ------
    Problem
        When anything at all goes wrong; no folder is left that could be taken for a backup.
    """
    began = time.gmtime()
    folder = (target or server.backups / time.strftime("%Y-%m-%dT%H-%M-%SZ", began)).absolute()
    if folder.name.endswith(manifest.PARTIAL):
        raise Problem(f"Name the folder without {manifest.PARTIAL}: that is how an unfinished backup is called.")
    if os.path.lexists(folder):
        raise Problem(f"{folder} is there already: name a folder that does not exist yet.")
    if ":" in str(folder):
        raise Problem(f"{folder} has a colon in its name, which container engines take for a separator: use another.")
    require_stores(server)
    partial = folder.with_name(folder.name + manifest.PARTIAL)
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a backup left that was killed; in a folder of somebody else's choice only of the same name.
        for left in server.backups.glob(f"*{manifest.PARTIAL}") if folder.parent == server.backups else [partial]:
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(mode=0o700)
        try:
            _fill(server, partial, began, report)
            partial.rename(folder)
            manifest.sync(folder.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise Problem(f"No backup was made: {error.filename or folder}: {error.strerror}.") from None
    return manifest.read(folder)


def require_stores(server: Server) -> None:
    """Refuse unless database and object store run and hold all that they should."""
    server.require_whole()
    server.engine.require()
    states = server.engine.states()
    missing = [name for name in ("db", "objects") if states.get(name) != "running"]
    if missing:
        raise Problem(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not running: run ./mlops-server start"
        )


def describe(server: Server) -> dict[str, Any]:
    """Ask the database for its version, its schema's revisions, and how much is in it."""
    found: dict[str, Any] = json_line(server.engine.inside("db", "sh", "/opt/mlops/db/describe.sh"))
    return found


def _fill(server: Server, partial: Path, began: time.struct_time, report: lifecycle.Report) -> None:
    known = describe(server)
    if None in (known[name] for name in ("core", "auth", "experiments", "runs", "users")):
        raise Problem("No backup was made: the database lacks tables. Put an earlier backup back with restore.")
    report("The database is being saved ...")
    dump_database(server.engine, partial / manifest.DATABASE)
    report("The artifacts are being saved ...")
    previous = manifest.newest(partial.parent)
    summary = _save_objects(server, partial, previous)
    files = {name: manifest.checksum(partial / name) for name in (manifest.DATABASE, manifest.OBJECT_LIST)}
    revisions = {name: known.pop(name) for name in ("core", "auth")}
    version = known.pop("database")
    manifest.write(
        partial,
        {
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", began),
            "server": server.env["SERVER_NAME"],
            "previous": previous.folder.name if previous else None,
            "database": version,
            "images": server.images_of_last_start(),
            "schema": revisions,
            "counts": {**known, **summary},
            "files": files,
        },
    )


def _save_objects(server: Server, partial: Path, previous: manifest.Backup | None) -> dict[str, Any]:
    # One mount for both folders: hard links do not reach from one to another.
    words = ["objects", "save", f"/backup/{partial.name}/{manifest.OBJECTS}", "--json"]
    if previous:
        words += ["--previous", f"/backup/{previous.folder.name}/{manifest.OBJECTS}"]
    answer = server.engine.job(*words, volumes=[f"{partial.parent}:/backup"], user=operator())
    summary = json_line(answer)
    return {
        "objects": summary["objects"],
        "bytes": summary["bytes"],
        "new_objects": summary["copied"],
        "repaired": summary["repaired"],
    }


def operator() -> str:
    """Give the user who runs this command, as whom the jobs touch backup folders."""
    return f"{os.getuid()}:{os.getgid()}"


def dump_database(engine: Engine, file: Path) -> None:
    """Write the whole database into a compressed file.

    Raises
    ------
    Problem
        When the dump breaks off, whatever its exit status says.
    """
    end = b""
    with tempfile.TemporaryFile() as errors:
        process = engine.stream("db", "sh", "/opt/mlops/db/dump.sh", errors=errors)
        assert process.stdout
        try:
            with file.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                while chunk := process.stdout.read(_CHUNK):
                    packed.write(chunk)
                    end = (end + chunk)[-200:]
                packed.close()
                os.fsync(raw.fileno())
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            process.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    if process.returncode:
        raise Problem(f"No backup was made: the database could not be saved: {engine.explain(said)}")
    if _LAST_LINE not in end:
        raise Problem("No backup was made: the database's dump broke off before its end. Try again.")


def load_database(engine: Engine, file: Path) -> None:
    """Replace the whole database by a compressed dump."""
    with tempfile.TemporaryFile() as errors, gzip.open(file, "rb") as packed:
        process = engine.stream("db", "sh", "/opt/mlops/db/load.sh", source=subprocess.PIPE, errors=errors)
        assert process.stdin
        assert process.stdout
        try:
            shutil.copyfileobj(packed, process.stdin, _CHUNK)
            process.stdin.close()
        except BrokenPipeError:
            pass  # what the other side said is in `errors`
        finally:
            process.stdout.close()
            process.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    if process.returncode:
        raise Problem(f"The database could not be loaded: {engine.explain(said)} Mend that and run restore again.")

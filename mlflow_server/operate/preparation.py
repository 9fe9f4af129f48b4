"""``init`` and ``check``: the settings, the certificate and the folders that the server needs before it can start."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from mlops_server import settings

from operate import address, certificate, environment
from operate.errors import Problem
from operate.server import Server, open_server

_WRITTEN = ("db", "db-tmp", "objects", "scratch")
"""Folders below MLOPS_DATA that the server's processes write."""


def initialise(folder: Path, name: str | None) -> list[str]:
    """Write .env, make a private authority and a certificate, make the data folders. What is there stays.

    Parameters
    ----------
    folder
        The server's folder.
    name
        The host name or address under which people reach this machine; asked for when it is needed and missing.

    Returns
    -------
    list of str
        What was done, in sentences.
    """
    clean = address.clean_name(name) if name is not None else None
    filled = environment.fill(folder, clean, _ask_name)
    server = open_server(folder)
    known = address.clean_name(server.env["SERVER_NAME"])
    done = []
    if filled.created:
        done.append("Wrote .env with new secrets, readable by you only.")
    elif filled.changed:
        done.append(f"Added to .env: {', '.join(filled.changed)}. Everything else in it is as it was.")
    else:
        done.append(".env is complete and is as it was.")
    done += _certificates(server, known)
    if clean is not None and clean != known:
        own = certificate.read(server.tls / "server.crt").own
        how = f", {certificate.NEW_NAME}" if own else ", and put a certificate for that name into tls/"
        done.append(f"SERVER_NAME in .env stays {known}; to change it, write {clean} there{how}.")
    make_folders(server)
    hand_over(server)
    return done


def _ask_name() -> str:
    if not sys.stdin.isatty():
        raise Problem("Under which name do people reach this machine? Say it with ./mlops-server init --name NAME")
    return address.clean_name(input("Under which name or IPv4 address do people reach this machine? "))


def _certificates(server: Server, name: str) -> list[str]:
    present = [(server.tls / file).exists() for file in ("server.crt", "server.key")]
    if all(present):
        return [f"tls/server.crt is as it was: {certificate.read(server.tls / 'server.crt').subject}."]
    if any(present):
        raise Problem("Of tls/server.crt and tls/server.key only one is here: put the other back, or delete it.")
    done = []
    if not (server.tls / "ca.crt").exists():
        certificate.make_authority(server.tls, name)
        done.append("Made a private authority: give tls/ca.crt to everybody who uses the server, tls/ca.key to nobody.")
    certificate.make_server_certificate(server.tls, name)
    date = certificate.read(server.tls / "server.crt").date
    return [*done, f"Made the certificate tls/server.crt for {name}, valid until {date}."]


def make_folders(server: Server) -> None:
    """Make the folders of database, objects and passing artifacts; a container engine would give them to root."""
    for folder in (server.data, *(server.data / name for name in _WRITTEN)):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(
                _moved(server)
                or f"The folder {_shown(server, folder)} cannot be made ({error.strerror}): see MLOPS_DATA in .env."
            ) from None


def hand_over(server: Server) -> None:
    """As root: give the data folders and the certificate's key to the user that the server runs as."""
    if os.getuid() != 0 or settings.problems(server.env, settings.OWNER):
        return
    for path in (server.data / name for name in _WRITTEN):
        # A folder of another user, e.g. of the machine that this one was moved from, is full of that user's files.
        if path.exists() and path.stat().st_uid != server.owner[0]:
            for folder, _, files in os.walk(path):
                for one in (folder, *(os.path.join(folder, file) for file in files)):
                    os.chown(one, *server.owner, follow_symlinks=False)
    for path in (server.data, server.tls / "server.crt", server.tls / "server.key"):
        if path.exists():
            os.chown(path, *server.owner)


def problems(server: Server, *, running: bool) -> list[str]:
    """Name everything that would keep the server from starting, one sentence each.

    Parameters
    ----------
    server
        The server.
    running
        Whether it runs, and so holds its ports itself.
    """
    env = server.env
    found = settings.problems(env, (*settings.REQUIRED, *settings.OWNER, *settings.BESIDES))
    found += environment.strange_values(env)
    if (server.folder / ".env").stat().st_mode & 0o007:
        found.append(".env can be read by every user of this machine: run chmod 600 .env")
    moved = _moved(server)
    if moved:
        found.append(moved)
    elif not any(sentence.startswith("SERVER_NAME") for sentence in found):
        found += certificate.problems(server.tls, env["SERVER_NAME"])
    if not moved and not any(sentence.startswith(settings.OWNER) for sentence in found):
        found += _foreign_files(server)
    bind = address.bind_problem(env)
    if bind:
        found.append(bind)
    if not running:
        found += address.taken_ports(env)
    return found


def warnings(server: Server) -> list[str]:
    """Name what is well now and will not be for long."""
    warning = certificate.read(server.tls / "server.crt").warning
    return [warning] if warning else []


def _moved(server: Server) -> str | None:
    """Say what an ordinary user does with the folder of another one: only root could give files to that one."""
    own, group = os.getuid(), os.getgid()
    if own == 0 or settings.problems(server.env, settings.OWNER) or server.owner[0] == own:
        return None
    keys = [server.tls / file for file in ("server.crt", "server.key")]
    locked = [file for file in keys if file.exists() and not os.access(file, os.R_OK)]
    if not locked and not _foreign_files(server):
        return None
    within = [server.data / name for name in _WRITTEN] if os.access(server.data, os.X_OK) else []
    others = [
        shlex.quote(_shown(server, path))
        for path in (server.data, *within, *keys)
        if path.exists() and path.stat().st_uid != own
    ]
    then = f", then run sudo chown -R {own}:{group} {' '.join(others)}" if others else ""
    return (
        f"MLOPS_UID in .env is {server.owner[0]}, and you are user {own}: "
        f"write MLOPS_UID={own} and MLOPS_GID={group} into .env{then}"
    )


def _foreign_files(server: Server) -> list[str]:
    """Name what the server's processes could not read or write; they are neither root nor the operator."""
    uid, gid = server.owner
    found = []
    closed = server.data.exists() and not os.access(server.data, os.X_OK)
    for folder in [server.data] if closed else [server.data / name for name in _WRITTEN]:
        if folder.exists() and folder.stat().st_uid != uid:
            found.append(
                f"{_shown(server, folder)} belongs to user {folder.stat().st_uid}, not to {uid} (MLOPS_UID): "
                f"run sudo chown -R {uid}:{gid} {shlex.quote(_shown(server, folder))}"
            )
    for place, right in (("nginx", 4), ("db", 4), ("tls/server.crt", 4), ("tls/server.key", 4)):
        path = server.folder / place
        for file in [path, *sorted(path.rglob("*"))] if path.exists() else []:
            if not _allows(file, uid, gid, right):
                found.append(
                    f"{_shown(server, file)} cannot be read by user {uid} (MLOPS_UID), as which the server runs: "
                    + ("run chmod -R a+rX nginx db" if place in ("nginx", "db") else f"run sudo chown {uid} {place}")
                )
                break
    return found


def _allows(file: Path, uid: int, gid: int, right: int) -> bool:
    status = file.stat()
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return bool(status.st_mode >> shift & right)


def _shown(server: Server, path: Path) -> str:
    whole = Path(os.path.normpath(path))
    try:
        return str(whole.relative_to(server.folder))
    except ValueError:
        return str(whole)

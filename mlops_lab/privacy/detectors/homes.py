r"""Paths that name a person or a hospital's machine: ``/home/jdoe``, ``C:\Users\jdoe``, ``\\server\share``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model import Hit, Kind
from .reading import Reading, listed

_NAME = r"[^\s/\\:;,*?\"'<>|(){}\[\]&=$`]+"
_ORGANISATION = (
    r"[^\s/\\\"'<>|]{1,60}\.(?:uk|com|org|net|edu|local|lan|int)|staff|students?|domain|ad|local|people|[a-z0-9]"
)
_UNIX = re.compile(rf"/(?:home|homes|users|usr/people)/(?P<name>(?:(?:{_ORGANISATION})/)?{_NAME}(?:\\ {_NAME})*)")
_MORE = re.compile(r"(?: [A-Z][\w'\-]*)+(?=/)")
_ABOVE = re.compile(r"[\w.\-/~]*$")
_PLACES = listed("home homes users people documents")
_TILDE = re.compile(r"(?<![\w~/.\\])~(?P<name>[a-z_][a-z0-9_.\-]{1,31})(?=/)")
_REMOTE = re.compile(
    r"\b(?:smb|cifs|afp|nfs)://[^\s\"'<>|/]{1,100}/[^\s\"'<>|/]{1,100}(?:(?<=[$])/[^\s\"'<>|/]{1,100})?"
)
_AFTER_URL = re.compile(r"([a-z][a-z0-9+.\-]*)://[^\s\"'<>|]*$")
_LOCAL_SCHEMES = frozenset({"file", "sftp", "ssh", "scp", "smb", "nfs", "afp", "cifs", "sshfs", "rsync"})
_DEVICES = re.compile(rf"(?<![\w.\-])(?P<place>(?:/run)?/media/)(?P<name>{_NAME})(?=/)")
_WINDOWS = re.compile(
    r"(?<![a-z0-9])(?:[a-z]:|/mnt/[a-z]|/cygdrive/[a-z]|\\\\[?.]\\[a-z]:)(?P<mark>\\\\|\\|/)(?:users"
    r"|documents and settings|home)"
    r"(?P=mark)(?P<name>[^\\/:*?\"'<>|\r\n\t,;]{1,64}(?=[\\/])|[^\\/:*?\"'<>|\s,;()\[\]]{1,64})"
)
_SHARE = re.compile(
    r"(?<![\w\\.:$)\]}])(?P<two>\\\\\\\\|\\\\)(?P<server>[a-z0-9][a-z0-9._\-]{1,62})(?P<mark>\\\\|\\)"
    r"(?P<share>[a-z0-9][a-z0-9._$\-]{1,62})(?=\\|[\"'\s,;:)\]]|$)"
    r"(?:(?:(?<=users)|(?<=home)|(?<=homes)|(?<=[$]))\\{1,2}[^\\\s\"',;:]{1,64})?"
)
_TEX = listed("midrule hline toprule bottomrule cline cmidrule end begin textbf textit frac hspace vspace")
_NOBODY = listed(
    "jovyan runner user users ubuntu ec2-user docker app vscode coder node mlflow shared public default root conda"
    " linuxbrew lost+found all admin administrator guest jupyter circleci gitpod codespace runneradmin"
    " sagemaker-user vagrant . .. ~ * ... name username me you index.html create get list delete current search"
    " login permissions update-password update-admin"
)


def find(reading: Reading) -> Iterator[Hit]:
    """Find the part of paths that says whose they are; ``/root`` and the users of containers are nobody's."""
    low = reading.low
    for found in _UNIX.finditer(low) if not _PLACES.isdisjoint(reading.vocabulary) else ():
        before = _ABOVE.search(low, max(0, found.start() - 300), found.start())
        above = before[0] if before is not None else ""
        if above[:1] in ("", "/") and _is_person(found["name"]) and "api" not in above:
            start = found.start() - len(above)
            if not _on_the_web(low, start):
                # Only on a Mac do the names of homes have spaces.
                more = _MORE.match(reading.text, found.end()) if "/users/" in found[0] else None
                yield Hit(start, more.end() if more is not None else _end(found), Kind.PATH, "~", 7)
    for found in _TILDE.finditer(low) if "~" in low else ():
        if _is_person(found["name"]):
            yield Hit(*found.span("name"), Kind.PATH, "", 7)
    for found in _REMOTE.finditer(low) if "://" in low else ():
        yield Hit(*found.span(), Kind.PATH, "<path>", 7)
    for found in _DEVICES.finditer(low) if "/media/" in low else ():
        if _is_person(found["name"]):
            yield Hit(*found.span("name"), Kind.PATH, "<user>", 7)
    for found in _WINDOWS.finditer(low) if not _PLACES.isdisjoint(reading.vocabulary) else ():
        if _is_person(found["name"].strip()):
            yield Hit(found.start(), _end(found), Kind.PATH, "~", 7)
    if "\\\\" in low:
        for found in _SHARE.finditer(low):
            if found["server"] not in _TEX and (found["two"] == 2 * found["mark"]):
                yield Hit(*found.span(), Kind.PATH, "<path>", 7)


def _is_person(name: str) -> bool:
    name = name.rstrip(".")
    return name not in _NOBODY and bool(name) and any(letter.isalnum() for letter in name)


def _end(found: re.Match[str]) -> int:
    """Leave a full stop at the end of a sentence where it is."""
    return found.end() - (len(found[0]) - len(found[0].rstrip(".")))


def _on_the_web(low: str, start: int) -> bool:
    scheme = _AFTER_URL.search(low, max(0, start - 200), start + 2)
    return scheme is not None and scheme[1] not in _LOCAL_SCHEMES

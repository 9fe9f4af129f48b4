"""DVC's configuration files, read without DVC: which cache a project uses, and how its remotes are reached."""

from __future__ import annotations

import configparser
import os
import posixpath
import re
from pathlib import Path

from .errors import BadDvcConfig

# The options whose relative values DVC reads as relative to the file that they stand in.
_PATH_OPTIONS = {
    "cache": {"dir"},
    "remote": {
        "url",
        "gdrive_user_credentials_file",
        "gdrive_service_account_json_file_path",
        "credentialpath",
        "configpath",
        "keyfile",
        "cert_path",
        "key_path",
    },
}

Config = dict[str, dict[str, str]]
"""Section (``core``, ``'remote "name"'``) to options; every path in it is absolute."""


def dvc_root(top: Path, definition: str) -> Path:
    """Find the DVC project that the definition file belongs to: the nearest folder above it that has a ``.dvc``."""
    folder = posixpath.dirname(definition)
    while folder:
        if (top / folder / ".dvc").is_dir():
            return top / folder
        folder = posixpath.dirname(folder)
    return top


def cache_dir(root: Path) -> Path:
    """Give the local cache of the DVC project at `root`."""
    configured = read(root).get("cache", {}).get("dir")
    return Path(configured) if configured else root / ".dvc" / "cache"


def check(root: Path) -> None:
    """Make sure that every settings file can be read; listing versions does without one that cannot.

    Raises
    ------
    BadDvcConfig
        Naming the file.
    """
    for file in (*_personal_files(), *project_files(root)):
        try:
            _parsed(file)
        except OSError as error:
            raise _unreadable(file, error.strerror or str(error)) from None
        except (configparser.Error, UnicodeDecodeError) as error:
            raise _unreadable(file, str(error).partition("\n")[0]) from None


def _unreadable(file: Path, why: str) -> BadDvcConfig:
    return BadDvcConfig(
        f"DVC's settings {file} cannot be read: {why.rstrip('.')}.",
        "Correct that file: until then neither the cache nor the remotes of this project are known.",
    )


def read(root: Path) -> Config:
    """Merge system, user, project and local settings in the order in which they override each other."""
    merged: Config = {}
    for file in (*_personal_files(), *project_files(root)):
        for section, options in _read_file(file).items():
            merged.setdefault(section, {}).update(options)
    return merged


def read_project(root: Path) -> Config:
    """Merge only the project's own two files."""
    merged: Config = {}
    for file in project_files(root):
        for section, options in _read_file(file).items():
            merged.setdefault(section, {}).update(options)
    return merged


def project_files(root: Path) -> tuple[Path, Path]:
    """Give the committed settings and the private ones (which may hold secrets)."""
    return root / ".dvc" / "config", root / ".dvc" / "config.local"


def _personal_files() -> tuple[Path, Path]:
    from platformdirs import site_config_dir, user_config_dir

    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or site_config_dir("dvc", "iterative")
    personal = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user_config_dir("dvc", "iterative")
    return Path(system) / "config", Path(personal) / "config"


_files: dict[Path, tuple[tuple[int, int, int], Config]] = {}


def _read_file(file: Path) -> Config:
    try:
        return _parsed(file)
    except (OSError, configparser.Error, UnicodeDecodeError):
        return {}


def _parsed(file: Path) -> Config:
    try:
        now = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
    known = _files.get(file)
    if known and known[0] == stamp:
        return known[1]
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.read_string(file.read_text(encoding="utf-8-sig"), str(file))
    found: Config = {}
    for section in parser.sections():
        name = _unquoted(section).strip().lower() if "remote" not in section else _unquoted(section).strip()
        options = {key: _unquoted(value) for key, value in parser.items(section)}
        for key in _PATH_OPTIONS.get(name.split()[0] if name else "", ()):
            if key in options:
                options[key] = _resolved(file.parent, options[key])
        found[name] = options
    _files[file] = (stamp, found)
    return found


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _resolved(folder: Path, value: str) -> str:
    if re.match(r"\w+://", value):
        return value
    expanded = os.path.expanduser(value)
    return expanded if os.path.isabs(expanded) else os.path.abspath(folder / value)

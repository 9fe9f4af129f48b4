"""`make demo` on a machine that lacks something: one sentence that says what to do, and nothing half made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlops_lab

ROOT = Path(mlops_lab.__file__).parents[1]


def make(target: str, place: Path, *settings: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    place.mkdir(exist_ok=True)
    for name in ("Makefile", "setup.cfg", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, place)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        [shutil.which("make") or "make", target, *settings],
        cwd=place,
        env={**environment, "PATH": path or os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )


def program(place: Path, name: str, script: str) -> Path:
    made = place / name
    made.write_text(f"#!/bin/sh\n{script}\n")
    made.chmod(0o755)
    return made


def check(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert all(word in said for word in words), said
    assert "Traceback" not in said


def test_no_python_is_one_sentence(tmp_path: Path) -> None:
    done = make("demo", tmp_path / "clone", "PYTHON=no-such-python")
    check(done, "There is no 'no-such-python'", "Python 3.11")
    assert not (tmp_path / "clone" / ".venv").exists()


def test_a_python_that_is_too_old_is_one_sentence(tmp_path: Path) -> None:
    old = program(tmp_path, "old", 'if [ "$1" = --version ]; then echo Python 3.9.2; exit 0; fi; exit 1')
    done = make("demo", tmp_path / "clone", f"PYTHON={old}")
    check(done, "Python 3.9.2 is too old", "3.11")
    assert not (tmp_path / "clone" / ".venv").exists()


def test_no_git_is_one_sentence(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "bash", "find", "mkdir", "touch", "echo"):
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    check(make("demo", tmp_path / "clone", f"PYTHON={sys.executable}", path=str(programs)), "git is not installed")


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    full = program(tmp_path, "full", f'case "$*" in *disk_usage*) exit 1;; esac; exec "{sys.executable}" "$@"')
    check(make("demo", tmp_path / "clone", f"PYTHON={full}"), "8 GB", "free some space")


def test_the_targets_are_listed(tmp_path: Path) -> None:
    done = make("help", tmp_path / "clone")
    assert done.returncode == 0
    assert "make demo" in done.stdout
    assert "make test" in done.stdout

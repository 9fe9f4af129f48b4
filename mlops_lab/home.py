"""Where mlops_lab keeps its state on this machine: the embedded server, run journals, sessions of plain kernels."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Give the folder of all state, made on first use and closed to other users.

    ``MLOPS_LAB_HOME`` moves it; otherwise it lies where the operating system wants user data.
    """
    chosen = os.environ.get("MLOPS_LAB_HOME", "").strip()
    if chosen:
        path = Path(chosen).expanduser()
        if not path.is_absolute():
            # Fixed at the first use: the code that is tracked may change its folder.
            path = path.absolute()
            os.environ["MLOPS_LAB_HOME"] = str(path)
    else:
        import platformdirs

        path = Path(platformdirs.user_data_dir("mlops_lab"))
    return private_folder(path)


def private_folder(path: Path) -> Path:
    """Make `path` (and its parents) where missing; a folder made here is mode 0700, an existing one stays as it is."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        # The umask can only take rights away, so the folder is never wider than this, not even for a moment.
        path.mkdir(mode=0o700, exist_ok=True)
    return path

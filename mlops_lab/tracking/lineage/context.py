"""What a plain MLflow run, made without a tracked block, says of its code: MLflow's plugin point for run contexts.

MLflow by itself gives the runs of a notebook no commit. Runs of our own do not come by here: they have these tags from
their journal. MLflow asks in the thread that trains, so the answer never takes long: what git has not said by then is
left out. Nothing is remembered from one run to the next, for no tag is better than that of an earlier commit.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

# Both at once, and not in the first run's start: mlflow loads this file while it is imported itself.
from ...connection import tags as names
from ...datasets import git
from . import code as lineage

LONGEST_WAIT = 0.05
"""Seconds that a run's start may be held up."""


class CodeContext:
    """Entry point ``mlflow.run_context_provider``, name ``mlops_lab``.

    It is not derived from MLflow's abstract class, which would import mlflow for a class of two methods.
    """

    def __init__(self) -> None:
        self._slow: _Look | None = None
        self._tags: dict[str, str] = {}

    def in_context(self) -> bool:
        """Tell whether there is anything to say: is the current folder in a git repository?"""
        self._tags = {}
        with contextlib.suppress(Exception):
            # Where the last look at all files still goes on, a second one would only make it slower.
            look = _Look(Path.cwd(), whole=self._slow is None or not self._slow.is_alive())
            look.start()
            look.join(LONGEST_WAIT)
            self._tags = look.tags
            self._slow = look if look.whole else self._slow
        return bool(self._tags)

    def tags(self) -> dict[str, str]:
        """Give commit, branch, remote and dirty state, and the notebook with its cell where one runs us."""
        return dict(self._tags)


class _Look(threading.Thread):
    """One look at the repository; `tags` is what it knows so far."""

    def __init__(self, folder: Path, whole: bool) -> None:
        super().__init__(name="mlops_lab code context", daemon=True)
        self.folder = folder
        self.whole = whole
        self.tags: dict[str, str] = {}

    def run(self) -> None:
        """Ask what is quick, then what takes a look at every tracked file."""
        with contextlib.suppress(Exception):
            place = lineage.code_folder(lineage.notebook(), self.folder) or self.folder
            commit = git.commit(place)
            if commit is None:
                return
            branch = git.branch(place)
            self.tags = {names.GIT_COMMIT: commit, **({names.GIT_BRANCH: branch} if branch else {})}
            if not self.whole:
                return
            tags = lineage.code_tags(self.folder)
            if names.NOTEBOOK not in tags:
                # Elsewhere MLflow's own names of the source are as good, or better: it asks Jupyter's server.
                tags.pop(names.SOURCE_NAME, None)
                tags.pop(names.SOURCE_TYPE, None)
            self.tags = tags

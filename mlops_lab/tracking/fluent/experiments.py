"""What MLflow's client is told of experiments while their server is away, and for how long it is not asked then."""

from __future__ import annotations

import time
from typing import Any

from .runs import Held

REST = 30.0
"""Seconds for which a server that did not answer is not asked again while training waits."""


class Experiments:
    """The experiments that were named while no server could be asked, and the names of those that were seen."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._silent_until: dict[str, float] = {}

    def note(self, experiment: Any) -> Any:
        """Remember the name of an experiment that the server has told us about."""
        if experiment is not None:
            self._names[str(experiment.experiment_id)] = str(experiment.name)
        return experiment

    def name(self, experiment_id: str) -> str | None:
        """Give the name of an experiment that is known here."""
        return self._names.get(str(experiment_id))

    def named(self, name: str) -> str:
        """Give the id that stands for the experiment `name` while the server has given it none."""
        stand_in = f"mlops_lab-{name}"
        self._names[stand_in] = name
        return stand_in

    def stands_in(self, experiment_id: str) -> bool:
        """Tell whether an id is one that we gave."""
        return str(experiment_id).startswith("mlops_lab-")

    def away(self, held: Held) -> bool:
        """Tell whether the server of a run is not to be asked: it is not meant to hear of the run now, or is silent."""
        return held.run.offline or not held.recorded or self.silent(held)

    def silent(self, held: Held) -> bool:
        """Tell whether there is no server, or it has just failed to answer."""
        return not held.uri or held.troubled or time.monotonic() < self._silent_until.get(held.uri, 0.0)

    def fell_silent(self, held: Held) -> None:
        """Take note that the server of a run did not answer."""
        self._silent_until[held.uri] = time.monotonic() + REST

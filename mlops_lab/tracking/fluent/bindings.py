"""The blocks that are open, as MLflow's client may mean them, and where MLflow itself points at the moment."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ... import connection
from ...errors import MlopsLabError
from ..model import EndStatus
from ..projection.birth import origin_of
from ..run import Run, runs
from .runs import Child, Held

LAST_ANSWER = 10.0
"""Seconds at the end of a block for what the runs below it still have to send."""
NAME_ANSWER = 2.0
"""Seconds that a server has to say what an experiment is called before a block begins without knowing it."""
LOGIN_SEEN = 5.0
"""Seconds after which a login that was made elsewhere is noticed."""
FLUENT = "mlflow.tracking.fluent"
SERVICE = "mlflow.tracking._tracking_service.utils"


class Binding(Held):
    """A block's run in MLflow's hands until it is released.

    Parameters
    ----------
    run
        The run.
    leave
        Called when the run is taken out of MLflow's hands.
    """

    def __init__(self, run: Run, leave: Callable[[Binding], None]) -> None:
        super().__init__(run, self._expected)
        self._leave = leave
        self._asked_for = ("", 0.0)
        self.adopted = False
        """Has the user's ``start_run`` had this run?"""
        self.children: list[Child] = []
        self.numbers = itertools.count(1)
        """Of the runs below it that nobody named; several threads may begin some at once."""
        self.chosen_before = chosen_experiment_id()
        self.name_before = chosen_experiment(ask=False)
        self.told = ""
        """The choice of which the person was told, where there was something to tell."""
        self._earlier = {item.info.run_id for item in active_runs()}

    def release(self, status: EndStatus = "FINISHED") -> None:
        """Take the run, and what the user left open in the block, out of MLflow's hands."""
        try:
            self._end_open_runs(status)
            for child in self.children:
                child.end(status)
        finally:
            self._leave(self)
        deadline = time.monotonic() + LAST_ANSWER
        # All at once: while a server hangs each of them takes its time to give up.
        finishing = [threading.Thread(target=child.finish, args=(deadline,), daemon=True) for child in self.children]
        for thread in finishing:
            thread.start()
        for thread in finishing:
            thread.join(max(0.0, deadline - time.monotonic()) + 1)

    def _expected(self) -> str:
        """Give the origin of the server that the run will go to; empty where there is none. A login may change it."""
        origin, asked = self._asked_for
        if time.monotonic() - asked > LOGIN_SEEN or not asked:
            origin = _current_server()
            self._asked_for = (origin, time.monotonic())
        return origin

    def _end_open_runs(self, status: EndStatus) -> None:
        mlflow = sys.modules.get("mlflow")
        while mlflow is not None and (stack := active_runs()) and stack[-1].info.run_id not in self._earlier:
            left = len(stack)
            with contextlib.suppress(Exception):  # MLflow has dropped the run by then
                mlflow.end_run(status)
            if len(active_runs()) >= left:
                return


class OpenBlocks:
    """The bindings of the blocks that are open, innermost last."""

    def __init__(self) -> None:
        self._open: list[Binding] = []
        self.starting = threading.local()
        """``now``: is ``mlflow.start_run`` beginning a run below a block's in this thread?"""

    def binding(self) -> Binding | None:
        """Give the binding of the block that this thread is in."""
        run = runs.current
        for binding in self._open:
            if binding.run is run or any(child.run is run for child in binding.children):
                return binding if binding.open else None
        return None

    def known(self, run_id: str) -> Held | None:
        """Give the run that MLflow's client means by `run_id`, where it was begun in a block that is open."""
        for binding in self._open:
            for held in (binding, *binding.children):
                if held.is_called(run_id):
                    return held
        return None

    def held(self, run_id: str) -> Held | None:
        """Give that run where its journal takes more."""
        held = self.known(run_id)
        return held if held is not None and held.open else None

    def home(self, uri: str) -> Held | None:
        """Give the block whose runs are for the server at `uri`, in this thread."""
        binding = self.binding()
        return binding if binding is not None and same_server(binding, uri) else None

    def next_name(self, home: Held) -> str:
        """Name a run that is begun without a name. MLflow would draw one from the random stream of the training."""
        return f"{home.run.name}-{next(home.numbers) if isinstance(home, Binding) else 1}"

    def begun(self, child: Child) -> None:
        """Take note of a run that was begun."""
        binding = self.binding()
        if binding is not None:
            binding.children.append(child)
        if getattr(self.starting, "now", False):
            runs.push(child.run)


def tracking_uri() -> str:
    """Give the address that MLflow uses now."""
    return str(sys.modules[SERVICE].get_tracking_uri())


def chosen_server() -> bool:
    """Tell whether somebody told MLflow of a server."""
    return bool(sys.modules[SERVICE].is_tracking_uri_set())


def same_server(binding: Held, uri: str) -> bool:
    """Tell whether MLflow's `uri` is the server of the block; one that nobody chose is nowhere else."""
    expected = binding.uri
    if uri == expected or not chosen_server():
        return True
    try:
        return bool(expected) and origin_of(uri) == expected
    except ValueError:
        return False


_names: dict[tuple[str, str], str] = {}
"""What experiments are called that ``mlflow.set_experiment`` chose, by MLflow's address and their id."""


def chosen_experiment_id() -> str | None:
    """Give the id of the experiment that ``mlflow.set_experiment`` chose; None where nothing was chosen."""
    chosen = getattr(sys.modules.get(FLUENT), "_active_experiment_id", None)
    return str(chosen) if chosen else None


def chosen_experiment(ask: bool = True) -> str | None:
    """Give the name of the experiment that ``mlflow.set_experiment`` chose before a block, for its run.

    Parameters
    ----------
    ask
        Ask the server where the name is not known here; it has :data:`NAME_ANSWER` seconds.

    Returns
    -------
    str or None
        None where nothing was chosen, or on another server than the block's, or nobody can say the name.
    """
    chosen = chosen_experiment_id()
    if chosen is None:
        return None
    try:
        name = _names.get(_place_of(chosen))
        if name is None and ask:
            name = _asked_name(chosen)
            if name is not None:
                remember_choice(chosen, name)
    except Exception:  # a name is worth no failure; the run goes where it would without it
        return None
    return name


def remember_choice(chosen: str, name: str) -> None:
    """Take note of what the experiment is called that was chosen, for the blocks to come."""
    _names[_place_of(chosen)] = name


def _place_of(chosen: str) -> tuple[str, str]:
    return tracking_uri(), chosen


def _asked_name(chosen: str) -> str | None:
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        with contextlib.closing(connection.open_server(timeout=NAME_ANSWER)) as server:
            if origin_of(uri) != origin_of(server.uri):
                return None
            found = server.get("experiments/get", {"experiment_id": chosen})["experiment"]
            return str(found["name"]) if found.get("lifecycle_stage", "active") == "active" else None
    if chosen_server():
        return None  # a place of the user's own
    return str(sys.modules[SERVICE]._get_store().get_experiment(chosen).name)


def _current_server() -> str:
    try:
        server = connection.open_server()
    except MlopsLabError:
        return ""
    server.close()
    return origin_of(server.uri)


def active_runs() -> list[Any]:
    """Give the runs that are active in MLflow in this thread, innermost last."""
    fluent: Any = sys.modules.get(FLUENT)
    try:
        return list(fluent._active_run_stack.get()) if fluent is not None else []
    except AttributeError:
        return []

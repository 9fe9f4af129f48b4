"""Asks the server behind a block's MLflow calls, with a word on what is done where nobody answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bindings import OpenBlocks
from .experiments import Experiments
from .runs import Held


class Asking:
    """What stands before the real store of one tracking URI, which is made when something is asked of it.

    Parameters
    ----------
    uri
        The tracking URI.
    make
        Makes the real store.
    block
        The open blocks.
    experiments
        Shared by the stores of all blocks.
    """

    def __init__(self, uri: str, make: Callable[[], Any], block: OpenBlocks, experiments: Experiments) -> None:
        self._uri = uri
        self._make = make
        self._block = block
        self._experiments = experiments
        self._made: Any = None

    @property
    def real(self) -> Any:
        """The real store."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getattr__(self, name: str) -> Any:
        if name in ("_made", "_make"):  # a copy that is being made has neither yet
            raise AttributeError(name)
        attribute = getattr(self.real, name)
        if not callable(attribute):
            return attribute

        def passed_on(*args: Any, **kwargs: Any) -> Any:
            home = self._block.home(self._uri)
            if home is not None and self._experiments.silent(home):
                raise unanswered(home)
            named = {key: self._translated(value) for key, value in kwargs.items()}
            try:
                return attribute(*[self._translated(value) for value in args], **named)
            except Exception as error:
                if home is not None and no_answer(error):
                    self._experiments.fell_silent(home)
                raise

        return passed_on

    def _asked(self, held: Held, ask: Callable[[], Any], otherwise: Any) -> Any:
        """Ask the server; give `otherwise` where it does not answer. What it refuses is raised as MLflow does."""
        from mlflow.exceptions import MlflowException

        if self._experiments.away(held):
            return otherwise
        try:
            return ask()
        except MlflowException as error:
            if not no_answer(error):
                raise
        self._experiments.fell_silent(held)
        return otherwise

    def _translated(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        held = self._block.known(value)
        return value if held is None else self._at_server(held)

    def _at_server(self, held: Held) -> str:
        if held.run.run_id:
            return held.run.run_id
        raise unanswered(held)


def no_answer(error: Exception) -> bool:
    """Tell whether nobody answered, or not now, rather than a server that refuses."""
    from mlflow.exceptions import MlflowException, RestException

    status: Any = getattr(getattr(error, "response", None), "status_code", 0)  # of a file's upload
    if isinstance(error, RestException):
        answer: Any = error
        status = answer.get_http_status_code()
    if status:
        return bool(status >= 500 or status in (408, 429))
    return isinstance(error, MlflowException) and "API request" in str(error)


def unanswered(held: Held) -> Exception:
    """Say that a question about a run, or one to its server, cannot be answered now."""
    from mlflow.exceptions import MlflowException

    kept = f"The run {held.run.name} is kept on this computer"
    if held.run.run_id:
        return MlflowException(f"{kept} while its server does not answer, so this cannot be asked now.")
    return MlflowException(f"{kept} and no server holds it yet, so this cannot be done now.")

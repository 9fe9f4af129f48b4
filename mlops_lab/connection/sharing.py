"""A server with accounts gives each person their own experiments: what it means when one of them is not ours.

MLflow answers every such request with the same bare 403, and never says whose an experiment is.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal

from mlops_lab.connection.errors import ConnectionProblem, ExperimentClosed, Forbidden

if TYPE_CHECKING:
    from mlops_lab.connection.api import Api

Attempt = Literal["read", "create", "add", "continue"]
"""What was refused: to read the experiment, to create it, to add a run to it, or to write on in a run of it."""


def explain(server: Api, refusal: Forbidden, experiment: str, attempt: Attempt) -> Forbidden:
    """Say what a 403 on the way to `experiment` means.

    Parameters
    ----------
    refusal
        What the server said. It is given back where the server refuses us everything: a wrong host name, a gateway.

    Returns
    -------
    Forbidden
        :class:`~mlops_lab.connection.errors.ExperimentClosed`, or `refusal` itself.
    """
    try:
        server.post("experiments/search", {"max_results": 1})
    except ConnectionProblem:
        return refusal
    who = server.user or "you"
    share = f"(./mlops-server share {shlex.quote(experiment)} {shlex.quote(server.user or 'NAME')} EDIT)"
    ask = f"Ask the administrator of the server to share it {share}, or choose another experiment name."
    if attempt == "read":
        return ExperimentClosed(
            f"The experiment '{experiment}' on this server belongs to somebody else and {who} may not write to it.", ask
        )
    if attempt == "create":
        return ExperimentClosed(
            f"There is no experiment '{experiment}' on this server, and {who} may not create one.",
            "Ask the administrator to create and share it, or choose one that is shared with you.",
        )
    if attempt == "add":
        return ExperimentClosed(
            f"The experiment '{experiment}' on this server is shared with {who} for reading only, so it takes no run.",
            ask,
        )
    return ExperimentClosed(
        f"The server does not let {who} write to this run of the experiment '{experiment}' any more.",
        f"Log in as the person who began it, or ask for the experiment to be shared again {share}.",
    )

"""Who may do what, where MLflow alone would let a person reach other people's files.

MLflow asks ``authenticate`` who sends a request before it looks at what that person may do. So this is the place for
two rules that MLflow lacks, for everybody but administrators. Where files lie is the server's choice. And a request
names what it is about once: MLflow takes the name from one place for its permissions, and from another for the deed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeAlias

from flask import Response, g, request
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED
from mlflow.protos.service_pb2 import CreateExperiment, EndTrace, SetTraceTag, SetTraceTagV3, StartTrace, StartTraceV3
from mlflow.server import auth, handlers
from mlflow.store.tracking.dbmodels.models import SqlAssessments, SqlTraceInfo
from werkzeug.datastructures import Authorization

PLACES = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation", "mlflow.trace.spansLocation")
"""Tags of a trace from which MLflow reads where the trace's files lie."""

_TRACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
_Rule: TypeAlias = Callable[[], str | None]


def authenticate() -> Authorization | Response:
    """Tell MLflow who sends the request at hand.

    Returns
    -------
    Authorization or Response
        The account, or the request to log in.

    Raises
    ------
    MlflowException
        If the request is one that only an administrator may send.
    """
    person = auth.authenticate_request_basic_auth()
    # MLflow asks again for each permission that it looks up.
    if not isinstance(person, Authorization) or "mlops_examined" in g:
        return person
    g.mlops_examined = True
    for rule, code in ((_told_twice, INVALID_PARAMETER_VALUE), (_own_place, PERMISSION_DENIED)):
        objection = rule()
        if objection and not auth.store.get_user(str(person.username)).is_admin:
            raise MlflowException(objection, error_code=code)
    return person


def _told_twice() -> str | None:
    """Object to a request that may mean one thing to MLflow's permissions and another to what follows them."""
    if request.path.split("/")[3:4] == ["mlflow-artifacts"]:
        # An artifact's content is the body, whatever its type; what it belongs to is in the path alone.
        return None
    body = None
    if request.content_length and not request.path.endswith("/mlflow/upload-artifact"):
        if request.method in ("GET", "HEAD"):
            return f"A {request.method} request has no body: put its fields into the query."
        body = request.get_json(silent=True)
        if not isinstance(body, Mapping):
            return "The body of this request is not a JSON object, or its Content-Type does not say application/json."
    for name, value in (request.view_args or {}).items():
        if _given(name, body) - {str(value)}:
            return f"{name} is in the address and, with another value, elsewhere in the request: give it once."
    run_ids, run_uuids = _given("run_id", body), _given("run_uuid", body)
    if run_ids and run_uuids and run_ids != run_uuids:
        return "run_id and run_uuid name different runs: give run_id only."
    return None


def _given(name: str, body: Mapping[str, Any] | None) -> set[str]:
    """Find every value that the query and the body have for a field, in either of its spellings."""
    camel = re.sub(r"_(.)", lambda found: found[1].upper(), name)
    values = [*request.args.getlist(name), *((body or {}).get(key) for key in (name, camel))]
    return {str(value) for value in values if value not in (None, "")}


def _own_place() -> str | None:
    """Object to a request that says itself where files lie."""
    rule = _rules().get((str(request.url_rule), request.method))
    return rule() if rule else None


@cache
def _rules() -> dict[tuple[str, str], _Rule]:
    """Give the rule for each address at which MLflow would take a place from the request, by address and method."""
    by_message: dict[type, _Rule] = {
        CreateExperiment: _new_experiment,
        StartTraceV3: _new_trace,
        StartTrace: lambda: _tags(tag.key for tag in _message(StartTrace()).tags),
        EndTrace: lambda: _tags(tag.key for tag in _message(EndTrace()).tags),
        SetTraceTag: lambda: _tags([_message(SetTraceTag()).key]),
        SetTraceTagV3: lambda: _tags([_message(SetTraceTagV3()).key]),
    }
    listed = handlers.get_endpoints(by_message.get)  # type: ignore[no-untyped-call]
    ours = by_message.values()
    return {(path, method): rule for path, rule, methods in listed for method in methods if rule in ours}


def _message(empty: Any) -> Any:
    """Read the request with MLflow's own reader, so that we see what its handler will see."""
    return handlers._get_request_message(empty)  # type: ignore[no-untyped-call]


def _new_experiment() -> str | None:
    if not _message(CreateExperiment()).artifact_location:
        return None
    return "This server chooses where an experiment's files lie: leave artifact_location out."


def _new_trace() -> str | None:
    trace = _message(StartTraceV3()).trace.trace_info
    # MLflow makes a folder of this name.
    if trace.trace_id and not _TRACE_ID.fullmatch(trace.trace_id):
        return "A trace_id consists of letters, digits, and the signs _ . : -"
    # What has an id already, MLflow would move here, and change, whoever it belongs to.
    store: Any = handlers._get_tracking_store()
    with store.ManagedSessionMaker() as session:
        known = session.get(SqlTraceInfo, trace.trace_id)
        if known and str(known.experiment_id) != trace.trace_location.mlflow_experiment.experiment_id:
            return "There is a trace with this trace_id elsewhere: give yours an id of its own."
        for assessment in trace.assessments:
            known = session.get(SqlAssessments, assessment.assessment_id)
            if known and known.trace_id != trace.trace_id:
                return "There is an assessment with this assessment_id elsewhere: leave assessment_id out."
    return _tags(trace.tags)


def _tags(names: Iterable[str]) -> str | None:
    places = {_as_stored(place): place for place in PLACES}
    for name in names:
        if place := places.get(_as_stored(name)):
            return f"This server chooses where a trace's files lie: leave the tag {place} out."
    return None


def _as_stored(name: str) -> str:
    """Reduce a name to what the database compares: without capitals, accents, and blanks at its end."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in plain if letter.isascii() and letter.isprintable()).strip()

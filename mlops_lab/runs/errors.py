"""The errors of the runs room: a filter that MLflow refuses, runs that cannot be found or compared."""

from __future__ import annotations

from ..errors import MlopsLabError


class RunsError(MlopsLabError):
    """Base of the room's errors."""

    code = "runs"


class BadFilter(RunsError):
    """MLflow does not understand the filter."""

    code = "bad_filter"


class BadPage(RunsError):
    """The page token is not one that this server gave out."""

    code = "bad_page"


class UnknownRun(RunsError):
    """The server has no run with this id."""

    code = "unknown_run"
    http_status = 404


class NotComparable(RunsError):
    """The runs asked for make no comparison."""

    code = "not_comparable"

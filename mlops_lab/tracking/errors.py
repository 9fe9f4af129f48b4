"""What can go wrong around a tracked block, said to the person who runs it."""

from __future__ import annotations

from ..connection.errors import Unreachable
from ..errors import MlopsLabError

ELSEWHERE = "%mlops_sync --experiment NAME (or mlops-lab sync --experiment NAME) sends it to another one."
"""What a person can do with a run that its experiment does not take."""


class TrackingError(MlopsLabError):
    """Base of this room's errors."""

    code = "tracking"


class JournalUnreadable(TrackingError):
    """A journal was written by a newer mlops_lab, or is not a journal."""

    code = "journal_unreadable"


class NoJournalPlace(TrackingError):
    """The folder of the journals cannot be written to."""

    code = "no_journal_place"
    http_status = 507


class SendingFailed(TrackingError):
    """Something that nobody foresaw kept a journal from being sent; it is kept."""

    code = "sending_failed"
    http_status = 500


class RunGone(TrackingError):
    """The server no longer takes entries for this run."""

    code = "run_gone"
    http_status = 410


class RunElsewhere(TrackingError):
    """The run was begun on another server than the one we are logged in to."""

    code = "run_elsewhere"
    http_status = 409


class ParentFirst(Unreachable):
    """The run is nested in another one that the server does not have yet."""

    code = "parent_first"


class NoExperimentName(TrackingError):
    """What was given as the name of an experiment is none."""

    code = "no_experiment_name"


class NotScreened(TrackingError):
    """Files of a run cannot be looked through for identifiers, so they stay on this computer."""

    code = "not_screened"


class NoActiveRun(TrackingError):
    """Something was asked of the current run, and no block is open."""

    code = "no_active_run"


class NoSuchRun(TrackingError):
    """No run on this computer, or on the server, is called so."""

    code = "no_such_run"
    http_status = 404


class RunIsOpen(TrackingError):
    """A run is to be resumed whose block is open still."""

    code = "run_is_open"
    http_status = 409


class NoSuchCapture(TrackingError):
    """A capture was asked for that there is not."""

    code = "no_such_capture"

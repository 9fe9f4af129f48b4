"""What can go wrong between us and a tracking server, each with a sentence for the person at the screen.

`Unreachable` and its kin are worth a retry: the same request may succeed later. The others are not.
"""

from __future__ import annotations

from typing import ClassVar

from mlops_lab.errors import MlopsLabError


class ConnectionProblem(MlopsLabError):
    """Base of the room's errors."""

    code: ClassVar[str] = "connection"


class NotConnected(ConnectionProblem):
    """Nobody has chosen a server yet."""

    code: ClassVar[str] = "not_connected"
    http_status: ClassVar[int] = 409


class Unreachable(ConnectionProblem):
    """No answer, or one that asks for patience (408, 429, 5xx): worth a retry."""

    code: ClassVar[str] = "unreachable"
    http_status: ClassVar[int] = 502

    def __init__(
        self, message: str, hint: str = "", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        """The HTTP status, or None where no answer came at all."""
        self.retry_after = retry_after
        """Seconds that the server wants to be left alone, where it says so."""


class UntrustedCertificate(Unreachable):
    """The server's certificate does not prove who it is: unknown authority, another name, or out of date."""

    code: ClassVar[str] = "untrusted_certificate"


class UnknownAuthority(UntrustedCertificate):
    """The certificate is signed by an authority that this machine does not know; the login form asks for its file."""

    code: ClassVar[str] = "unknown_authority"


class OtherName(UntrustedCertificate):
    """The certificate was issued for other names than the one in our address."""


class WrongScheme(Unreachable):
    """http was given for an https server, or the other way round."""

    code: ClassVar[str] = "wrong_scheme"


class WrongCredentials(ConnectionProblem):
    """401: the server does not know this name, password or token."""

    code: ClassVar[str] = "wrong_credentials"


class Forbidden(ConnectionProblem):
    """403: the server knows us and says no."""

    code: ClassVar[str] = "forbidden"


class ExperimentClosed(Forbidden):
    """The server takes us, but this one experiment does not take our runs; another may, and sharing opens it."""

    code: ClassVar[str] = "experiment_closed"


class NotMlflow(ConnectionProblem):
    """Something answers there, but it is not an MLflow tracking server."""

    code: ClassVar[str] = "not_mlflow"


class SentElsewhere(NotMlflow):
    """The server answers with a redirect, which we never follow: the secret was issued for this address."""


class WrongName(NotMlflow):
    """421: the server runs, and does not answer to the name in our address."""

    code: ClassVar[str] = "wrong_name"


class BadAddress(ConnectionProblem):
    """What was typed is no http or https address."""

    code: ClassVar[str] = "bad_address"


class Refused(ConnectionProblem):
    """MLflow refused the request for what it says (other 4xx): repeating it unchanged is useless.

    Parameters
    ----------
    error_code
        MLflow's own word, e.g. ``"RESOURCE_DOES_NOT_EXIST"``; empty when a proxy answered in its place.
    status
        The HTTP status.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, hint: str = "", error_code: str = "", status: int = 400) -> None:
        super().__init__(message, hint)
        self.error_code = error_code
        self.status = status


class UnsafeSession(ConnectionProblem):
    """The session file could be read or written by others; we do not use it."""

    code: ClassVar[str] = "unsafe_session"


class SessionNotKept(ConnectionProblem):
    """The session file cannot be written, e.g. because the disk is full."""

    code: ClassVar[str] = "session_not_kept"
    http_status: ClassVar[int] = 500


class PortTaken(ConnectionProblem):
    """The port that was asked for belongs to another program."""

    code: ClassVar[str] = "port_taken"
    http_status: ClassVar[int] = 409


class ServerFailed(ConnectionProblem):
    """The embedded server did not start, or could not be stopped."""

    code: ClassVar[str] = "server_failed"
    http_status: ClassVar[int] = 500

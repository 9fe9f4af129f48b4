"""What every handler shares: JSON in the wire encoding, and one place where errors become answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, MissingArgumentError, authenticated

from ... import wire
from ...connection.broker import Broker
from ...errors import MlopsLabError

P = ParamSpec("P")
T = TypeVar("T")


LARGEST_BODY = 1_000_000
"""Bytes; what the panel sends is far smaller."""


class BadRequest(MlopsLabError):
    """The request itself does not have the shape that this endpoint reads."""

    code = "bad_request"


class NoSuchEndpoint(MlopsLabError):
    """Nothing is served at this address."""

    code = "not_found"
    http_status = 404


class LabHandler(APIHandler):
    """Base of the handlers: answers documents, and errors as ``{code, message, hint}``, never HTML."""

    @property
    def broker(self) -> Broker:
        """The connection of this Jupyter server."""
        broker: Broker = self.settings["mlops_lab_broker"]
        return broker

    async def off_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work in a thread, so that kernels' messages keep flowing."""
        return await asyncio.to_thread(function, *args, **kwargs)

    def body(self, shape: type[T]) -> T:
        """Read the request's JSON body as `shape`.

        Raises
        ------
        BadRequest
            When the body is not JSON or a field is missing, unknown or of the wrong type.
        """
        body = self.request.body or b"{}"
        if len(body) > LARGEST_BODY:
            raise BadRequest("The request is too large to be meant.")
        try:
            return wire.decode(body, shape)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest(f"The request could not be read: {error}.") from None

    def answer(self, document: Any) -> None:
        """Finish the request with `document` in the wire encoding."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(wire.encode(document))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, MlopsLabError):
            self.set_status(error.http_status)
            document = {"code": error.code, "message": error.message, "hint": error.hint}
        elif isinstance(error, MissingArgumentError):
            document = {"code": "bad_request", "message": f"The request lacks '{error.arg_name}'.", "hint": ""}
        elif isinstance(error, HTTPError) and "_xsrf" in (error.log_message or "").lower():
            document = {
                "code": "xsrf",
                "message": "This page's security token is missing or too old, so nothing was done.",
                "hint": "Reload the page.",
            }
        elif isinstance(error, HTTPError):
            document = {"code": "http", "message": error.log_message or error.reason or self._reason, "hint": ""}
        else:
            document = {
                "code": "internal",
                "message": "Something went wrong in mlops_lab's server part; nothing was changed.",
                "hint": "The Jupyter server's log has the details.",
            }
        self.set_header("Content-Type", "application/json")
        self.finish(wire.encode(document))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, MlopsLabError):
            self.log.info("%s %s: %s", self.request.method, self.request.path, value.message)
        else:
            super().log_exception(typ, value, tb)


class NotFoundHandler(LabHandler):
    """Whatever else lies below ``mlops-lab/``: a sentence instead of Jupyter's HTML page."""

    @authenticated
    async def get(self) -> None:
        raise NoSuchEndpoint(
            f"mlops_lab serves nothing at {self.request.path}.",
            "Reload the page; its front end and server part may be of different versions.",
        )

    post = put = patch = delete = get

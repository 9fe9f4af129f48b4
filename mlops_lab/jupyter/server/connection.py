"""Handlers of the connection room: log in, log out, and the embedded server."""

from __future__ import annotations

from typing import Annotated

import msgspec
from tornado.web import authenticated

from ...connection.model import LoginRequest
from .base import LabHandler


class StartRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Start the embedded server, on `port` when one is asked for."""

    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None


class ConnectionHandler(LabHandler):
    """``mlops-lab/connection``: the state, logging in and logging out."""

    @authenticated
    async def get(self) -> None:
        self.answer(await self.off_loop(self.broker.state))

    @authenticated
    async def post(self) -> None:
        self.answer(await self.off_loop(self.broker.login, self.body(LoginRequest)))

    @authenticated
    async def delete(self) -> None:
        self.answer(await self.off_loop(self.broker.logout))


class EmbeddedHandler(LabHandler):
    """``mlops-lab/embedded``: start and stop the MLflow server on this machine."""

    @authenticated
    async def post(self) -> None:
        self.answer(await self.off_loop(self.broker.start_embedded, self.body(StartRequest).port))

    @authenticated
    async def delete(self) -> None:
        self.answer(await self.off_loop(self.broker.stop_embedded))

"""Handlers of the connection room: log in, log out, and the embedded server."""

from __future__ import annotations

import os
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
        request = self.body(LoginRequest)
        request.ca_bundle = self._local_file(request.ca_bundle.strip())
        self.answer(await self.off_loop(self.broker.login, request))

    @authenticated
    async def delete(self) -> None:
        self.answer(await self.off_loop(self.broker.logout))

    def _local_file(self, typed: str) -> str:
        """Read a path as the file browser gives it, below the folder that JupyterLab serves; others stay as typed."""
        if not typed or typed.startswith("~"):
            return typed
        return os.path.join(os.path.expanduser(self.settings["server_root_dir"]), typed)


class EmbeddedHandler(LabHandler):
    """``mlops-lab/embedded``: start and stop the MLflow server on this machine."""

    @authenticated
    async def post(self) -> None:
        self.answer(await self.off_loop(self.broker.start_embedded, self.body(StartRequest).port))

    @authenticated
    async def delete(self) -> None:
        self.answer(await self.off_loop(self.broker.stop_embedded))

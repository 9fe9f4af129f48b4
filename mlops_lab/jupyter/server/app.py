"""The extension application: made once per Jupyter server, it owns the connection broker."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.extension.application import ExtensionApp

from ...connection.broker import Broker
from . import comparison, connection, datasets, environment, runs, training
from .base import NotFoundHandler


class MlopsLab(ExtensionApp):
    """Serves the sidebar's requests under ``<base_url>mlops-lab/``."""

    name = "mlops_lab"
    extension_url = "/lab"
    load_other_extensions = True

    def initialize_settings(self) -> None:
        # The host is in the name because several machines may share one home.
        session_file = Path(jupyter_runtime_dir()) / f"mlops-lab-{socket.gethostname()}-{os.getpid()}.json"
        self.settings["mlops_lab_broker"] = Broker(session_file)

    def initialize_handlers(self) -> None:
        routes: list[tuple[str, Any]] = [
            ("connection", connection.ConnectionHandler),
            ("embedded", connection.EmbeddedHandler),
            ("datasets", datasets.DatasetsHandler),
            ("recipes", training.RecipesHandler),
            ("cell", training.CellHandler),
            ("environment", environment.EnvironmentHandler),
            ("experiments", runs.ExperimentsHandler),
            ("runs", runs.RunsHandler),
            ("waiting", runs.WaitingHandler),
            ("waiting/preview", runs.PreviewHandler),
            ("comparison", comparison.ComparisonHandler),
        ]
        routes.append(("(?:.*)", NotFoundHandler))
        self.handlers.extend((f"/mlops-lab/{path}", handler) for path, handler in routes)

    async def stop_extension(self) -> None:
        self.settings["mlops_lab_broker"].close()

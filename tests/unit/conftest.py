"""What the tracking tests share: a server that this process is logged in to, and an experiment of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_lab.connection.rest import TrackingServer


@pytest.fixture
def server(mlflow_server: str, mlops_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    """The server, and a process that is logged in to it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    client = TrackingServer(mlflow_server)
    yield client
    client.close()


@pytest.fixture
def experiment(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A name that no other test uses."""
    return f"{request.node.name}-{tmp_path.name}"

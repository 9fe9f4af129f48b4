"""What the fault tests share: a server, a gateway in front of it that misbehaves, and processes that may be killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_lab.connection.rest import TrackingServer
from tests.faults.gateway import Gateway
from tests.faults.nursery import Nursery
from tests.unit.conftest import experiment as experiment
from tests.unit.conftest import server as server


@pytest.fixture
def gateway(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A proxy in front of the server, to which this process and its children are logged in."""
    made = Gateway(server.uri)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    yield made
    made.open.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def nursery(mlops_home: Path) -> Iterator[Nursery]:
    """Processes that run a program each, quickly begun."""
    made = Nursery()
    yield made
    made.close()

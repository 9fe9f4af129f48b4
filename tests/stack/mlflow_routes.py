"""Every address that the installed MLflow offers with accounts switched on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_PROGRAM = """
import json
from mlflow.server import app as flask
from mlflow.server.auth import create_app
from mlflow.server.mcp_server_api import get_mcp_server_api_route_prefixes, mcp_server_router
from mlflow.server import artifact_router, gateway_api, job_api, otel_api, server_info_api
from mlflow.server.assistant import api as assistant
create_app(flask)
paths = [rule.rule for rule in flask.url_map.iter_rules()]
for module, name in [
    (artifact_router, "artifact_router"), (gateway_api, "gateway_router"), (job_api, "job_api_router"),
    (otel_api, "otel_router"), (server_info_api, "server_info_router"), (assistant, "assistant_router"),
]:
    paths += [route.path for route in getattr(module, name).routes]
for prefix in get_mcp_server_api_route_prefixes():
    paths += [prefix + route.path for route in mcp_server_router.routes]
print("ROUTES" + json.dumps(paths))
"""
_ACCOUNTS = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/accounts.db
admin_username = admin
admin_password = only-for-these-routes
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@cache
def routes() -> frozenset[str]:
    """Give their paths, with MLflow's own marks for the parts that vary."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "auth.ini").write_text(_ACCOUNTS.format(folder=folder))
        environment = {
            **os.environ,
            "MLFLOW_AUTH_CONFIG_PATH": f"{folder}/auth.ini",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-these-routes",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        }
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=folder
        )
    return frozenset(json.loads(done.stdout.partition("ROUTES")[2]))

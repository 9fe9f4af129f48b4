"""The demo project: a real DVC repository made from one averaged brain, and its quickstart notebook."""

from __future__ import annotations

from .errors import DemoError
from .execute import run_quickstart
from .project import build_demo

__all__ = ["DemoError", "build_demo", "run_quickstart"]

"""What can go wrong while the demo project is built or its notebook executed, in words for the person at the screen."""

from __future__ import annotations

from ..errors import MlopsLabError


class DemoError(MlopsLabError):
    """The demo project could not be built or executed."""

    code = "demo"
    http_status = 500


class DirectoryInUse(DemoError):
    """The directory asked for holds something that is not a finished demo project."""

    code = "directory_in_use"
    http_status = 409


class MissingComponent(DemoError):
    """A program or package that the demo needs is not installed."""

    code = "missing_component"


class NotebookFailed(DemoError):
    """A cell of the quickstart notebook raised an error."""

    code = "notebook_failed"

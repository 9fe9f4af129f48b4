"""Handler of the comparison document."""

from __future__ import annotations

import msgspec
from tornado.web import authenticated

from .base import LabHandler
from .datasets import local_path


class ComparisonRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which runs to compare, in the order of the columns."""

    run_ids: list[str]
    path: str = ""
    """The notebook, as JupyterLab's file browser knows it; its project tells which files of a dataset changed."""


class ComparisonHandler(LabHandler):
    """``mlops-lab/comparison``: the document that the tab and the notebook output render."""

    @authenticated
    async def post(self) -> None:
        from ...runs import compare

        asked = self.body(ComparisonRequest)
        project = local_path(self.settings["server_root_dir"], asked.path)
        self.answer(await self.off_loop(lambda: compare(self.broker.server(), asked.run_ids, project=project)))

"""Handler of the comparison document."""

from __future__ import annotations

import msgspec
from tornado.web import authenticated

from ...runs import compare
from .base import LabHandler


class ComparisonRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which runs to compare, in the order of the columns."""

    run_ids: list[str]


class ComparisonHandler(LabHandler):
    """``mlops-lab/comparison``: the document that the tab and the notebook output render."""

    @authenticated
    async def post(self) -> None:
        run_ids = self.body(ComparisonRequest).run_ids
        self.answer(await self.off_loop(lambda: compare(self.broker.server(), run_ids)))

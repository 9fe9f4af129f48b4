"""Handlers of the runs room: experiments, pages of runs, and the runs that wait on this computer."""

from __future__ import annotations

from tornado.web import authenticated

from ...tracking.errors import NoSuchRun
from .base import BadRequest, LabHandler
from .sending import Sending, SendRequest, Waiting


class ExperimentsHandler(LabHandler):
    """``mlops-lab/experiments``: the active experiments, newest first."""

    @authenticated
    async def get(self) -> None:
        from ...runs import list_experiments

        self.answer({"experiments": await self.off_loop(lambda: list_experiments(self.broker.server()))})


class RunsHandler(LabHandler):
    """``mlops-lab/runs``: a page of a search, or with ``run_id`` the present state of those runs."""

    @authenticated
    async def get(self) -> None:
        from ...runs import RunPage, refresh, search

        run_ids = self.get_query_arguments("run_id")
        if run_ids:
            page = RunPage(runs=await self.off_loop(lambda: refresh(self.broker.server(), run_ids)))
        else:
            experiment_ids = self.get_query_arguments("experiment_id")
            filter = self.get_query_argument("filter", "")
            page_token = self.get_query_argument("page_token", None)
            max_results = self._max_results()
            page = await self.off_loop(
                lambda: search(
                    self.broker.server(), experiment_ids, filter=filter, page_token=page_token, max_results=max_results
                )
            )
        self.answer(page)

    def _max_results(self) -> int:
        text = self.get_query_argument("max_results", "50")
        if len(text) > 3 or not text.isdecimal() or not 1 <= int(text) <= 100:
            raise BadRequest("A page holds 1 to 100 runs.", f"Ask for a number in that range, not '{text[:20]}'.")
        return int(text)


class WaitingHandler(LabHandler):
    """``mlops-lab/waiting``: the runs that are on this computer and that nobody is sending; POST sends them."""

    @authenticated
    async def get(self) -> None:
        self.answer(await self._state())

    @authenticated
    async def post(self) -> None:
        chosen = self.body(SendRequest).runs
        if any(not key.isalnum() for key in chosen):
            raise BadRequest("A run is asked for by its key.", "Reload the page and choose the run again.")
        await self.off_loop(self.broker.server)  # says it where nobody is logged in
        self._sending.start(chosen)
        self.answer(await self._state())

    @property
    def _sending(self) -> Sending:
        sending: Sending = self.settings.setdefault("mlops_lab_sending", Sending())
        return sending

    async def _state(self) -> Waiting:
        from ...tracking import waiting

        return self._sending.state(await self.off_loop(waiting))


class PreviewHandler(LabHandler):
    """``mlops-lab/waiting/preview?run=KEY``: what would be sent of one run."""

    @authenticated
    async def get(self) -> None:
        from ...tracking import preview

        key = self.get_query_argument("run")
        found = await self.off_loop(lambda: [one for one in preview(key) if one.run_key == key])
        if not found:
            raise NoSuchRun("Nothing of this run waits on this computer any more.", "It was sent meanwhile.")
        self.answer(found[0])

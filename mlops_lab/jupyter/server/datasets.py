"""Handler of the datasets room: the versions of every dataset of the project a notebook lives in."""

from __future__ import annotations

import os
from pathlib import Path

from tornado.web import authenticated

from .base import BadRequest, LabHandler


class DatasetsHandler(LabHandler):
    """``mlops-lab/datasets?path=...``, the path as JupyterLab's file browser knows it."""

    @authenticated
    async def get(self) -> None:
        from ...datasets import read_catalogue

        place = local_path(self.settings["server_root_dir"], self.get_query_argument("path", ""))
        self.answer(await self.off_loop(read_catalogue, place))


def local_path(root: str, path: str) -> Path:
    """Turn a contents path into an existing place on disk inside the server's root.

    A notebook that was never saved, or a drive other than the file system, falls back to the nearest folder.

    Raises
    ------
    BadRequest
        When the path leaves the server's root.
    """
    top = Path(root).expanduser().resolve()
    drive, colon, rest = path.partition(":")
    relative = (rest if colon and "/" not in drive else path).lstrip("/")
    # By its words only: a link inside the root leads where its owner wants, as in Jupyter's own file browser.
    place = Path(os.path.normpath(top / relative))
    if not place.is_relative_to(top):
        raise BadRequest("This path lies outside the folder that JupyterLab serves.", "Open a notebook inside it.")
    # os.path.exists also takes names that no file system would.
    while not os.path.exists(place) and place != top:
        place = place.parent
    return place

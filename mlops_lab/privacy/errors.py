"""What can be wrong with a project's privacy policy, in words for the person who wrote it."""

from __future__ import annotations

from typing import ClassVar

from ..errors import MlopsLabError


class BadPolicy(MlopsLabError):
    """The ``[privacy]`` section of ``mlops.toml``, or the table of study ids that it names, cannot be used."""

    code: ClassVar[str] = "bad_privacy_policy"
    http_status: ClassVar[int] = 422

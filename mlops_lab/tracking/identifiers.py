"""Names and numbers of patients that come with the data of a run, so that the guard knows them wherever they stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..datasets import UsedDataset
    from ..privacy import Known


def known(given: Iterable[UsedDataset]) -> Known:
    """Collect what identifies the patients of dataset versions.

    Parameters
    ----------
    given
        The versions, verified.
    """
    from ..privacy import Known

    return Known()

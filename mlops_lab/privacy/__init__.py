"""Keeps secrets and what identifies patients out of everything that a run records; a leaf that uses no other room.

The guard reads text: params, tags, names, code, tracebacks, tables, the headers and metadata of files. It does not look
at pixels. **Text that is burned into an image and faces in a scan are not detected**; sample images are therefore off
until the project's policy switches them on, and whoever does that has to look at them.
"""

from __future__ import annotations

from .errors import BadPolicy
from .files import Verdict
from .guard import Guard
from .model import Action, Finding, Guarded, Kind, Known
from .policy import Policy, read_policy
from .words import summary

__all__ = [
    "Action",
    "BadPolicy",
    "Finding",
    "Guard",
    "Guarded",
    "Kind",
    "Known",
    "Policy",
    "Verdict",
    "read_policy",
    "summary",
]

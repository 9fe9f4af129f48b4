"""Keeps secrets and what identifies patients out of everything that a run records; a leaf that uses no other room.

The guard reads text: params, tags, names, code, tracebacks, tables, the headers and metadata of files. It does not look
at pixels. **Text that is burned into an image and faces in a scan are not detected**; sample images are therefore off
until the project's policy switches them on, and whoever does that has to look at them. Nor can it tell that a lone
forename, or a surname in a sentence, is a patient's: what nothing announces is found only where it is known from the
data, stands beside a date or a number, or has a common forename beside it.

The public names are fetched on first use: who only asks whether a name is that of a secret pays for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import BadPolicy as BadPolicy
    from .files import Verdict as Verdict
    from .guard import Guard as Guard
    from .model import Action as Action
    from .model import Finding as Finding
    from .model import Guarded as Guarded
    from .model import Kind as Kind
    from .model import Known as Known
    from .policy import Policy as Policy
    from .policy import read_policy as read_policy
    from .secrets import MASK as MASK
    from .secrets import is_secret_name as is_secret_name
    from .secrets import mask_text as mask_text
    from .secrets import may_be_secret_name as may_be_secret_name
    from .source import parse as parse
    from .words import summary as summary

_WHERE = {
    "Action": "model",
    "BadPolicy": "errors",
    "Finding": "model",
    "Guard": "guard",
    "Guarded": "model",
    "Kind": "model",
    "Known": "model",
    "MASK": "secrets",
    "Policy": "policy",
    "Verdict": "files",
    "is_secret_name": "secrets",
    "mask_text": "secrets",
    "may_be_secret_name": "secrets",
    "parse": "source",
    "read_policy": "policy",
    "summary": "words",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)

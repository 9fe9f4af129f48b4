"""Tells weights from other things that are saved: a run keeps checkpoints, and never the images of a cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

_DEPTH = 4
_MOST = 256
"""Entries of one dictionary or list that are looked at."""
_WEIGHT = re.compile(r"(^|\.)(weight|bias|running_mean|running_var|in_proj_weight)(_g|_v|_orig)?$")


def holds_weights(torch: Any, saved: Any, depth: int = _DEPTH) -> bool:
    """Tell whether `saved` is or holds a module, the state of one, or the state of an optimizer.

    Parameters
    ----------
    torch
        The library.
    saved
        What is about to be saved; dictionaries and lists are looked into, `depth` levels deep.
    """
    if isinstance(saved, torch.nn.Module):
        return True
    if isinstance(saved, Mapping):
        if hasattr(saved, "_metadata") or ("state" in saved and "param_groups" in saved):
            return True
        entries = list(islice(saved.items(), _MOST))
        if any(isinstance(value, torch.Tensor) and _is_weight(key) for key, value in entries):
            return True
        parts = [value for _, value in entries]
    elif isinstance(saved, (list, tuple)):
        parts = list(islice(saved, _MOST))
    else:
        return False
    return depth > 0 and any(holds_weights(torch, part, depth - 1) for part in parts)


def _is_weight(key: Any) -> bool:
    return isinstance(key, str) and _WEIGHT.search(key) is not None

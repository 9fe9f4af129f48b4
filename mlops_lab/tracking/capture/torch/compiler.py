"""Keeps torch.compile from taking our hooks apart when it takes apart the user's code that runs into them."""

from __future__ import annotations

from types import FunctionType
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=FunctionType | Any)


def unseen(torch: Any, function: _Function, deep: bool = False) -> _Function:
    """Have torch.compile run `function` as it is.

    Parameters
    ----------
    torch
        The library.
    function
        A Python function. It is not wrapped, so this costs nothing when it is called.
    deep
        Also all that it calls: for functions that call no code but ours.

    Returns
    -------
    function
        The same function.
    """
    frames = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)
    code = getattr(function, "__code__", None)
    try:
        skip = frames._FrameAction.SKIP  # type: ignore[union-attr]
        strategy = frames._FrameExecStrategy(skip, skip if deep else frames._FrameAction.DEFAULT)  # type: ignore[union-attr]
        frames.set_code_exec_strategy(code, strategy)  # type: ignore[union-attr]
    except AttributeError:
        # PyTorch before 2.7 can pass over one function at a time, and others find out for themselves.
        getattr(frames, "skip_code", lambda _: None)(code)
    return function

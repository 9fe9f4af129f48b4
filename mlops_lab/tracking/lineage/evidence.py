"""Which files a batch was read from, and which ones a dataset would read: by what they say of themselves.

Loader workers are processes of their own, and what they open is not seen here. But MONAI's tensors carry the name of
their file, and most datasets carry the list of theirs; that list is read as it is, never through the transforms.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

MOST_VALUES = 64
"""Entries of a batch that are looked at."""
MOST_ITEMS = 100_000
"""Entries of a dataset's list that are looked at."""
LONGEST_PATH = 4096

_NAME_KEYS = ("filename_or_obj", "path")
"""Under these MONAI keeps the file's name in a tensor's metadata; whole-slide readers use the second."""
_PLAIN = (int, float, bool, bytes, type(None))


def names_of(told: Any) -> list[str]:
    """Give the names in what a reader was given; what is no file (an array, a buffer) has none."""
    if isinstance(told, (str, bytes)):
        return [os.fsdecode(told)] if 0 < len(told) <= LONGEST_PATH else []
    if isinstance(told, os.PathLike):
        return names_of(os.fspath(told))
    if isinstance(told, (list, tuple)):
        return [name for part in told[:MOST_ITEMS] for name in names_of(part)]
    name = getattr(told, "name", None)
    return [name] if isinstance(name, str) and name and not name.startswith("<") else []


def names_in(batch: Any) -> list[str]:
    """Give the names of the files that a batch says it was read from; empty where it says none.

    Parameters
    ----------
    batch
        As a loader hands it out: a tensor, or lists, tuples and dictionaries of tensors, texts and metadata.
    """
    found: list[str] = []
    _look_into(batch, found, 3)
    return found


def _look_into(value: Any, found: list[str], depth: int) -> None:
    kind = type(value)
    if kind is str:
        if os.sep in value and len(value) <= LONGEST_PATH:
            found.append(value)
    elif kind is list or kind is tuple:
        first = value[0] if value else None
        if type(first) in _PLAIN:
            return
        if type(first) is str and os.sep not in first:
            return
        if depth:
            for item in islice(value, MOST_VALUES):
                _look_into(item, found, depth - 1)
    elif kind is dict or isinstance(value, Mapping):
        if _named(value, found):
            return
        if depth:
            for item in islice(value.values(), MOST_VALUES):
                _look_into(item, found, depth - 1)
    elif kind.__name__ not in ("Tensor", "ndarray"):
        meta = getattr(value, "meta", None)
        if isinstance(meta, dict):
            _named(meta, found)


def _named(meta: Mapping[Any, Any], found: list[str]) -> bool:
    for key in _NAME_KEYS:
        name = meta.get(key)
        if type(name) is str:
            found.append(name)
            return True
        if type(name) is list and name and type(name[0]) is str:
            found.extend(name)
            return True
    return False


def is_partial(batch: Any, size: int) -> bool:
    """Tell whether a batch of up to `size` items names the file of its first item alone.

    That is what PyTorch's own way to join items leaves of MONAI's metadata. All arrays of such a batch are as long as
    it has items; those of items that were not joined have the channels there.
    """
    lengths: set[int] = set()
    return _alone(batch, lengths, 3) and len(lengths) == 1 and 1 < lengths.pop() <= size


def _alone(value: Any, lengths: set[int], depth: int) -> bool:
    shape = getattr(value, "shape", None)
    if shape is not None:
        lengths.add(int(shape[0]) if len(shape) else 0)
        meta = getattr(value, "meta", None)
        return isinstance(meta, dict) and any(type(meta.get(key)) is str for key in _NAME_KEYS)
    if not depth or not isinstance(value, (list, tuple, Mapping)):
        return False
    parts = islice(value.values() if isinstance(value, Mapping) else value, MOST_VALUES)
    found = [_alone(part, lengths, depth - 1) for part in parts]  # all of them, for their lengths
    return any(found)


def is_in_memory(dataset: Any) -> bool:
    """Tell whether a dataset is a list, or PyTorch's of tensors: it reads no files."""
    return type(dataset).__name__ == "TensorDataset" or isinstance(dataset, (list, tuple))


def listed(dataset: Any) -> Iterator[str]:
    """Give the paths in a dataset's own lists, without asking it for an item.

    Understands MONAI's datasets, torchvision's folders, subsets and concatenations of such, and any dataset that
    keeps paths in lists, tuples, dictionaries, arrays of text or tables. Names of files alone are joined to the
    folder that the dataset keeps beside them.
    """
    yield from islice(_listed(dataset, None, 4), MOST_ITEMS)


def _listed(dataset: Any, indices: Sequence[int] | None, depth: int) -> Iterator[str]:
    try:
        values = vars(dataset)
    except TypeError:
        return
    if depth == 0:
        return
    inner = values.get("dataset")
    if hasattr(inner, "__getitem__") and not isinstance(inner, (str, list, tuple, dict)):
        chosen = values.get("indices")
        yield from _listed(inner, chosen if isinstance(chosen, Sequence) else None, depth - 1)
    folders = [text for text in map(_text, values.values()) if text and os.path.isdir(text)]
    for value in list(values.values()):
        items = _items(value)
        if items is None:
            continue
        if items and _is_dataset(items[0]):
            for part in items[:MOST_VALUES]:
                yield from _listed(part, None, depth - 1)
            continue
        if not any(True for item in items[:3] for _ in _paths_in(item, 2)):
            continue
        if indices is not None and len(items) > max(indices, default=-1):
            items = [items[index] for index in indices]
        for item in islice(items, MOST_ITEMS):
            for path in _paths_in(item, 2):
                yield _located(path, folders)


def _items(value: Any) -> Sequence[Any] | None:
    """Give `value` as a list where it is one of some kind; None for anything that would have to compute it."""
    if isinstance(value, (list, tuple)):
        return value
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and getattr(value, "ndim", 0) in (1, 2) and value.dtype.kind in "UO":
        return list(value[:MOST_ITEMS].tolist())
    if module == "pandas" and hasattr(value, "columns"):
        return [list(row) for row in value.head(MOST_ITEMS).itertuples(index=False)]
    if module == "pandas" and hasattr(value, "tolist") and hasattr(value, "head"):
        return list(value.head(MOST_ITEMS).tolist())
    return None


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "__getitem__") and hasattr(value, "__dict__") and not hasattr(value, "dtype")


def _paths_in(item: Any, depth: int) -> Iterator[str]:
    text = _text(item)
    if text:
        if os.sep in text or "." in text[1:]:
            yield text
    elif depth and isinstance(item, dict):
        for value in islice(item.values(), MOST_VALUES):
            yield from _paths_in(value, depth - 1)
    elif depth and isinstance(item, (list, tuple)):
        for value in islice(item, MOST_VALUES):
            yield from _paths_in(value, depth - 1)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_PATH and "\n" not in value else ""
    return os.fspath(value) if isinstance(value, os.PathLike) and isinstance(os.fspath(value), str) else ""


def _located(path: str, folders: Iterable[str]) -> str:
    if os.path.isabs(path) or os.path.exists(path):
        return path
    return next((whole for whole in (os.path.join(folder, path) for folder in folders) if os.path.exists(whole)), path)

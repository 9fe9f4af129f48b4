"""Tells which image file each row of a metric comes from, as far as the code that runs still knows it.

MetaTensors carry the file that they were read from; else the batch that the loader handed out last is asked, then the
dataset at the position that an unshuffled loader is at. Nothing is loaded or indexed that the training did not load.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ...run import Run
from ..printable import is_place
from ..torch import loaders

INDEX = "index:"
"""Begins the name of a case of which only its position in the dataset is known."""

_FILE = "filename_or_obj"
_TRUTH = re.compile(r"(?i)(^|_)(labels?|segs?|segmentations?|masks?|targets?|truth|gt|gts|y|y_true)($|_)")
_RESULT = re.compile(r"(?i)(^|_)(preds?|predictions?|outputs?|y_pred|logits|results?)($|_)")
_MOST_KEYS = 64

Places = list[str | None]


def places_of(run: Run, guess: Any, truth: Any, count: int) -> Places:
    """Find the image files of `count` rows that a metric has just computed.

    Parameters
    ----------
    guess, truth
        What the metric was given: a batch, or a list with one entry per case.
    count
        Rows that came of it.

    Returns
    -------
    list
        Per row the absolute path of its image, ``"index:<position in the dataset>"``, or None.
    """
    made = _of_tensors(guess, count)
    batch = loaders.current(run)
    if batch is not None:
        images, results = _of_batch(batch[1], count, made)
        if images is not None:
            return images
        if results is not None and results == made:
            made = None  # a prediction that was read from a file; every model has another one
    for found in (made, _of_tensors(truth, count)):
        if found is not None:
            return found
    positions = _of_dataset(batch[0], count) if batch is not None else None
    return positions if positions is not None else [None] * count


def _of_tensors(value: Any, count: int) -> Places | None:
    """Read the files from a batch of MetaTensors or a list of them; None where no row has one."""
    if isinstance(value, (list, tuple)):
        found: Places = [next(iter(_files(item) or [None])) for item in value]
    else:
        found = list(_files(value) or [])
    if len(found) == 1 and count > 1:
        found *= count  # the windows or components of one image
    return found if len(found) == count and any(found) else None


def _files(tensor: Any) -> list[str | None] | None:
    """Give the files that a MetaTensor, or a batch of them, says it was read from."""
    meta = getattr(tensor, "meta", None) if hasattr(type(tensor), "meta") else None
    return _of_meta(meta)


def _of_meta(meta: Any) -> list[str | None] | None:
    if not isinstance(meta, dict) or _FILE not in meta:
        return None
    names = meta[_FILE]
    return [_path(name) for name in (names if isinstance(names, (list, tuple)) else [names])]


def _path(name: Any) -> str | None:
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    return os.path.abspath(name) if isinstance(name, str) and name else None


def _of_batch(batch: Any, count: int, made: Places | None) -> tuple[Places | None, Places | None]:
    """Give the image files in a batch, and those of predictions in it."""
    if isinstance(batch, (list, tuple)) and batch and all(isinstance(item, dict) for item in batch):
        pairs = [_of_batch(item, 1, None) for item in batch]
        firsts: Places = [pair[0][0] if pair[0] else None for pair in pairs]
        return _fitting(firsts, count, made), None
    if isinstance(batch, dict):
        entries = [(str(key), value) for key, value in list(batch.items())[:_MOST_KEYS]]
    elif isinstance(batch, (list, tuple)):
        entries = [("label" if position else "image", value) for position, value in enumerate(batch[:_MOST_KEYS])]
    else:
        entries = [("image", batch)]
    found: dict[bool, Places] = {}
    for key, value in entries:
        result = bool(_RESULT.search(key))
        if result in found or (_TRUTH.search(key) and not result):
            continue
        files = _of_entry(value)
        if files is not None and any(files):
            found[result] = files
    images = found.get(False)
    return (_fitting(images, count, made) if images else None), found.get(True)


def _fitting(images: Places, count: int, made: Places | None) -> Places | None:
    """Give the images of `count` rows out of those of a batch: all of it, or the part that the rows say they are."""
    if not any(images):
        return None
    if len(images) == count:
        return images
    if made is not None and all(place in images for place in made):
        return made
    return images * count if len(images) == 1 else None


def _of_entry(value: Any) -> Places | None:
    found = _files(value)
    if found is not None:
        return found
    if isinstance(value, dict):
        return _of_meta(value)
    if isinstance(value, (str, os.PathLike)):
        value = [value]
    if isinstance(value, (list, tuple)) and value:
        if all(isinstance(item, (str, os.PathLike)) and is_place(os.fspath(item)) for item in value):
            return [_path(item) for item in value]
        if all(hasattr(type(item), "meta") for item in value):
            return [next(iter(_files(item) or [None])) for item in value]
    return None


def _of_dataset(info: loaders.LoaderInfo, count: int) -> Places | None:
    """Tell the rows by the place of the batch in an unshuffled dataset; its list of files is read where it has one."""
    loader = info.loader
    if loader is None or type(getattr(loader, "sampler", None)).__name__ != "SequentialSampler":
        return None
    size = getattr(loader, "batch_size", None)
    if not isinstance(size, int) or count > size:
        return None
    if count != size and (info.batches is None or info.batch != info.batches):
        return None  # a part of a batch, nobody knows which
    return [_of_item(loader.dataset, (info.batch - 1) * size + offset) for offset in range(count)]


def _of_item(dataset: Any, position: int) -> str:
    own = dataset
    at = position
    for _ in range(8):
        indices, inner = getattr(own, "indices", None), getattr(own, "dataset", None)
        if inner is None or not isinstance(indices, (list, tuple, range)) or at >= len(indices):
            break
        own, at = inner, int(indices[at])  # a Subset
    data = getattr(own, "data", None)
    if isinstance(data, (list, tuple)) and at < len(data):
        item = data[at]
        images, _ = _of_batch(item, 1, None) if isinstance(item, dict) else (_of_entry(item), None)
        if images and len(images) == 1 and images[0]:
            return images[0]
    return f"{INDEX}{at}"

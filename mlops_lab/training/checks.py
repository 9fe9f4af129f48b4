"""Checks an image and its label as they are read, so that a dataset that does not fit fails with a sentence."""

from __future__ import annotations

import os
from typing import Any

from .errors import DatalistError


def plain_2d(pair: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Give an image and its label as single-channel 2D tensors; a transform for MONAI's ``Compose``.

    Parameters
    ----------
    pair
        ``image`` and ``label``, tensors of shape (channel, height, width) or (channel, height, width, 1), as
        ``LoadImaged`` gives them with ``ensure_channel_first``.
    num_classes
        How many values a label may have: 0 to ``num_classes - 1``.

    Returns
    -------
    dict
        `pair` with tensors of shape (1, height, width).

    Raises
    ------
    DatalistError
        When the image is no single-channel 2D image, when the label has another shape, or other values.
    """
    image, label = (_flat(pair[key]) for key in ("image", "label"))
    name = _name(pair["image"])
    if image.ndim != 3 or image.shape[0] != 1:
        raise DatalistError(
            f"{name} is not a 2D image with one channel: its shape is {_shape(pair['image'])}.",
            "This recipe takes single slices in shades of grey.",
        )
    if label.shape != image.shape:
        raise DatalistError(f"{name} has the shape {_shape(image)}, but its label has {_shape(label)}.")
    values = label.unique().tolist()
    wrong = [value for value in values if value not in range(num_classes)]
    if wrong:
        raise DatalistError(
            f"The label of {name} holds the value {wrong[0]:g}, which is none of the {num_classes} classes.",
            f"Label values go from 0 to num_classes - 1, here {num_classes - 1}: set num_classes to fit the labels.",
        )
    return {**pair, "image": image, "label": label}


def _flat(tensor: Any) -> Any:
    return tensor[..., 0] if tensor.ndim == 4 and tensor.shape[-1] == 1 else tensor


def _shape(tensor: Any) -> str:
    return " x ".join(str(size) for size in tensor.shape[1:]) + (
        f" with {tensor.shape[0]} channels" if tensor.shape[0] != 1 else ""
    )


def _name(tensor: Any) -> str:
    """Give the name of the file that `tensor` was read from."""
    source = getattr(tensor, "meta", {}).get("filename_or_obj", "")
    return os.path.basename(str(source)) or "An image"

"""Seeds every random generator that the block can reach."""

from __future__ import annotations

import importlib.util
import random


def seed_everything(seed: int) -> list[str]:
    """Seed `random`, NumPy, PyTorch and MONAI where they are installed.

    MONAI's :func:`set_determinism` also makes PyTorch choose deterministic algorithms. It is used where MONAI is
    installed, because a cell that asks for a seed is about to import it.

    Returns
    -------
    list of str
        What was seeded.
    """
    random.seed(seed)
    seeded = ["random"]
    if importlib.util.find_spec("monai") is not None and importlib.util.find_spec("torch") is not None:
        from monai.utils.misc import set_determinism

        set_determinism(seed)
        return [*seeded, "numpy", "torch", "monai"]
    if importlib.util.find_spec("numpy") is not None:
        import numpy

        numpy.random.seed(seed % 2**32)
        seeded.append("numpy")
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.manual_seed(seed)
        seeded.append("torch")
    return seeded

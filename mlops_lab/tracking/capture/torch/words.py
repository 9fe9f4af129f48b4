"""Makes the names of series and params out of the names that users give their variables."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..naming import snake_case

_LOSS = ("loss", "losses", "train", "training", "total", "criterion", "function", "fn", "func", "value", "val", "sum")
_OPTIMIZER = ("optimizer", "optimizers", "optimiser", "optimisers", "optim", "opt", "opts")
_LOADER = ("dataloader", "dataloaders", "loader", "loaders", "iterable", "iterator", "iter", "dl", "it", "data")
_DATASET = ("dataset", "datasets", "data", "ds", "set")
_NOTHING = {"l", "x", "o", "out", "output", "res", "result", "item", "self", "cls", "obj", "value", "tensor", "tensors"}
_ROLES = {
    "training": "train",
    "tr": "train",
    "trn": "train",
    "validation": "val",
    "validate": "val",
    "valid": "val",
    "testing": "test",
}


def loss_words(name: str) -> list[str]:
    """``loss_d`` -> ``[d]``, ``gLoss`` -> ``[g]``, ``errD`` -> ``[err, d]``, ``total_loss`` -> ``[]``."""
    return _without(name, _LOSS)


def optimizer_words(name: str) -> list[str]:
    """``opt_g`` -> ``[g]``, ``optimizerD`` -> ``[d]``, ``optimizer`` -> ``[]``."""
    return _without(name, _OPTIMIZER)


def loader_words(name: str) -> list[str]:
    """``train_loader`` -> ``[train]``, ``validationDataLoader`` -> ``[val]``, ``loader`` -> ``[]``."""
    return [_ROLES.get(word, word) for word in _without(name, _LOADER)]


def dataset_words(name: str) -> list[str]:
    """``train_ds`` -> ``[train]``, ``dataset`` -> ``[]``."""
    return [_ROLES.get(word, word) for word in _without(name, _DATASET)]


def class_words(name: str) -> list[str]:
    """``DiceCELoss`` -> ``[dice, ce]``, ``AdamW`` -> ``[adam, w]``, ``cross_entropy`` -> ``[cross, entropy]``."""
    return [word for word in snake_case(name).split("_") if word and word not in ("loss", "criterion")] or [
        name.lower()
    ]


def shared(names: Iterable[list[str]]) -> list[str]:
    """Give the words that all of `names` have, in the order of the first: ``err_d_real, err_d_fake`` -> ``err_d``."""
    first, *others = list(names) or [[]]
    return [word for word in first if all(word in other for other in others)]


def free(wanted: str, taken: Iterable[str]) -> str:
    """Give `wanted`, numbered where it is taken."""
    known = set(taken)
    if wanted not in known:
        return wanted
    return next(name for number in range(2, len(known) + 3) if (name := f"{wanted}_{number}") not in known)


def _without(name: str, dropped: tuple[str, ...]) -> list[str]:
    found = []
    for word in snake_case(name).split("_"):
        if word in dropped or word in _NOTHING:
            continue
        # Run together: dloss, loss1, trainloader, optg.
        for known in dropped:
            if word.endswith(known) and (len(known) > 3 or known == "set"):
                word = word[: -len(known)]
            elif len(known) > 2 and re.fullmatch(rf"{known}(\d+|[a-z]{{1,2}})", word):
                word = word[len(known) :]
        if word and word not in dropped:
            found.append(word)
    return found

"""The transforms of every dataset that a loader iterates over inside the block: ``transforms/<loader>.yaml``.

One entry per transform, with its class and the arguments that it was built with, nested where transforms are nested.
Nothing is applied, indexed or loaded for it; the text is the same for the same pipeline.
"""

from __future__ import annotations

from typing import Any

from ...run import Run
from ..construction import arguments, held
from ..patches import Patches
from ..printable import function_name, yaml_of
from ..torch import loaders
from ..torch.frames import inside

MODULES = ("torch.utils.data.dataset",)

MOST_TRANSFORMS = 500
"""Transforms of one pipeline; and loaders of one run."""
_DEEPEST = 12
_PARTS = ("transforms", "transform")
_INNER = ("dataset", "datasets", "data_source", "src_data")

_on = False


def install(module: Any, patches: Patches) -> None:
    """Begin to look at the datasets that are iterated over; `module` is ``torch.utils.data.dataset``."""
    global _on
    _on = True
    patches.undo_with(_stop)


def _stop() -> None:
    global _on
    _on = False


class _Written:
    """The pipelines that one run has: per loader the text."""

    def __init__(self) -> None:
        self.loaders: set[str] = set()
        self.texts: dict[str, str] = {}


def _given(run: Run, info: loaders.LoaderInfo, batch: Any) -> bool:
    if info.batch == 1 and _on:
        _write(run, info)
    return False


def _write(run: Run, info: loaders.LoaderInfo) -> None:
    written = run.book("transforms", _Written)
    loader = info.loader
    if loader is None or info.name in written.loaders or len(written.loaders) >= MOST_TRANSFORMS:
        return
    written.loaders.add(info.name)
    try:
        described = describe(loader.dataset)
        if described is not None:
            run.log_text(text_of(described), f"transforms/{info.name}.yaml")
    except Exception as error:
        run.notice(f"The transforms of the loader {info.name} could not be described ({type(error).__name__}).")


loaders.observe(_given)


def describe(dataset: Any) -> dict[str, Any] | None:
    """Describe a dataset and its transforms; None where it has none.

    Returns
    -------
    dict
        ``dataset``: its class; ``arguments``; then per attribute that holds transforms a list of them; and the
        datasets that it is made of, described in the same way.
    """
    found = _dataset(dataset, _Count(), 0)
    return found if _has_transforms(found) else None


def text_of(described: dict[str, Any]) -> str:
    """Give a description as YAML, lists of settings on one line."""
    return yaml_of(described)


class _Count:
    """Keeps an object that holds itself from being described for ever."""

    def __init__(self) -> None:
        self.left = MOST_TRANSFORMS

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


def _dataset(dataset: Any, count: _Count, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"dataset": type(dataset).__name__}
    own = inside(dataset)
    names = [name for name, value in list(own.items()) if _holds_transforms(name, value)]
    if "transform" in names and "transforms" in names:
        names.remove("transforms")  # torchvision's pair of the others
    given = {name: value for name, value in _settings(dataset).items() if not _is_part(name)}
    if given:
        found["arguments"] = {name: _no_data(value, dataset) for name, value in given.items()}
    for name in names:
        pipeline = _pipeline(own[name], count, depth)
        if pipeline:
            found["transforms" if name in _PARTS else name] = pipeline
    inner = _inner(own)
    if inner and depth < _DEEPEST and count.take():
        found["datasets"] = [_dataset(item, count, depth + 1) for item in inner]
    return found


def _holds_transforms(name: str, value: Any) -> bool:
    if value is None or "transform" not in name.lower().lstrip("_") or name.startswith("_"):
        return False
    return callable(value) or (isinstance(value, (list, tuple)) and any(callable(item) for item in value))


def _is_part(name: str) -> bool:
    """Tell whether an argument of a dataset is told below it: its transforms, and the datasets that it is made of."""
    return name in _INNER or "transform" in name.lower()


def _no_data(value: Any, dataset: Any) -> Any:
    """Tell by its size what a dataset was given per item, a list of labels for one."""
    if isinstance(value, (list, tuple)) and value and hasattr(dataset, "__len__") and len(value) == len(dataset):
        return f"{type(value).__name__}({len(value)})"
    return value


def _inner(own: dict[str, Any]) -> list[Any]:
    """Give the datasets that a dataset is made of: a Subset's one, a ConcatDataset's several."""
    found: list[Any] = []
    for name in (*_INNER, "data"):
        value = own.get(name)
        for item in value if isinstance(value, (list, tuple)) and len(value) <= 64 else [value]:
            if hasattr(type(item), "__getitem__") and hasattr(item, "__dict__") and not callable(item):
                found.append(item)
    return found


def _pipeline(value: Any, count: _Count, depth: int) -> list[Any]:
    """List the transforms of a pipeline; one that only chains others is the list of these."""
    if isinstance(value, (list, tuple)):
        return [_transform(item, count, depth + 1) for item in value]
    inner = inside(value).get("transforms")
    if type(value).__name__ == "Compose" and isinstance(inner, (list, tuple)) and not _composed(value):
        return [_transform(item, count, depth + 1) for item in inner]
    return [_transform(value, count, depth)]


def _composed(value: Any) -> dict[str, Any]:
    """Give the arguments of a chain besides what it chains."""
    return {name: given for name, given in _settings(value).items() if name not in _PARTS}


def _transform(value: Any, count: _Count, depth: int) -> Any:
    if depth > _DEEPEST or not count.take():
        return "..."
    if _is_function(value) or isinstance(value, type):
        return function_name(value)
    given: dict[str, Any] = dict(_settings(value))
    for name, part in inside(value).items():
        # What a transform was given to apply: OneOf's choices, a wrapper's transform; its own workings are not told.
        if name in given or name in _PARTS:
            if isinstance(part, (list, tuple)) and any(_is_transform(item) for item in part):
                given[name] = [_transform(item, count, depth + 1) for item in part]
            elif _is_transform(part):
                given[name] = _transform(part, count, depth + 1)
    name = type(value).__name__
    return {name: given} if given else name


def _is_transform(value: Any) -> bool:
    return callable(value) and hasattr(value, "__dict__") and not isinstance(value, type) and not _is_function(value)


def _is_function(value: Any) -> bool:
    return hasattr(value, "__code__") or not hasattr(value, "__dict__")


def _settings(thing: Any) -> dict[str, Any]:
    seen = arguments(thing)
    return held(thing) if seen is None else seen


def _has_transforms(described: dict[str, Any]) -> bool:
    inner = described.get("datasets", [])
    own = any(name not in ("dataset", "arguments", "datasets") for name in described)
    return own or any(_has_transforms(item) for item in inner)

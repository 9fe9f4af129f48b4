"""Runs a MONAI bundle inside a notebook cell, as ``python -m monai.bundle run`` would, but quietly.

What a bundle raises is shown as it is, without MONAI's layers of "Failed to evaluate" around it.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import MissingPackage, TrainingError

CONFIG = Path("configs") / "train.yaml"
"""Where a bundle keeps its training configuration, relative to its root."""

_CODE = ("$", "@", "%")
_OUTPUT = "output_dir"


def run_bundle(bundle: str | os.PathLike[str], **settings: Any) -> None:
    """Train with a MONAI bundle, in this process.

    Parameters
    ----------
    bundle
        The bundle's folder, e.g. what ``mlops_lab.recipe`` gives. Its configuration is executed: run only bundles
        that you trust.
    **settings
        New values for top-level entries of the bundle's ``configs/train.yaml``.

    Raises
    ------
    TrainingError
        When the bundle has no such entry, or a text would be taken for code.
    MissingPackage
        When MONAI is not installed.

    Notes
    -----
    Where the bundle has an entry ``output_dir`` that `settings` leave alone, it is a temporary folder; in a tracked
    cell the files in it become artifacts of the run.
    """
    try:
        from monai.bundle.workflows import ConfigWorkflow
    except ImportError as error:
        raise MissingPackage(
            f"MONAI cannot be imported in this environment ({error}), so nothing was trained.",
            "Install it with: pip install 'mlops-lab[monai]'",
        ) from error
    config = Path(bundle) / CONFIG
    if not config.is_file():
        raise TrainingError(f"{bundle} is not a MONAI bundle: it has no {CONFIG}.")
    values = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="mlops-lab-") as output, _quiet():
        workflow = ConfigWorkflow(config_file=str(config), logging_file=False, workflow_type=None)
        entries = workflow.parser.get()
        _check(values, entries)
        own_output = _OUTPUT in entries and _OUTPUT not in values
        workflow.parser.update(pairs=values | ({_OUTPUT: output} if own_output else {}))
        with _plain_errors():
            workflow.initialize()
            try:
                workflow.run()
            finally:
                workflow.finalize()
        if own_output:
            _keep(Path(output))


_WEIGHTS = (".pt", ".pth")


def _check(values: dict[str, Any], entries: dict[str, Any]) -> None:
    for name, value in values.items():
        if name not in entries:
            raise TrainingError(f"This bundle has no setting {name!r}.", f"Its entries are: {', '.join(entries)}.")
        if isinstance(value, str) and value.startswith(_CODE):
            raise TrainingError(f"The setting {name} may not start with {value[0]!r}: MONAI would run it as code.")


def _keep(output: Path) -> None:
    """Hand the files that the bundle wrote to the run of this cell, if there is one."""
    from ..tracking import active_run

    run = active_run()
    if run is None:
        return
    for path in sorted(output.iterdir()):
        # Weights are among the run's checkpoints already, unless it was told to keep none.
        if path.suffix not in _WEIGHTS or not run.options.keeps_checkpoints:
            run.log_artifact(path)


_TALKATIVE = ("monai.bundle.workflows", "monai.data.nvimgcodec_pydicom_plugin", "ignite.engine")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MONAI from writing about its logging and about decoders that no recipe asks for, and ignite from announcing
    an error that is raised anyway.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Said by MONAI's image reader wherever pydicom is installed.
            warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise the error that a bundle's component raised, instead of MONAI's RuntimeErrors that wrap it."""
    try:
        yield
    except RuntimeError as error:
        cause = _cause(error)
        if cause is error:
            raise
        raise cause from None


_WRAPPERS = ("Failed to evaluate", "Failed to instantiate", "applying transform")


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, RuntimeError) and str(error).startswith(_WRAPPERS) and error.__cause__ is not None:
        error = error.__cause__
    return error

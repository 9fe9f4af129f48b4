"""Which files are read: the doors of the field's libraries, and what MONAI's batches say of where they come from.

An audit hook of Python's would see every file that is opened, but it can never be taken out again, and it makes each
call of ``id`` six times as slow (19 to 120 ns, measured) for the life of the kernel. So the doors are watched instead:
methods and inner functions that nobody holds in a variable, because a function that was replaced under its name can
no longer be pickled by those who hold it (``DatasetFolder(loader=numpy.load)`` under spawned workers).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from ..lineage import seen
from ..run import Run, runs
from .patches import Patches
from .torch import loaders
from .torch.loaders import LoaderInfo

Teller = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def _argument(position: int, *names: str) -> Teller:
    def tell(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) > position:
            return args[position]
        return next((kwargs[name] for name in names if name in kwargs), None)

    return tell


def _unless_written(path: Teller, mode: Teller) -> Teller:
    def tell(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        how = mode(args, kwargs)
        return path(args, kwargs) if how is None or "r" in str(how) else None

    return tell


def _of_image_file(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # Pillow opens the file itself and gives its name beside it; where it was given an open file, that has one.
    return _argument(2, "filename")(args, kwargs) or _argument(1, "fp")(args, kwargs)


def _of_itk(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reader = args[0]
    return list(reader.GetFileNames()) if hasattr(reader, "GetFileNames") else reader.GetFileName()


_DOORS: dict[str, tuple[tuple[str, str, Teller], ...]] = {
    "nibabel.openers": (("Opener", "__init__", _unless_written(_argument(1, "fileish"), _argument(2, "mode"))),),
    "PIL.ImageFile": (("ImageFile", "__init__", _of_image_file),),
    "numpy.lib.format": (
        ("", "read_array", _argument(0, "fp")),
        ("", "open_memmap", _unless_written(_argument(0, "filename"), _argument(1, "mode"))),
    ),
    "numpy.lib._npyio_impl": (("NpzFile", "__init__", _argument(1, "fid")),),
    "numpy.lib.npyio": (("NpzFile", "__init__", _argument(1, "fid")),),
    "numpy.lib._datasource": (("DataSource", "open", _unless_written(_argument(1, "path"), _argument(2, "mode"))),),
    "pandas.io.parsers.readers": (("TextFileReader", "__init__", _argument(1, "f")),),
    "pandas.io.json._json": (("JsonReader", "__init__", _argument(1, "filepath_or_buffer")),),
    "pandas.io.excel._base": (("ExcelFile", "__init__", _argument(1, "path_or_buffer")),),
    "pandas.io.parquet": (
        ("PyArrowImpl", "read", _argument(1, "path")),
        ("FastParquetImpl", "read", _argument(1, "path")),
    ),
    "csv": (("", "reader", _argument(0)),),
    "pydicom.filereader": (("", "read_partial", _argument(0, "fileobj")),),
    "SimpleITK": (
        ("ImageFileReader", "Execute", _of_itk),
        ("ImageSeriesReader", "Execute", _of_itk),
    ),
    "nrrd.reader": (("", "read_header", _argument(0, "file")),),
    "tifffile.tifffile": (("TiffFile", "__init__", _argument(1, "file")),),
    "h5py._hl.files": (("File", "__init__", _unless_written(_argument(1, "name"), _argument(2, "mode"))),),
    "openslide": (("OpenSlide", "__init__", _argument(1, "filename")),),
    "monai.data.image_reader": (("ImageReader", "read", _argument(1, "data")),),
}
MODULES = tuple(_DOORS)


def install(module: Any, patches: Patches) -> None:
    """Watch the doors of `module`; what a version of it does not have is passed over."""
    for owner_name, attribute, tell in _DOORS[module.__name__]:
        owner = getattr(module, owner_name, None) if owner_name else module
        for place in _family(owner) if isinstance(owner, type) and attribute != "__init__" else [owner]:
            original = vars(place).get(attribute) if place is not None else None
            if callable(original) and not hasattr(original, "_mlops_lab_hook"):
                patches.set(place, attribute, _watched(original, tell))


def _watched(original: Any, tell: Teller) -> Any:
    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        value = original(*args, **kwargs)
        run = runs.current
        book = seen.of(run) if run is not None else seen.of_parent()
        if book is not None:
            with contextlib.suppress(
                Exception
            ):  # a reader of another kind; what it has read is the user's all the same
                book.opened(tell(args, kwargs))
        return value

    watched._mlops_lab_hook = True  # type: ignore[attr-defined]
    return watched


def _family(base: type) -> list[type]:
    found: list[type] = [base]
    for cls in found:
        below: list[type] = cls.__subclasses__()
        found += [derived for derived in below if derived not in found]
    return found


def _batch(run: Run, info: LoaderInfo, batch: Any) -> bool:
    book = seen.of(run)
    return book is not None and book.batch(info, batch)


loaders.observe(_batch)

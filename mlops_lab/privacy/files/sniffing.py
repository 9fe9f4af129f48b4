"""Tells by its first bytes what a file is, and hands it to whoever reads that format."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import archives, arrays, binaries, dicom, images, itk, nifti, pdf, pickles, streams, texts
from .content import Content
from .examination import Examination

Pieces = Sequence[bytes | Content]
Reader = Callable[[Examination, Content], Pieces | None]

_HEAD = 4096
_MAGIC: tuple[tuple[bytes, Reader], ...] = (
    (b"\x1f\x8b", streams.compressed),
    (b"BZh", streams.compressed),
    (b"\xfd7zXZ\0", streams.compressed),
    (b"PK\x03\x04", archives.zipped),
    (b"PK\x05\x06", archives.zipped),
    (b"\x89PNG\r\n\x1a\n", images.png),
    (b"\xff\xd8\xff", images.jpeg),
    (b"II*\0", images.tiff),
    (b"MM\0*", images.tiff),
    (b"%PDF-", pdf.read),
    (b"\x93NUMPY", arrays.npy),
    (b"NRRD0", itk.nrrd),
    *((bytes([0x80, protocol]), pickles.read) for protocol in range(2, 6)),
)
_SEALED = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
"""Begins of archives that the standard library does not open: 7z, RAR, Zstandard, LZ4."""


def inspect(examination: Examination, content: Content) -> Pieces | None:
    """Look through `content`.

    Returns
    -------
    sequence or None
        The pieces of a changed copy; None where it may be recorded as it is.

    Raises
    ------
    Blocked
        When it may not be recorded.
    """
    head = content.read(0, _HEAD)
    dicom.refuse(head)
    for magic, read in _MAGIC:
        if head.startswith(magic):
            return read(examination, content)
    if head.startswith(_SEALED):
        return binaries.sealed()
    for fits, reader in (
        (nifti.is_nifti, nifti.read),
        (streams.is_tar, archives.tarred),
        (itk.is_metaimage, itk.metaimage),
        (arrays.is_safetensors, arrays.safetensors),
        (pickles.is_old, pickles.read),
        (texts.is_text, texts.read),
    ):
        if fits(head, content):
            return reader(examination, content)
    return binaries.read(examination, content)

"""Recognises raw DICOM, with its preamble or without; such a file is never recorded."""

from __future__ import annotations

import re
import struct

from ..model import Kind
from .examination import Blocked

_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SURE = re.compile(
    rb"\x08\0[\x16\x18]\0UI[\x06-\x40]\0[0-2]\.|\0\x08\0[\x16\x18]UI\0[\x06-\x40][0-2]\.|\x10\0\x10\0PN|\0\x10\0\x10PN"
)
"""The class and instance of an image and the patient's name, as they are spelled in an explicit transfer syntax."""
_ENOUGH = 3
"""Elements in a row that only DICOM has."""
_LARGEST = 1 << 16


def refuse(head: bytes) -> None:
    """Raise where the first bytes of a file are those of a DICOM data set.

    Raises
    ------
    Blocked
    """
    if is_dicom(head):
        raise Blocked(
            Kind.DICOM_FILE,
            "it is raw DICOM, whose header and pixels may identify a patient. Convert it to NIfTI or a picture first.",
        )


def is_dicom(head: bytes) -> bool:
    """Tell whether `head` begins a DICOM file or a bare data set, in any transfer syntax that is not deflated."""
    if head[128:132] == b"DICM" or _SURE.search(head):
        return True
    return any(_elements(head, order, explicit) for order in "<>" for explicit in (True, False))


def _elements(head: bytes, order: str, explicit: bool) -> bool:
    """Tell whether `head` begins with elements whose tags rise from the group of files or of identification."""
    at = found = 0
    before = (0, 0)
    identifying = False
    while at + 8 <= len(head):
        group, element = struct.unpack_from(f"{order}HH", head, at)
        if (found == 0 and group not in (2, 8)) or (group, element) <= before or group > 0x7FE0:
            return False
        if group not in (2, 8, 9, 0x10) and found < _ENOUGH:
            return False
        size, at = element_size(head, at, order, explicit)
        if size < 0:
            return False
        identifying |= group in (8, 0x10)
        before = group, element
        found += 1
        if size == 0xFFFFFFFF or size > _LARGEST:
            break
        at += size
        if found >= _ENOUGH and identifying:
            return True
    # A data set may be short, or begin with a long sequence.
    return found >= _ENOUGH or (found == 2 and explicit and at >= len(head))


def element_size(head: bytes, at: int, order: str, explicit: bool) -> tuple[int, int]:
    """Give the length of the element at `at` and where its value begins; -1 where it is none."""
    if not explicit:
        (size,) = struct.unpack_from(f"{order}I", head, at + 4)
        return (size if size == 0xFFFFFFFF or (size % 2 == 0 and size <= _LARGEST) else -1), at + 8
    representation = head[at + 4 : at + 6]
    if representation not in _VRS:
        return -1, at
    if representation in _LONG:
        if at + 12 > len(head):
            return -1, at
        return int(struct.unpack_from(f"{order}I", head, at + 8)[0]), at + 12
    return int(struct.unpack_from(f"{order}H", head, at + 6)[0]), at + 8

"""Reads whose a DICOM file is, from its first bytes: for the list of names that belong to the data."""

from __future__ import annotations

import struct
from pathlib import Path

from .dicom import element_size, is_dicom

_HEAD = 64 * 2**10
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_IMPLICIT = b"1.2.840.10008.1.2"
_BIG = b"1.2.840.10008.1.2.2"
_LAST = (0x0020, 0x0010)
PATIENT_NAME, OTHER_NAMES, BIRTH_NAME = "00100010", "00101001", "00101005"
PATIENT_ID, OTHER_IDS, ACCESSION, BIRTH_DATE, REMOVED = "00100020", "00101000", "00080050", "00100030", "00120062"
INSURANCE, REFERRING = "00101050", "00080090"
_WANTED = frozenset(
    (
        *(PATIENT_NAME, OTHER_NAMES, BIRTH_NAME, PATIENT_ID, OTHER_IDS, ACCESSION, BIRTH_DATE, REMOVED, INSURANCE),
        REFERRING,
    )
)


def identifying_values(path: Path) -> dict[str, list[str]]:
    """Give the values of the attributes that say who a file is of, by tag; empty where it is no DICOM.

    Pixels are not read, and nothing behind the first 64 KiB.
    """
    with open(path, "rb") as stream:
        head = stream.read(_HEAD)
    if not is_dicom(head):
        return {}
    order, explicit, at = "<", True, 0
    if head[128:132] == b"DICM":
        syntax, at = _meta(head, 132)
        if syntax == _DEFLATED:
            return {}
        explicit = syntax != _IMPLICIT
        order = ">" if syntax == _BIG else "<"
    elif head[4:6].isalpha() is False:
        explicit = False
    return _values(head, at, order, explicit)


def _meta(head: bytes, at: int) -> tuple[bytes, int]:
    """Read the group of the file itself: gives the transfer syntax, and where the data set begins."""
    syntax = b""
    while at + 8 <= len(head) and head[at : at + 2] == b"\x02\0":
        element = head[at + 2 : at + 4]
        size, begin = element_size(head, at, "<", True)
        if size < 0:
            break
        if element == b"\x10\0":
            syntax = head[begin : begin + size].rstrip(b"\0 ")
        at = begin + size
    return syntax, at


def _values(head: bytes, at: int, order: str, explicit: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    encoding = "latin-1"
    while at + 8 <= len(head):
        group, element = struct.unpack_from(f"{order}HH", head, at)
        if (group, element) > _LAST:
            break
        size, begin = element_size(head, at, order, explicit)
        if size < 0:
            break
        if size == 0xFFFFFFFF:
            at = _behind(head, begin, order)
            continue
        tag = f"{group:04x}{element:04x}"
        data = head[begin : begin + size]
        if tag == "00080005" and (b"192" in data or b"GB18030" in data):
            encoding = "gb18030" if b"GB" in data else "utf-8"
        if tag in _WANTED:
            text = data.decode(encoding, "replace").strip("\0 ")
            # Values are set apart by a backslash, writings of one name by an equals sign.
            values = [part.strip(" ^") for value in text.split("\\") for part in value.split("=")]
            found[tag] = [value for value in values if value]
        at = begin + size
    return found


def _behind(head: bytes, at: int, order: str) -> int:
    """Give where a sequence of unknown length ends, sequences in it included."""
    end = struct.pack(f"{order}HH", 0xFFFE, 0xE0DD) + bytes(4)
    stop = head.find(end, at)
    return stop + 8 if stop >= 0 else len(head)

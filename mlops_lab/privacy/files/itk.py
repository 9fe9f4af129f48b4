"""NRRD and MetaImage: a header of text lines, then voxels or the name of the file that holds them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .content import Content
from .examination import Examination

_LONGEST_HEADER = 4 * 2**20
_METAIMAGE = re.compile(rb"(?:\w+ {0,8}= {0,8}[^\n]{0,400}\r?\n){0,20}(?:NDims|ObjectType) {0,8}=")
_DATA_FILE = re.compile(rb"^ElementDataFile {0,8}= {0,8}[^\n]*\n?", re.M)


def is_metaimage(head: bytes, content: Content) -> bool:
    """Tell whether `head` begins a MetaImage header."""
    return _METAIMAGE.match(head) is not None


def nrrd(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the header of an NRRD file, which ends at an empty line."""
    beginning = content.read(0, _LONGEST_HEADER)
    end = re.search(rb"\r?\n\r?\n", beginning)
    return _screened(examination, content, beginning, end.start() if end else len(beginning))


def metaimage(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen the header of a MetaImage file, whose last line names the file of the voxels."""
    beginning = content.read(0, _LONGEST_HEADER)
    end = _DATA_FILE.search(beginning)
    return _screened(examination, content, beginning, end.end() if end else len(beginning))


def _screened(
    examination: Examination, content: Content, beginning: bytes, stop: int
) -> Sequence[bytes | Content] | None:
    encoding = "utf-8"
    try:
        text = beginning[:stop].decode()
    except UnicodeDecodeError:
        encoding = "latin-1"
        text = beginning[:stop].decode(encoding)
    changed = examination.text(text, "header")
    if changed == text:
        return None
    return [changed.encode(encoding, "replace"), content.part(stop, content.size)]

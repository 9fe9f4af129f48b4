"""Text files: tables, JSON, notebooks, YAML, code, markup, logs. Large ones are read some lines at a time."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..model import Kind
from ..source import parse
from .content import BytesContent, Content, flow
from .examination import Blocked, Examination

AT_ONCE = 8 * 2**20
"""Bytes of a text with a structure (JSON, markup, code) that is read in one piece."""
STRETCH = 16 * 2**10
"""Bytes that are read of another at a time: one search in one piece lets no other thread of Python run meanwhile."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_TABLE = re.compile(r"[^\n]*[,;\t][^\n]*\n")
_CODE = re.compile(r"^(?:import |from \w[\w.]* import |def \w|class \w|@\w|print\()", re.M)
_DATA_URI = re.compile(r"(data:(?:image|application)/[\w.+-]+;base64,)([A-Za-z0-9+/=\s]{40,})")
_GLYPHS = re.compile(r"<!--(.*?)-->(\s*<g\b[^<>]*>)((?:(?!</?g\b|<!--).)*)(</g>)", re.DOTALL)


def is_text(head: bytes, content: Content) -> bool:
    """Tell whether a file that begins with `head` is text."""
    return _encoding(head) is not None


def _encoding(head: bytes) -> str | None:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    if not head:
        return "utf-8"
    if _CONTROLS.search(head):
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
        return "utf-8"
    except UnicodeDecodeError:
        strange = sum(0x7F <= byte < 0xA0 for byte in head)
        return "latin-1" if strange * 20 < len(head) else None


def read(examination: Examination, content: Content) -> Sequence[bytes | Content] | None:
    """Screen a text file."""
    encoding = _encoding(content.read(0, 4096)) or "latin-1"
    mark = next((mark for mark, _ in _BOMS if content.read(0, 4).startswith(mark)), b"")
    if content.size > AT_ONCE or (content.size > 2 * STRETCH and _is_plain(content.read(len(mark), 4096), encoding)):
        return _long(examination, content, encoding, mark)
    data = content.read(len(mark), content.size)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"
        text = data.decode(encoding)
    changed = _screened(examination, text)
    return None if changed == text else [mark + changed.encode(encoding, "replace")]


def _is_plain(head: bytes, encoding: str) -> bool:
    """Tell whether a text is lines that mean the same one by one: a log, a table."""
    text = head.decode(encoding, "replace")
    return encoding in ("utf-8", "latin-1") and text.lstrip()[:1] not in ("{", "[", "<") and not _CODE.search(text)


def _screened(examination: Examination, text: str) -> str:
    first = text.lstrip()[:1]
    if first in ("{", "["):
        return _json(examination, text)
    if first == "<":
        return _markup(examination, text)
    if _CODE.search(text) and parse(text) is not None:
        return examination.code(text)
    return examination.text(text, "json" if _is_toml(text) else "file")


def _is_toml(text: str) -> bool:
    """Tell whether it is TOML, which like JSON has no word for a placeholder in the place of a number."""
    import tomllib

    if "=" not in text:
        return False
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return True


def _json(examination: Examination, text: str) -> str:
    if '"cells"' in text and '"nbformat"' in text:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict) and isinstance(document.get("cells"), list):
            new = _notebook(examination, json.loads(text))
            return text if new == document else json.dumps(new, indent=1, ensure_ascii=False) + "\n"
    return examination.text(text, "json")


def _notebook(examination: Examination, value: Any, key: str = "") -> Any:
    """Screen what a notebook holds: cells as code, outputs as text, pictures as pictures."""
    if isinstance(value, dict):
        if value.get("cell_type") == "code" and "source" in value:
            value = {**value, "source": _lines(value["source"], examination.code)}
        elif "cell_type" in value and "source" in value:
            value = {**value, "source": _lines(value["source"], examination.text)}
        return {
            name: item if name == "source" else _notebook(examination, item, str(name)) for name, item in value.items()
        }
    if isinstance(value, list):
        if (value and key in ("text", "traceback")) or key.startswith("text/"):
            return _lines(value, examination.text) if all(isinstance(item, str) for item in value) else value
        return [_notebook(examination, item, key) for item in value]
    if isinstance(value, str):
        if key in ("image/png", "image/jpeg"):
            return _picture(examination, value)
        if key in ("image/svg+xml", "text/html"):
            return _markup(examination, value)
        return examination.value(key, value)
    return value


def _lines(source: Any, screen: Any) -> Any:
    """Screen a text that may be kept as a list of its lines."""
    if isinstance(source, str):
        return screen(source)
    text = "".join(source)
    changed = screen(text)
    return source if changed == text else changed.splitlines(keepends=True)


def _picture(examination: Examination, encoded: str) -> str:
    from .sniffing import inspect

    try:
        data = base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return examination.text(encoded)
    with examination.inside():
        pieces = inspect(examination, BytesContent(data))
    return encoded if pieces is None else base64.b64encode(b"".join(flow(pieces))).decode()


def _markup(examination: Examination, text: str) -> str:
    """Screen HTML, XML and SVG; a title that Matplotlib drew as glyphs goes with the comment that spells it."""

    def unpacked(found: re.Match[str]) -> str:
        return found[1] + _picture(examination, found[2])

    text = _DATA_URI.sub(unpacked, text)
    if "<svg" in text:
        text = _GLYPHS.sub(lambda found: _drawn(examination, found), text)
    return examination.text(text, "xml")


def _drawn(examination: Examination, found: re.Match[str]) -> str:
    written = found[1]
    changed = examination.rehearsal().text(written, "xml")
    if changed == written:
        return found[0]
    # The outlines are in <defs>, which other texts use; what spells the name is the order of their use.
    return f"<!--{written}-->{found[2]}" + re.sub(r"<use\b[^<>]*/>\s*", "", found[3]) + found[4]


def _long(examination: Examination, content: Content, encoding: str, mark: bytes) -> Sequence[bytes | Content] | None:
    if encoding not in ("utf-8", "latin-1"):
        raise Blocked(Kind.UNREADABLE, "it is a large text that is not UTF-8. Write it as UTF-8.")
    pieces: list[bytes | Content] = []
    changed = False
    header = ""
    for start, stop in _stretches(content):
        data = content.read(start, stop)
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            encoding = "latin-1"
            text = data.decode(encoding)
        kind = "json" if text.lstrip()[:1] in ("{", "[") else "xml" if content.read(0, 1) == b"<" else "file"
        # The columns of a table are named in its first line only.
        screened = examination.text(header + text, kind)
        if screened != header + text:
            changed = True
            pieces.append(screened[len(header) :].encode(encoding, "replace"))
        else:
            pieces.append(content.part(start, stop))
        if start == 0:
            first = _TABLE.match(text)
            header = first[0] if first is not None and len(first[0]) < 100_000 and screened.startswith(first[0]) else ""
    return pieces if changed else None


def _border(data: bytes) -> int:
    """Give where a stretch may end: at the end of a line, before one that is not indented, and outside of a key."""
    begun = data.rfind(b"-----BEGIN")
    if begun > 0 and data.find(b"-----END", begun) < 0:
        data = data[:begun]
    cut = data.rfind(b"\n")
    while cut > len(data) // 2 and data[cut + 1 : cut + 2] in (b" ", b"\t", b"-", b""):
        cut = data.rfind(b"\n", 0, cut)
    return cut if cut > len(data) // 2 else data.rfind(b"\n")


def _stretches(content: Content) -> Iterator[tuple[int, int]]:
    """Cut a long text at ends of lines, or where a line is longer than a stretch, at a sign between words."""
    at = 0
    while at < content.size:
        stop = min(content.size, at + STRETCH)
        if stop < content.size:
            data = content.read(at, stop)
            cut = _border(data)
            for sign in (b"},", b", ", b",", b" "):
                cut = cut if cut >= 0 else data.rfind(sign)
            stop = at + cut + 1 if cut >= 0 else stop
        yield at, stop
        at = stop

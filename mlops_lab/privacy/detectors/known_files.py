"""Finds the files of the data by their paths and names, however much of a path is written: each gets its case's name.

A dataset may have a hundred thousand files, so nothing is spelled out beforehand: one look in a table for each place in
a text where the name of a file may begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..model import Hit, Kind
from ..views import lowered
from .reading import WORD, Reading, Word
from .vocabulary import is_thing

SUFFIX = re.compile(
    r"(?:\.(?:nii|nrrd|mha|mhd|dcm|img|hdr|gz|npz?|png|jpe?g|tiff?|ima|mgz|mgh|pt|zip|bmp|h5|zarr|svs|seg))+$", re.I
)
_AFTER = re.compile(
    r"(?:\.(?:nii|nrrd|mha|mhd|dcm|img|hdr|gz|npz?|png|jpe?g|tiff?|ima|mgz|mgh|bmp|svs|seg))+(?![^\W_])", re.I
)
_ABOVE = re.compile(r"(?:[^\s\"'<>|;,=()\[\]{}\\/]{1,160}[\\/]+){1,12}$")
_MOST_WORDS = 24
_SHORTEST = 4
_NEUTRAL = re.compile(
    r"[a-z]{0,4}|sub|ses|acq|run|task|dir|echo|part|rec|desc|t[12]w?|t1c|t1ce|t1gd|pdw?|bold|case|slice|image|img|label|vol"
    r"|subject|frame|tile|patch|wsi|view|train\w{0,3}|test\w{0,3}|val\w{0,3}"
)


class KnownFiles:
    """An index of the files of the data.

    Parameters
    ----------
    files
        Per path below the dataset what stands for that file.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._paths: dict[str, str] = {}
        self._names: dict[str, str | None] = {}
        """By name without its suffix, in small letters; None where several files are called so."""
        self.first_words: set[str] = set()
        """Words, in small letters, with which the name of a file begins."""
        for path, replacement in files.items():
            low = lowered(path)
            self._paths[low] = replacement
            folder, _, name = low.rpartition("/")
            stem = SUFFIX.sub("", name)
            known = self._names.get(stem, replacement)
            self._names[stem] = replacement if known == replacement else None
            if folder:
                near = f"{folder.rpartition('/')[2]}/{name}"
                known = self._paths.get(near, replacement)
                if near != low:
                    self._paths[near] = replacement if known == replacement else ""
            first = WORD.search(stem)
            if first is not None:
                self.first_words.add(first[0])

    def find(self, reading: Reading) -> Iterator[Hit]:
        """Find the files in a text, as much of the path of each as stands there."""
        if not self._names or self.first_words.isdisjoint(reading.vocabulary):
            return
        words, reached = reading.words, 0
        for at, word in enumerate(words):
            if word.start >= reached and word.low in self.first_words:
                hit = self._longest(reading, words, at)
                if hit is not None:
                    reached = hit.stop
                    yield hit

    def _longest(self, reading: Reading, words: list[Word], at: int) -> Hit | None:
        low = reading.low
        start = words[at].start
        while start > 0 and low[start - 1] in "_-(" and low[start - 1 : start + 1] in self._names:
            start -= 1
        last = min(len(words), at + _MOST_WORDS)
        for end in range(last - 1, at - 1, -1):
            stop = words[end].stop
            if stop - start > 255 or "\n" in low[start:stop]:
                continue
            name = low[start:stop]
            if name in self._names:
                suffix = _AFTER.match(low, stop)
                hit = self._hit(low, start, stop, suffix.end() if suffix is not None else stop)
                if hit is not None:
                    return hit
        return None

    def _hit(self, low: str, start: int, stop: int, end: int) -> Hit | None:
        """Give the hit for a name, with the folders before it that belong to the file."""
        name = low[start:end]
        above = _ABOVE.search(low, max(0, start - 400), start)
        folders = re.split(r"[\\/]+", above[0])[:-1] if above is not None else []
        for first in range(len(folders)):
            path = "/".join([*folders[first:], name])
            found = self._paths.get(path)
            if found:
                assert above is not None
                begin = above.start() + sum(len(piece) for piece in re.findall(r"[^\\/]+[\\/]+", above[0])[:first])
                return Hit(begin, end, Kind.KNOWN, found, 0)
        replacement = self._paths.get(name) or self._names.get(low[start:stop])
        if not replacement or (end == stop and not is_telling(low[start:stop])):
            return None
        return Hit(start, end, Kind.KNOWN, replacement, 0)


def is_telling(stem: str) -> bool:
    """Tell whether the name of a file, without its suffix, is more than ``case_012``, which stays as it is."""
    if sum(map(str.isalnum, stem)) < _SHORTEST:
        return False
    for part in re.findall(r"[^\W\d_]+|\d+", stem):
        if part.isdigit():
            if len(part) > 4:
                return True
        elif not (_NEUTRAL.fullmatch(part) or is_thing(part)):
            return True
    return False

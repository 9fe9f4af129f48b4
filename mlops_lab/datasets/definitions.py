"""What one ``.dvc``, ``dvc.lock`` or ``dvc.yaml`` file says, read without DVC.

A history has thousands of these files, nearly all written by DVC in one layout: that layout is scanned line by line,
and only what deviates from it goes through the YAML parser, which is about forty times slower.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 16 * 2**20
"""A larger definition is not read: DVC writes kilobytes, and no file of a repository may stop the server."""

_Row = tuple[str | None, dict[str, Any]]

_LOCK_HEAD = re.compile(r"schema: '2\.0'\nstages:|stages:|schema: '2\.0'\nstages: \{\}\n*")
_STAGE_STARTS = re.compile(r"\n(?=  [^ \n])")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_PLAIN_ITEM = re.compile(r"( *)(- |  )([a-z_0-9]+): ([^\s'\"\[\]{}&*!|>%@`#,?:-][^'\"#]*)")
_SIMPLE_PATH = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_./@-]+(?: [A-Za-z0-9_./@-]+)*")


@dataclass(frozen=True, slots=True)
class Output:
    """One tracked file or folder as one definition file describes it."""

    path: str
    """Relative to the repository's top, with forward slashes."""
    md5: str
    size: int | None
    nfiles: int | None
    legacy: bool
    """Written by DVC 2: hashed as ``md5-dos2unix`` and kept in the old place of the cache."""
    definition: str
    """Path of the definition file in the repository."""
    stage: str | None = None
    """Pipeline stage that makes it; None for a ``.dvc`` file."""
    remote: str | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """The outputs of one version of one definition file."""

    outputs: tuple[Output, ...] = ()
    unsupported: int = 0
    """Outputs without an md5 (cloud-versioned, external): DVC keeps no object for them that could be verified."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An entry of ``artifacts:`` in a ``dvc.yaml``."""

    name: str
    path: str
    """Relative to the repository's top."""
    folder: str
    """Folder of the ``dvc.yaml``, empty at the top; GTO writes it before ``=``."""
    type: str | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a ``dvc.yaml`` adds to its ``dvc.lock``."""

    artifacts: tuple[Artifact, ...] = ()
    wdirs: dict[str, str | None] = field(default_factory=dict)
    """Working folder per stage; None where it is a template that only DVC can fill in."""
    not_data: frozenset[str] = frozenset()
    """Paths that are metrics, plots or kept out of the cache."""


def is_dvc_file(path: str) -> bool:
    """Tell whether `path` is a ``.dvc`` file (and not something in the ``.dvc`` folder)."""
    name = posixpath.basename(path)
    return name.endswith(".dvc") and name != ".dvc"


def is_lock(path: str) -> bool:
    """Tell whether `path` is a ``dvc.lock``."""
    return posixpath.basename(path) == "dvc.lock"


def is_pipeline(path: str) -> bool:
    """Tell whether `path` is a ``dvc.yaml``."""
    return posixpath.basename(path) == "dvc.yaml"


class DefinitionReader:
    """Reads the versions of one ``.dvc`` file or ``dvc.lock``.

    A lock file changes one stage at a time, so stages are remembered by their text: a version costs little more than
    the one stage that differs from those read before.

    Parameters
    ----------
    path
        Where the file stands in the repository.
    pipeline
        What the ``dvc.yaml`` beside a ``dvc.lock`` adds.
    """

    def __init__(self, path: str, pipeline: Pipeline | None = None) -> None:
        self._path = path
        self._pipeline = pipeline or Pipeline()
        self._lock = is_lock(path)
        self._stages: dict[str, Definition | None] = {}

    def read(self, data: bytes) -> Definition:
        """Read the outputs of one version; what is no definition file has none."""
        if len(data) > MAX_BYTES:
            return Definition(unsupported=1)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return Definition(unsupported=1)
        if not self._lock:
            rows = _scan(text, 0)
            return self._describe(_rows_of_dvc_file(_load(text)) if rows is None else rows)
        return self._read_lock(text) or self._describe(_rows_of_lock(_load(text)))

    def _read_lock(self, text: str) -> Definition | None:
        head, *stages = _STAGE_STARTS.split(text)
        if not _LOCK_HEAD.fullmatch(head):
            return None
        outputs: list[Output] = []
        unsupported = 0
        for stage in stages:
            try:
                found = self._stages[stage]
            except KeyError:
                rows = _scan(stage, 4)
                found = self._stages[stage] = None if rows is None else self._describe(rows)
            if found is None:
                return None
            outputs += found.outputs
            unsupported += found.unsupported
        return Definition(tuple(outputs), unsupported)

    def _describe(self, rows: list[_Row]) -> Definition:
        outputs: list[Output] = []
        unsupported = 0
        for stage, row in rows:
            output = _output(stage, row, self._path, self._pipeline)
            if output is None:
                unsupported += 1
            elif output.path not in self._pipeline.not_data:
                outputs.append(output)
        return Definition(tuple(outputs), unsupported)


def parse(data: bytes, path: str, pipeline: Pipeline | None = None) -> Definition:
    """Read one version of the definition file at `path`; see :class:`DefinitionReader`."""
    return DefinitionReader(path, pipeline).read(data)


def parse_pipeline(data: bytes, path: str) -> Pipeline:
    """Read the ``dvc.yaml`` that stands at `path`; one that cannot be read says nothing."""
    document = _load(data.decode("utf-8", "replace")) if len(data) <= MAX_BYTES else None
    if not isinstance(document, dict):
        return Pipeline()
    folder = posixpath.dirname(path)
    artifacts: list[Artifact] = []
    for name, entry in _mapping(document.get("artifacts")).items():
        target = _inside(folder, entry.get("path")) if isinstance(entry, dict) else None
        if target:
            kind = entry.get("type")
            artifacts.append(Artifact(str(name), target, folder, str(kind) if kind else None))
    wdirs: dict[str, str | None] = {}
    not_data: set[str] = set()
    for name, stage in _mapping(document.get("stages")).items():
        stage = _mapping(stage)
        stage = _mapping(stage.get("do")) or stage
        wdir = str(stage.get("wdir") or "")
        if wdir:
            wdirs[str(name)] = None if "${" in wdir else wdir
        where = posixpath.join(folder, wdir)
        for key in ("metrics", "plots"):
            not_data.update(p for p, _ in _declared(stage.get(key), where))
        not_data.update(p for p, options in _declared(stage.get("outs"), where) if options.get("cache") is False)
    not_data.update(p for p, _ in _declared(document.get("metrics"), folder))
    return Pipeline(tuple(artifacts), wdirs, frozenset(not_data))


def _scan(text: str, indent: int) -> list[_Row] | None:
    """Collect the items of the ``outs:`` list at `indent` spaces; None as soon as a line is not DVC's own layout.

    Block scalars (a long ``cmd``) are always indented deeper than the key that holds them, so nothing inside one can
    look like a key at this indentation.
    """
    rows: list[_Row] = []
    stage: str | None = None
    inside = False
    lines = text.splitlines()
    if indent:
        name = lines.pop(0).strip()
        if not name.endswith(":") or not _PLAIN_KEY.fullmatch(name[:-1]):
            return None
        stage = name[:-1]
    for line in lines:
        stripped = line.lstrip(" ")
        depth = len(line) - len(stripped)
        if not stripped:
            continue
        if depth < indent:
            return None
        if depth == indent and not stripped.startswith("- "):
            inside = stripped == "outs:"
            if not inside and stripped.startswith(("outs", "wdir")):
                return None
        elif inside:
            match = _PLAIN_ITEM.fullmatch(line)
            if match is None or len(match[1]) != indent:
                return None
            if match[2] == "- ":
                rows.append((stage, {}))
            if not rows:
                return None
            rows[-1][1][match[3]] = match[4].rstrip()
    return rows


def _rows_of_dvc_file(document: Any) -> list[_Row]:
    wdir = str(_mapping(document).get("wdir") or "")
    rows = _items(_mapping(document).get("outs"))
    return [(None, {**row, "path": posixpath.join(wdir, str(row.get("path", "")))}) for row in rows]


def _rows_of_lock(document: Any) -> list[_Row]:
    stages = _mapping(document)
    if "schema" in stages:
        stages = _mapping(stages.get("stages"))
    return [(str(name), row) for name, stage in stages.items() for row in _items(_mapping(stage).get("outs"))]


def _output(stage: str | None, row: dict[str, Any], definition: str, pipeline: Pipeline) -> Output | None:
    folder = posixpath.dirname(definition)
    if stage is not None:
        # Stages of a foreach or matrix are called name@item in the lock and name in dvc.yaml.
        wdir = pipeline.wdirs.get(stage, pipeline.wdirs.get(stage.partition("@")[0], ""))
        if wdir is None:
            return None
        folder = posixpath.join(folder, wdir)
    path = _inside(folder, row.get("path"))
    md5 = str(row.get("md5") or "")
    if path is None or not _MD5.fullmatch(md5) or row.get("hash", "md5") != "md5":
        return None
    remote = row.get("remote")
    return Output(
        path=path,
        md5=md5,
        size=_integer(row.get("size")),
        nfiles=_integer(row.get("nfiles")),
        legacy="hash" not in row,
        definition=definition,
        stage=stage,
        remote=str(remote) if remote else None,
    )


def _inside(folder: str, path: Any) -> str | None:
    """Join and normalise; None for what lies outside the repository or is no path."""
    if not isinstance(path, (str, int)) or path == "":
        return None
    if not folder and _SIMPLE_PATH.fullmatch(str(path)):
        return str(path)
    joined = posixpath.normpath(posixpath.join(folder, str(path)))
    outside = joined.startswith(("/", "../")) or joined in (".", "..") or "://" in str(path)
    return None if outside or any(ord(character) < 32 for character in joined) else joined


def _declared(entries: Any, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in entries if isinstance(entries, list) else []:
        pairs = entry.items() if isinstance(entry, dict) else [(entry, {})]
        for name, options in pairs:
            path = _inside(folder, name)
            if path:
                yield path, _mapping(options)


def _load(text: str) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None

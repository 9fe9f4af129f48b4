"""Keeps passwords, keys and tokens out of what a run records: the code, its params and its traceback.

Where the code parses, what is assigned or passed under a secret-looking name is found by its position. Elsewhere, and
in texts, it is found by its shape. What stays has the shape that the code had.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .source import parse

MASK = "***"

_STRONG = re.compile(r"passw|pass_?phrase|secret|credential|api_?key|bearer|authorization")
_WEAK = re.compile(
    r"(^|_)(pwd|pw|auth|creds?|tokens?|sas|cookie|"
    r"(access|private|auth|account|storage|service|ssh|rsa|gpg|pgp|encryption|signing|license|subscription|admin|master"
    r"|aws|client|session)_?keys?|"
    r"(github|gitlab|git|gh|gl|azure|ado|devops|databricks|access|my)_pat|"
    r"(db|smtp|ftp|sftp|user|mysql|pg|postgres|login|my|root|admin|sudo|proxy)_pass)"
    r"(_?(id|value|str|string|text|header|old|new|prod|dev|test|\d+))?$"
)
_HARMLESS = re.compile(r"(^|_)(eos|bos|pad|cls|sep|unk|mask|special|class|register|image|max|num|n)_tokens?$")
_DOUBTFUL = re.compile(r"passw|secret|token|credential|(^|_)(pwd|auth|(api_?|access_?|private_?)?keys?)($|_)", re.I)
_NUMERIC = re.compile(r"(passw\w*|pass_?phrase|passwd|pwd|pw)$")
_LOOKUP = re.compile(r"(get|read|load|open|input|prompt|ask|fetch|find|path|environ|print|isinstance|hasattr)", re.I)

_BEFORE = r"(?<![A-Za-z0-9_])"
_TOKENS = re.compile(
    _BEFORE + r"(?:gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|gl[a-z]{2,5}-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|eyJ[\w-]{5,4000}\.[\w-]{5,}(?:\.[\w-]*)?|xox[a-z]-[\w-]{8,}|hf_[A-Za-z0-9]{16,}|sk-(?:[a-z]+-)?[A-Za-z0-9]{20,}"
    r"|AIza[\w-]{30,}|pypi-[\w-]{16,}|npm_[A-Za-z0-9]{20,}|dapi[0-9a-f]{32})"
)
_CARRIED = re.compile(r"(?i)(\bbearer\s+|\bauthorization:\s*basic\s+)([\w.~+/=-]{6,})")
_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*+://)([^\s/?#\"'<>@]*(?:@[^\s/?#\"'<>@]*)*)@")
_PEM = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)
_NAME = r"(?P<name>(?<![\w.-])[A-Za-z_][\w.-]*+)"
_QUOTED = re.compile(
    _NAME + r"""(?P<between>(?:\\?["'])?\]?\s{0,8}(?::\s{0,8}[\w\[\]|. ]{1,60})?[=:]=?\s{0,8}[rbfuRBFU]{0,2})"""
    r"""(?P<quote>"{3}|'{3}|\\?["'])(?P<value>(?:(?!(?P=quote))[^\n]){1,2000})(?=(?P=quote))"""
)
_PART = re.compile(
    r"(?P<name>\b[A-Za-z_]\w*+)(?P<between>=)(?P<quote>)(?P<value>[^\s;&\"'(){}\[\],]+)(?=[;&]|[\"']|\s|\\|$)"
)
_SPACED = re.compile(
    r"(?P<name>(?<=env )[A-Za-z_]\w*+|(?<=-)[A-Za-z_][\w-]*+|(?<![\w-])[A-Za-z_][\w-]*+(?=:))"
    r"(?P<between>[ \t]+|:[ \t]*)(?P<quote>)(?P<value>[^\s\"'{}$-][^\s\"'{}$]*)"
)
_SHELL = re.compile(r"\s*(?:[!%]|export\s|set\s|-|curl\s)")
_ASIDE = re.compile(r"(?m)#[^\n]*|^[ \t]*[%!][^\n]*")
_SUSPECT = re.compile(
    r"pass|secret|cred|key|bearer|auth|pwd|pw|token|sas|cookie|pat\b|_pat|-----begin|://[^\s/]{0,300}@|gh[pousr]_"
    r"|gl[a-z]{2,5}-"
    r"|akia|asia|eyj|xox|hf_|sk-|aiza|pypi-|npm_|dapi"
)
_VERSION = re.compile(r"=?={0,2}\s{0,3}v?\d+(?:\.\d+)+(?:[.-]?[a-z]{1,5}\d*)*(?:[+-][\w.]+)?|==\s{0,3}\d[\w.!+*-]*")
"""``google-auth==2.41.1`` is no secret, whatever it is called."""
SHORTEST = 4
"""Characters below which a masked value is too common a word to be looked for in other texts."""


class Masked(NamedTuple):
    """A text without its secrets."""

    text: str
    values: frozenset[str]
    """The secrets that were found in it, to be looked for elsewhere."""


def is_secret_name(name: str) -> bool:
    """Tell whether `name` is what people call a secret: ``dbPassword``, ``AWS_SECRET_ACCESS_KEY``, ``hf_token``."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(".")[2].replace("-", "_")).lower()
    return bool(_STRONG.search(snake) or (_WEAK.search(snake) and not _HARMLESS.search(snake)))


def is_version(value: str) -> bool:
    """Tell whether `value` is the version of a package, which no secret looks like."""
    return _VERSION.fullmatch(value) is not None


def may_be_secret_name(name: str) -> bool:
    """The same on the safe side, for a value that can be left out: also ``key`` and ``tokens_per_batch``."""
    return bool(_DOUBTFUL.search(name)) or is_secret_name(name)


def mask_source(source: str) -> Masked:
    """Mask the secrets in the code of a cell.

    Parameters
    ----------
    source
        Python, or a cell with magics.

    Returns
    -------
    Masked
        Code with the same lines; it parses where `source` does.
    """
    tree = parse(source)
    values: set[str] = set()
    if tree is None:
        return Masked(_tokens(_by_shape(source, values)), frozenset(values))
    try:
        text = _by_position(source, tree, values)
    except RecursionError:
        return Masked(_tokens(_by_shape(source, values)), frozenset(values))
    if parse(text) is None:
        text = source  # positions inside of an f-string are not to be relied on before Python 3.12
    for change in (lambda text: _ASIDE.sub(lambda found: _by_shape(found[0], values), text), _tokens):
        changed = change(text)
        text = changed if parse(changed) is not None else text
    return Masked(text, frozenset(values))


def may_hold_secret(text: str) -> bool:
    """Tell cheaply, on the safe side, whether :func:`mask_text` could find anything in `text`."""
    return _SUSPECT.search(text.lower()) is not None


def mask_text(text: str, known: Iterable[str] = ()) -> str:
    """Mask what looks like a secret in a text such as a traceback, and the `known` secrets of the code."""
    text = _by_shape(text, set())
    for value in sorted((value for value in known if len(value) >= SHORTEST), key=len, reverse=True):
        text = text.replace(value, MASK)
    return _tokens(text)


def _tokens(text: str) -> str:
    text = _PEM.sub(lambda m: m[1] + MASK + "\n" * m[2].count("\n") + m[3], text)
    text = _URL.sub(_without_login, text)
    return _TOKENS.sub(MASK, _CARRIED.sub(rf"\1{MASK}", text))


def _without_login(found: re.Match[str]) -> str:
    user, colon, password = found[2].partition(":")
    if password and not re.fullmatch(r"\{.*\}|\*+", password):
        return f"{found[1]}{user}:{MASK}@"
    if not colon and user not in ("", "git") and found[1].startswith("http") and not re.fullmatch(r"\{.*\}", user):
        return f"{found[1]}{MASK}@"
    return found[0]


def _by_shape(text: str, values: set[str]) -> str:
    """Mask ``name = "value"`` and its like, unquoted values (``Pwd=x;``), and what is given to commands of a shell."""

    def mask(found: re.Match[str]) -> str:
        if not is_secret_name(found["name"]) or set(found["value"]) <= {"*"} or is_version(found["value"]):
            return found[0]
        values.add(found["value"])
        return f"{found['name']}{found['between']}{found['quote']}{MASK}"

    lines = [_PART.sub(mask, line) for line in _QUOTED.sub(mask, text).split("\n")]
    return "\n".join(_SPACED.sub(mask, line) if _SHELL.match(line) else line for line in lines)


def _by_position(source: str, tree: ast.Module, values: set[str]) -> str:
    # Offsets of ast are bytes; Python ends lines at the same marks as bytes.splitlines does.
    starts = [0]
    data = source.encode()
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    pieces = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and node.value:
            start, stop = place(node)
            before = data[start:stop].decode(errors="replace")
            after = _by_shape(before, values)
            if after != before:
                pieces[start, stop] = after.encode()
    for node in _secrets(tree):
        start, stop = place(node)
        pieces[start, stop] = _masked_literal(node, data[start:stop])
        if isinstance(node, ast.Constant):
            known = node.value
            values.add(known.decode(errors="replace") if isinstance(known, bytes) else str(known))
    reached = -1
    parts: list[bytes] = []
    for start, stop in sorted(pieces, key=lambda span: (span[0], -span[1])):
        if start >= reached:
            parts += [data[max(reached, 0) : start], pieces[start, stop]]
            reached = stop
    return b"".join([*parts, data[max(reached, 0) :]]).decode(errors="replace")


def _masked_literal(node: ast.expr, code: bytes) -> bytes:
    breaks = code.count(b"\n")
    quoted = re.search(rb"[\"']", code)
    quote = (quoted[0] if quoted else b'"') * (3 if breaks else 1)
    prefix = b"b" if isinstance(node, ast.Constant) and isinstance(node.value, bytes) else b""
    return prefix + quote + MASK.encode() + b"\n" * breaks + quote


def _secrets(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        for name, value in _bindings(node):
            if is_secret_name(name):
                yield from _literals(value, bool(_NUMERIC.search(name.lower())))


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Give what `node` binds to a name: assignments, arguments, defaults, entries of dictionaries, comparisons."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _pairs(target, node.value)
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value is not None:
        yield from _pairs(node.target, node.value)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield _name(key), value
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for side in sides if all(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops) else ():
            yield from ((_name(side), other) for other in sides if other is not side)
    elif isinstance(node, ast.arguments):
        named = [*node.posonlyargs, *node.args][-len(node.defaults) :] if node.defaults else []
        yield from ((argument.arg, default) for argument, default in zip(named, node.defaults, strict=True))
        for argument, given in zip(node.kwonlyargs, node.kw_defaults, strict=True):
            if given is not None:
                yield argument.arg, given
    elif isinstance(node, ast.Call):
        called = _name(node.func)
        yield from ((keyword.arg or "", keyword.value) for keyword in node.keywords)
        for before, after in zip(node.args, node.args[1:], strict=False):
            if isinstance(before, ast.Constant):
                yield _name(before), after
        if not _LOOKUP.match(called):
            yield from ((called, argument) for argument in node.args)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, (ast.Tuple, ast.List)):
        if isinstance(value, (ast.Tuple, ast.List)):
            for inner, part in zip(target.elts, value.elts, strict=False):
                yield from _pairs(inner, part)
    else:
        yield _name(target), value


def _name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.slice) or _name(node.value)
    text = node.value if isinstance(node, ast.Constant) else ""
    return text if isinstance(text, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", text) else ""


def _literals(value: ast.expr, numbers: bool) -> Iterator[ast.expr]:
    """Give the literals that `value` is made of; not what is only used to look it up (``os.environ["TOKEN"]``)."""
    if isinstance(value, ast.Constant):
        known = value.value
        text = isinstance(known, (str, bytes)) and known not in ("", b"", MASK)
        if text or (numbers and type(known) is int and abs(known) > 999):
            yield value
    elif isinstance(value, ast.JoinedStr):
        if any(isinstance(part, ast.Constant) and str(part.value).strip() for part in value.values):
            yield value
    elif isinstance(value, (ast.Compare, ast.Subscript, ast.Lambda, ast.Attribute)):
        if isinstance(value, ast.Attribute):
            yield from _literals(value.value, numbers)
    elif isinstance(value, ast.IfExp):
        yield from (*_literals(value.body, numbers), *_literals(value.orelse, numbers))
    elif isinstance(value, ast.Dict):
        for part in value.values:
            yield from _literals(part, numbers)
    elif isinstance(value, ast.Call):
        lookup = _LOOKUP.match(_name(value.func))
        if isinstance(value.func, ast.Attribute):
            yield from _literals(value.func.value, numbers)
        for argument in [] if lookup else [*value.args, *(keyword.value for keyword in value.keywords)]:
            yield from _literals(argument, numbers)
    else:
        for child in ast.iter_child_nodes(value):
            if isinstance(child, ast.expr):
                yield from _literals(child, numbers)

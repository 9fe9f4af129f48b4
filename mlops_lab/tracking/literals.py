"""The plain settings at the top of a cell (``max_epochs = 4``), which become params without a line of code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..privacy.secrets import may_be_secret_name
from ..privacy.source import parse

LONGEST_TEXT = 250
LONGEST_LIST = 16
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_FILLS = frozenset({"append", "extend", "insert"})


def literals(source: str) -> dict[str, str]:
    """Find the top-level assignments of literals in `source`.

    Parameters
    ----------
    source
        Python, or a cell with magics; a cell that Python cannot parse without IPython has its magic lines
        left out.

    Returns
    -------
    dict
        Name and value as text. Numbers, strings, booleans and short lists of them; no private names, none that looks
        like a secret, and nothing that the cell goes on to compute (``best_metric = -1``, ``losses = []``).
    """
    tree = parse(source)
    if tree is None:
        return {}
    computed = _computed(tree)
    found: dict[str, str] = {}
    for statement in tree.body:
        for name, value in _assignments(statement):
            if name.startswith("_") or name in computed or may_be_secret_name(name):
                continue
            text = _text(value)
            if text is not None:
                found[name] = text
    return found


def _computed(tree: ast.Module) -> set[str]:
    """Give the names that get their values on the way: set anew below the top level, counted up, or filled."""
    found: set[str] = set()
    for statement in tree.body:
        plain = isinstance(statement, (ast.Assign, ast.AnnAssign))
        for node in _of_the_cell(statement):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not plain:
                found.add(node.id)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _FILLS:
                found.update({node.func.value.id} if isinstance(node.func.value, ast.Name) else ())
    return found


def _of_the_cell(statement: ast.stmt) -> Iterator[ast.AST]:
    """Walk through a statement, but not into functions and classes: what these set are names of their own."""
    queue: list[ast.AST] = [statement]
    while queue:
        node = queue.pop()
        if not isinstance(node, _SCOPES):
            yield node
            queue.extend(ast.iter_child_nodes(node))


def _assignments(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        return [(statement.target.id, statement.value)]
    if not isinstance(statement, ast.Assign):
        return []
    pairs: list[tuple[str, ast.expr]] = []
    for target in statement.targets:
        if isinstance(target, ast.Name):
            pairs.append((target.id, statement.value))
        elif isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            elements = zip(target.elts, statement.value.elts, strict=False)
            pairs.extend((name.id, value) for name, value in elements if isinstance(name, ast.Name))
    return pairs


def _text(value: ast.expr) -> str | None:
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(literal, str):
        return literal if len(literal) <= LONGEST_TEXT and "\n" not in literal else None
    if isinstance(literal, (bool, int, float)):
        return str(literal)
    if not isinstance(literal, (list, tuple)) or not 0 < len(literal) <= LONGEST_LIST:
        return None
    if not all(isinstance(item, (bool, int, float, str)) for item in literal):
        return None
    text = str(literal)
    return text if len(text) <= LONGEST_TEXT else None

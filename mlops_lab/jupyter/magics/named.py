"""Which variables a cell reads: what tells, before it runs, which dataset version it is going to use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

_VARIABLE = re.compile(r"--as(?:\s+|=)(\w+)")

_WATCHING = (["time"], ["timeit"], ["prun"])


def bound_by_use(line: str) -> str:
    """Give the variable that ``%mlops_use`` binds for the text after its name."""
    chosen = _VARIABLE.search(line)
    return chosen[1] if chosen else re.sub(r"\W|^(?=\d)", "_", line.strip().partition("@")[0])


def read_names(tree: ast.Module, namespace: dict[str, Any]) -> list[str]:
    """List the variables of `namespace` that a cell reads before it gives them a value of its own, in order.

    A function that was defined in an earlier cell is looked through: what it reads counts as read.
    """
    reader = _Reader()
    reader.run(tree.body)
    names = list(reader.read)
    for name in names:
        code = getattr(namespace.get(name), "__code__", None)
        if code is not None and getattr(namespace[name], "__globals__", None) is namespace:
            names += [inner for inner in code.co_names if inner not in names]
    return [name for name in names if name in namespace]


class _Reader:
    """Goes through statements as they run; a branch that may not run binds nothing for what follows it."""

    def __init__(self) -> None:
        self.read: dict[str, None] = {}
        self._bound: set[str] = set()

    def run(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            bodies = [getattr(statement, field, []) for field in ("body", "orelse", "finalbody")]
            bodies += [part.body for part in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]]
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self._look(ast.walk(statement))
            elif any(bodies):
                inner = {id(node) for body in bodies for part in body for node in ast.walk(part)}
                self._look(node for node in ast.walk(statement) if id(node) not in inner)
                before = set(self._bound)
                for body in bodies:
                    self.run(body)
                if not isinstance(statement, (ast.With, ast.AsyncWith, ast.Try)):
                    self._bound = before
            else:
                self._look(ast.walk(statement))

    def _look(self, nodes: Iterable[ast.AST]) -> None:
        stored: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Name):
                if not isinstance(node.ctx, ast.Load):
                    stored.add(node.id)
                elif node.id not in self._bound:
                    self.read[node.id] = None
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                stored.add(node.name)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self.read[node.target.id] = None
            elif isinstance(node, ast.Call) and [_text(part) for part in node.args[:1]] == ["mlops_use"]:
                stored.add(bound_by_use(_text(node.args[-1])))
            elif isinstance(node, ast.Call) and [_text(part) for part in node.args[:1]] in _WATCHING:
                self._look(_code(_text(node.args[-1])))
        self._bound |= stored


def _code(line: str) -> Iterable[ast.AST]:
    try:
        return ast.walk(ast.parse(re.sub(r"^\s*(?:-\S+\s+)*", "", line)))
    except (SyntaxError, ValueError):
        return ()


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""

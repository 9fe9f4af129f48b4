"""`%%mlops_track` and `%mlops_track on`: a tracked cell stays a native cell.

An input transformer takes the magic's line out and does nothing else, because Jupyter transforms a cell also to ask
whether it is complete. The line is read again from the raw cell when the cell is about to run (`pre_run_cell`). The
block is opened by an AST transformer: at that moment the cell is known to be valid Python, nothing of it has run yet,
and it can still be rejected. `post_run_cell` closes the block with the cell's own error.
"""

from __future__ import annotations

import ast
import asyncio
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import InputRejected

from ...errors import MlopsLabError
from .options import BadOptions, track_options

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from ...datasets import UsedDataset
    from ...tracking.block import Block

MAGIC = "%%mlops_track"
_LINE = re.compile(rf"[ \t]*{MAGIC}(?=\s|$)")
_PASSED_OVER = re.compile(r"[ \t]*(#.*)?\r?\n?$")
# Magics that run the cell's own code and only watch it: under them too the cell is tracked.
_WATCHING = re.compile(r"%%(time|timeit|prun|memit|mprun|pyinstrument|scalene|snakeviz)\b")


class CellRefused(InputRejected):
    """The cell is not run; the message says why and what to do."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass
class _Cell:
    """One cell between `pre_run_cell` and `post_run_cell`."""

    info: ExecutionInfo
    source: str
    options: Namespace | None = None
    refusal: MlopsLabError | None = None
    looked_at: bool = False
    block: Block | None = None


def magic_lines(lines: list[str]) -> tuple[int, int] | None:
    """Find the magic in a cell: the range of its lines (a trailing backslash continues it); None where there is none.

    Only blank lines, comments and magics such as ``%%time`` may stand above it.
    """
    for start, line in enumerate(lines):
        if _LINE.match(line):
            stop = start
            while lines[stop].rstrip().endswith("\\") and stop + 1 < len(lines):
                stop += 1
            return start, stop + 1
        if not _PASSED_OVER.match(line) and not _WATCHING.match(line):
            return None
    return None


def without_magic(lines: list[str]) -> list[str]:
    """Take the magic out of a cell's lines.

    It becomes a comment, so that line numbers in tracebacks stay right; under another cell magic, which must stand
    first, it goes altogether.
    """
    found = magic_lines(lines)
    if found is None:
        return lines
    start, stop = found
    below = next((line for line in lines[stop:] if line.strip()), "")
    if below.startswith("%%") and not any(_WATCHING.match(line) for line in lines[:start]):
        return lines[stop:]
    return [*lines[:start], *(f"# {line.strip()}\n" for line in lines[start:stop]), *lines[stop:]]


# A terminal asks after every line whether the cell is complete; with the magic in sight, it is at an empty line.
without_magic.has_side_effects = True  # type: ignore[attr-defined]


def read_magic(raw_cell: str) -> str | None:
    """Give the text after the magic's name in `raw_cell`; None where there is no magic."""
    lines = raw_cell.splitlines(keepends=True)
    found = magic_lines(lines)
    if found is None:
        return None
    text = " ".join(line.rstrip().removesuffix("\\").strip() for line in lines[slice(*found)])
    return text.strip()[len(MAGIC) :].strip()


class TrackedCells(ast.NodeTransformer):
    """Opens and closes blocks around the cells of one shell."""

    def __init__(self, shell: InteractiveShell, before_each: Callable[[], None]) -> None:
        self._shell = shell
        self._before_each = before_each
        self._cells: list[_Cell] = []
        self._standing: Block | None = None
        shell.input_transformers_cleanup.insert(0, without_magic)
        shell.events.register("pre_run_cell", self.before)
        shell.events.register("post_run_cell", self.after)
        shell.ast_transformers.append(self)

    def remove(self) -> None:
        """Leave the shell as it was, and end what is open, the cell that runs now included."""
        for cell in reversed(self._cells):
            if cell.block is not None:
                cell.block.close()
        self.turn_off()
        self._shell.input_transformers_cleanup.remove(without_magic)
        self._shell.events.unregister("pre_run_cell", self.before)
        self._shell.events.unregister("post_run_cell", self.after)
        if self in self._shell.ast_transformers:
            self._shell.ast_transformers.remove(self)

    def before(self, info: ExecutionInfo) -> None:
        """Note what the cell asks for (`pre_run_cell`); nothing is begun yet."""
        cell = _Cell(info, info.raw_cell or "")
        self._cells.append(cell)
        line = read_magic(cell.source)
        if line is not None:
            try:
                cell.options = track_options(MAGIC).read(line)
            except BadOptions as error:
                cell.refusal = error
        self._before_each()

    def visit(self, node: ast.AST) -> Any:
        """Begin the block of the cell that is about to run, or reject the cell (IPython's AST transformer)."""
        cell = self._cells[-1] if self._cells else None
        # Magics such as %time transform pieces of a running cell: those pass.
        if cell is None or cell.looked_at:
            return node
        cell.looked_at = True
        if cell.refusal is not None:
            raise CellRefused(str(cell.refusal))
        if MAGIC in cell.source and _has_late_magic(node):
            raise CellRefused(
                f"{MAGIC} tracks a whole cell and stands here below other code; the cell was not run. "
                "Write it in the cell's first line."
            )
        if cell.options is not None:
            if isinstance(node, ast.Module) and not node.body:
                raise CellRefused(f"There is nothing to track: put code under the line {MAGIC}.")
            given = self._given(node, cell.source)
            cell.block = self._open(cell.options, _body(cell.source))
            self._note(cell.block, given)
        elif self._standing is not None:
            given = self._given(node, cell.source)
            self._standing.add_cell(cell.source)
            self._note(self._standing, given)
        return node

    def after(self, result: ExecutionResult | None) -> None:
        """End the block of the cell that has run (`post_run_cell`); a cancelled cell has no result."""
        cell = self._take(result.info if result is not None else None)
        if cell is None or cell.block is None:
            return
        if result is None:
            cell.block.close(asyncio.CancelledError())
        else:
            cell.block.close(result.error_before_exec or result.error_in_exec)

    def turn_on(self, options: Namespace) -> None:
        """Let this cell and every following one belong to one run."""
        self.turn_off()
        self._standing = self._open(options, self._cells[-1].source if self._cells else "")

    def turn_off(self) -> bool:
        """End the run of :meth:`turn_on`; False when there is none."""
        standing, self._standing = self._standing, None
        if standing is None:
            return False
        standing.close()
        return True

    def _given(self, node: ast.AST, source: str) -> dict[str, UsedDataset]:
        """Find what the cell is going to read of the dataset versions that were used earlier; refuse corrupt ones."""
        from ...tracking.data import given_in
        from .named import read_names

        tree = self._code(source) or node
        if not isinstance(tree, ast.Module):
            return {}
        values = self._shell.user_ns
        try:
            return given_in({name: values[name] for name in read_names(tree, values)})
        except MlopsLabError as error:
            raise CellRefused(str(error)) from None

    def _code(self, source: str) -> ast.Module | None:
        """Parse what a cell magic such as ``%%time`` runs; None where that is no Python."""
        lines = [line for line in _body(source).splitlines(keepends=True) if not line.startswith("%%")]
        try:
            code: str = self._shell.input_transformer_manager.transform_cell("".join(lines))
            return ast.parse(code)
        except (SyntaxError, ValueError):
            return None

    def _note(self, block: Block, given: dict[str, UsedDataset]) -> None:
        from ...tracking.data import note_given

        if block.run is not None:
            note_given(block.run, given)

    def _take(self, info: ExecutionInfo | None) -> _Cell | None:
        # Cells that run cells nest; one that never came to its end is dropped with its outer cell.
        while self._cells:
            cell = self._cells.pop()
            if info is None or cell.info is info:
                return cell
            if all(other.info is not info for other in self._cells):
                # IPython made a new description of this cell after an error of its own.
                return cell
            if cell.block is not None:
                cell.block.close(asyncio.CancelledError())
        return None

    def _open(self, options: Namespace, source: str) -> Block:
        from ...tracking.block import Block
        from ...tracking.options import TrackOptions

        block = Block(
            experiment=options.experiment,
            run_name=options.run_name,
            data=options.data,
            tags=dict(options.tags),
            seed=options.seed,
            offline=options.offline,
            source=source,
            resume=options.resume,
            options=TrackOptions(
                options.grad_norm,
                options.checkpoints,
                options.cases,
                None if options.capture is None else frozenset(options.capture),
            ),
        )
        try:
            block.open()
        except MlopsLabError as error:
            raise CellRefused(str(error)) from None
        except KeyboardInterrupt:
            raise CellRefused("Interrupted before the cell began; nothing of it was run.") from None
        except Exception as error:
            # IPython would drop the transformer and run the cell untracked without a word.
            raise CellRefused(
                f"The run could not be begun ({type(error).__name__}: {error}); the cell was not run."
            ) from error
        return block


def _has_late_magic(node: ast.AST) -> bool:
    """Tell whether IPython took our cell magic for a line magic, since it stands below other code."""
    calls = (call for call in ast.walk(node) if isinstance(call, ast.Call) and call.args)
    return any(isinstance(call.args[0], ast.Constant) and call.args[0].value == MAGIC[1:] for call in calls)


def _body(source: str) -> str:
    lines = source.splitlines(keepends=True)
    found = magic_lines(lines)
    return "".join(lines[found[1] :] if found else lines)

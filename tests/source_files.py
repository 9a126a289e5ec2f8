"""The files of the repository that tests scan."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {"build", "dist", "node_modules", "shared", "tests"}


def code_folders() -> list[Path]:
    """Return the top-level folders with the project's own code or prose, except tests and hidden folders."""
    folders = (path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(path for path in folders if not path.name.startswith(".") and path.name not in NOT_OURS)


def python_files() -> list[Path]:
    """Return every Python file outside the tests."""
    return [path for folder in code_folders() for path in sorted(folder.rglob("*.py"))]


@cache
def parse(source: str) -> ast.Module:
    """Return the syntax tree of a file, parsed once for all tests of a process: do not change it."""
    gc.disable()  # it would pass over all trees again and again, and find nothing
    try:
        return ast.parse(source)
    finally:
        gc.freeze()
        gc.enable()


def children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes directly below a node, as `ast.iter_child_nodes` does, but faster."""
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    yield item
        elif isinstance(value, ast.AST):
            yield value

"""Read the source file of a model and check that it can run without the files around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ModelError

_DEFINITIONS: Final = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def read_source(file: Path, max_bytes: int) -> bytes:
    """Return the content of a file. Raises ModelError if it cannot be read or is too large."""
    try:
        source = file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{file}: cannot be read: {error.strerror or error}",
            kind="unreadable",
            remedy="give the path of the model's file",
        ) from None
    if len(source) > max_bytes:
        raise ModelError(
            f"{file}: the file has {len(source)} bytes; allowed are at most {max_bytes}",
            kind="too_large",
            remedy="put large tables into the preprocessing or the weights, or install them as a package",
        )
    return source


def check_self_contained(source: bytes, file: Path) -> None:
    """Raise ModelError if the source imports a file beside it: only its own file becomes part of the version."""
    statements = [node for node in _parse(source, file).body if not _is_main_guard(node)]
    for node in (inner for statement in statements for inner in ast.walk(statement)):
        for name, level in _imports(node):
            top = name.partition(".")[0]
            beside = [file.parent / f"{top}.py", file.parent / top / "__init__.py"]
            if level == 0 and not any(path.is_file() for path in beside):
                continue
            raise ModelError(
                f"{file}, line {getattr(node, 'lineno', 0)}: imports {'.' * level}{name}, a file of your own; only {file.name} "
                "becomes part of the model",
                kind="code",
                remedy=f"move the code into {file.name}, or into a package that is installed where the worker runs",
            )


def check_definitions_only(source: bytes, file: Path) -> None:
    """Raise ModelError if the source does more at its top level than define: loading the model would do it again."""
    for node in _parse(source, file).body:
        if isinstance(node, _DEFINITIONS) or _is_main_guard(node) or _is_constant(node):
            continue
        raise ModelError(
            f"{file}, line {node.lineno}: the script runs code there, which would run whenever the model is loaded",
            kind="code",
            remedy='move the class into a file of its own and import it, or put the code under `if __name__ == "__main__":`',
        )


def _parse(source: bytes, file: Path) -> ast.Module:
    try:
        return ast.parse(source, str(file))
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise ModelError(
            f"{file}{line}: not valid Python: {error.msg}",
            kind="code",
            remedy="correct the file, and register it again",
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ModelError(
            f"{file}: not valid Python: {error}", kind="code", remedy="correct the file, and register it again"
        ) from None


def _imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of leading dots of what a statement imports."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, 0) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or "", node.level


def _is_main_guard(node: ast.stmt) -> bool:
    tests = ("__name__ == '__main__'", "'__main__' == __name__")
    return isinstance(node, ast.If) and ast.unparse(node.test) in tests and not node.orelse


def _is_constant(node: ast.stmt) -> bool:
    """Return whether the statement is a docstring or an assignment that calls nothing."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Assign | ast.AnnAssign) and not any(
        isinstance(part, ast.Call) for part in ast.walk(node)
    )

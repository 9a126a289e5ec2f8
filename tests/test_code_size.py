"""Limits on the size of code: lines per file and function, positional arguments per call, parameters per constructor."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.source_files import ROOT, children, parse, python_files

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_POSITIONAL = 4
MAX_CONSTRUCTOR_PARAMETERS = 12

# Our own callables that may be called with more positional arguments, and why. Keywords would slow such a call by 30 to 100 %.
CALLED_BY_POSITION = {
    "DeltaKey": "built for each event of a micro-batch that spans minutes",
    "PlainRecord": "built for each record that is asked for",
    "Window": "built for each event that opens a window",
    "_add": "called for each event and window that it belongs to",
    "place": "called for each event of a model that takes windows",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> Mapping[Path, ast.Module]:
    """Return the syntax trees of all files, by path relative to the root."""
    paths = [*python_files(), *sorted((ROOT / "tests").rglob("*.py"))]
    return {path.relative_to(ROOT): parse(path.read_text()) for path in paths}


class Nodes(NamedTuple):
    """What the limits apply to in a module. calls: the last part of the called name, and the call."""

    classes: list[ast.ClassDef]
    functions: list[Function]
    calls: list[tuple[str, ast.Call]]


@cache
def nodes_of(module: ast.Module) -> Nodes:
    """Return the nodes of a module; in a call, `cls` stands for the enclosing class."""
    found = Nodes([], [], [])
    waiting: list[tuple[ast.AST, str]] = [(module, "")]
    while waiting:
        node, class_name = waiting.pop()
        if isinstance(node, ast.Name | ast.Constant):
            continue
        if isinstance(node, ast.ClassDef):
            found.classes.append(node)
            class_name = node.name
        elif isinstance(node, Function):
            found.functions.append(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            found.calls.append((class_name if name == "cls" else name, node))
        waiting += [(child, class_name) for child in children(node)]
    return found


def positional_parameters(function: Function, *, is_method: bool) -> int:
    """Return how many arguments can be passed by position; 0 for a function with a variable number."""
    arguments = function.args
    if arguments.vararg is not None:
        return 0
    is_static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    return len(arguments.posonlyargs) + len(arguments.args) - (is_method and not is_static)


def own_callables(modules: Mapping[Path, ast.Module]) -> dict[str, int]:
    """Return functions, methods and classes by name, with the number of arguments that they accept by position.

    A class without a constructor accepts its annotated fields and those of its base classes.
    """
    found: dict[str, int] = defaultdict(int)
    classes: dict[str, list[ast.ClassDef]] = defaultdict(list)
    for module in modules.values():
        for node in nodes_of(module).classes:
            classes[node.name].append(node)
    functions = [function for module in modules.values() for function in nodes_of(module).functions]
    methods = {id(member) for nodes in classes.values() for node in nodes for member in node.body}
    for function in functions:
        taken = positional_parameters(function, is_method=id(function) in methods)
        found[function.name] = max(found[function.name], taken)
    for name, nodes in classes.items():
        found[name] = max(found[name], *(constructor_arguments(node, classes) for node in nodes))
    return found


def constructor_arguments(node: ast.ClassDef, classes: Mapping[str, list[ast.ClassDef]]) -> int:
    """Return how many arguments a class accepts by position."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return positional_parameters(member, is_method=True)
    fields = sum(isinstance(member, ast.AnnAssign) for member in node.body)
    for name in (ast.unparse(base).split("[")[0] for base in node.bases):
        fields += max(
            (constructor_arguments(base, classes) for base in classes.get(name, ()) if base is not node), default=0
        )
    return fields


@cache
def own_positional_calls() -> Sequence[tuple[str, str]]:
    """Return the calls that `positional_calls` finds in all files."""
    return list(positional_calls(trees()))


def positional_calls(modules: Mapping[Path, ast.Module]) -> Iterator[tuple[str, str]]:
    """Yield name and location of calls of our own callables with more than MAX_POSITIONAL positional arguments.

    A name is looked up in its own file first. Aliases are not resolved.
    """
    own = own_callables(modules)
    for path, module in modules.items():
        nearest: Mapping[str, int] | None = None
        for name, call in nodes_of(module).calls:
            passed = sum(not isinstance(argument, ast.Starred) for argument in call.args)
            if passed <= MAX_POSITIONAL:
                continue
            nearest = nearest or own | own_callables({path: module})
            if passed <= nearest.get(name, 0):
                yield name, f"{path}:{call.lineno}: {name}() with {passed} arguments by position"


def long_files(sources: Mapping[Path, str]) -> list[str]:
    lengths = {path: len(source.splitlines()) for path, source in sources.items()}
    return [f"{path}: {length} lines" for path, length in lengths.items() if length > MAX_FILE_LINES]


def functions(modules: Mapping[Path, ast.Module]) -> Iterator[tuple[Path, Function]]:
    for path, module in modules.items():
        for function in nodes_of(module).functions:
            yield path, function


def long_functions(modules: Mapping[Path, ast.Module]) -> list[str]:
    found = []
    for path, node in functions(modules):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            found.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    return found


def large_constructors(modules: Mapping[Path, ast.Module]) -> list[str]:
    found = []
    for path, node in functions(modules):
        count = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs) - 1
        if node.name == "__init__" and count > MAX_CONSTRUCTOR_PARAMETERS:
            found.append(f"{path}:{node.lineno}: a constructor with {count} parameters")
    return found


def test_code_benchmarks_examples_and_tests_are_checked() -> None:
    assert {path.parts[0] for path in trees()} >= {"stream", "models", "schemas", "benchmarks", "examples", "tests"}


def test_no_file_is_too_long() -> None:
    assert long_files({path: (ROOT / path).read_text() for path in trees()}) == []


def test_no_function_is_longer_than_a_screen() -> None:
    assert long_functions(trees()) == []


def test_many_arguments_are_passed_by_keyword() -> None:
    assert [place for name, place in own_positional_calls() if name not in CALLED_BY_POSITION] == []


def test_every_exception_is_still_needed() -> None:
    assert {name for name, _ in own_positional_calls()} >= CALLED_BY_POSITION.keys()


def test_no_constructor_takes_more_than_a_dozen_parameters() -> None:
    assert large_constructors(trees()) == []


def one(source: str) -> dict[Path, ast.Module]:
    return {Path("one.py"): ast.parse(source)}


def test_a_long_file_is_found() -> None:
    sources = {Path("short.py"): "x = 1\n" * MAX_FILE_LINES, Path("long.py"): "x = 1\n" * (MAX_FILE_LINES + 1)}
    assert long_files(sources) == ["long.py: 401 lines"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_long_function_is_found(kind: str) -> None:
    short = f"{kind} short():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1)
    nested = f"class A:\n    {kind} long(self):\n" + "        x = 1\n" * MAX_FUNCTION_LINES
    assert long_functions(one(short + nested)) == ["one.py:72: long has 71 lines"]


PARAMETERS = "a, b, c, d, e"


@pytest.mark.parametrize(
    "source",
    [
        f"def f({PARAMETERS}): ...\nf(1, 2, 3, 4, 5)",
        f"class A:\n    def f(self, {PARAMETERS}): ...\nA().f(1, 2, 3, 4, 5)",
        f"class A:\n    @staticmethod\n    def f({PARAMETERS}): ...\nA.f(1, 2, 3, 4, 5)",
        f"class A:\n    def __init__(self, {PARAMETERS}): ...\nA(1, 2, 3, 4, 5)",
        "class A(NamedTuple):\n    a: int\n    b: int\n    c: int\n    d: int\n    e: int\nA(1, 2, 3, 4, 5)",
        "@dataclass\nclass A:\n    a: int\n    b: int\n    c: int\n@dataclass\nclass B(A):\n    d: int\n    e: int\n"
        "    @classmethod\n    def make(cls): return cls(1, 2, 3, 4, 5)",
    ],
)
def test_a_call_with_many_arguments_by_position_is_found(source: str) -> None:
    ((_, place),) = positional_calls(one(source))
    assert place.startswith("one.py:") and place.endswith("with 5 arguments by position")


@pytest.mark.parametrize(
    "source",
    [
        f"def f({PARAMETERS}): ...\nf(1, 2, 3, 4, e=5)",
        "def f(*a): ...\nf(1, 2, 3, 4, 5)",
        "def f(a): ...\nzip(1, 2, 3, 4, 5)",
        f"def f({PARAMETERS}): ...\nf(1, 2, 3, 4, *x)",
    ],
)
def test_other_calls_are_free(source: str) -> None:
    assert list(positional_calls(one(source))) == []


def test_a_large_constructor_is_found() -> None:
    parameters = ", ".join(f"p{number}" for number in range(MAX_CONSTRUCTOR_PARAMETERS))
    dozen, more = (f"class A:\n    def __init__(self, {names}): ...\n" for names in (parameters, parameters + ", *, x"))
    assert large_constructors(one(dozen + more)) == ["one.py:4: a constructor with 13 parameters"]

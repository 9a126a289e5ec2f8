"""Columns from documents, for formats without a columnar parser.

Shapes: B documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np

from forebay.stream.decode.formats.payload import Column, InvalidPayload, ParsedColumns, Path

_NONE: Final = type(None)


def lookup(document: object, path: Path) -> object:
    """Return the value at a path; None if there is none."""
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isascii() and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def columns_of_documents(documents: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> dict[Path, Column]:
    """Return a column for each path. documents: one for each payload, empty for suspects."""
    by_parent: dict[Path, list[str]] = {}
    for path in dict.fromkeys(paths):
        by_parent.setdefault(path[:-1], []).append(path[-1] if path else "")
    columns: dict[Path, Column] = {}
    for parent, names in by_parent.items():
        objects = documents if not parent else [lookup(document, parent) for document in documents]
        if not parent and names == [""] and () in paths:
            columns[()] = column_of_values(list(documents))
            continue
        for name, values in zip(names, _fields(objects, names), strict=True):
            columns[*parent, name] = column_of_values(values)
    return columns


def columns_one_by_one(
    document: Callable[[bytes], Mapping[str, Any]], values: Sequence[bytes], paths: Sequence[Path], *, start: int
) -> ParsedColumns:
    """Return the columns of a poll from its documents. document: returns that of a payload, or raises InvalidPayload."""
    documents: list[Mapping[str, Any]] = []
    suspects_B = np.zeros(len(values), dtype=np.bool_)
    for index, value in enumerate(values):
        try:
            documents.append(document(value[start:] if start else value))
        except InvalidPayload:
            documents.append({})
            suspects_B[index] = True
    return ParsedColumns(columns_of_documents(documents, paths), suspects_B)


def _fields(objects: Sequence[Any], names: Sequence[str]) -> Sequence[list[Any]]:
    """Return the values of each field, None where it is absent."""
    if len(names) > 1 and set(map(type, objects)) == {dict}:
        try:
            return [list(values) for values in zip(*map(itemgetter(*names), objects), strict=True)]
        except KeyError:
            pass  # some are absent
        return [[one.get(name) for one in objects] for name in names]
    return [[one.get(name) if type(one) is dict else lookup(one, (name,)) for one in objects] for name in names]


def column_of_values(values: list[Any]) -> Column:
    """Return a column of Python values, where None is missing."""
    kinds = set(map(type, values))
    missing_B = None
    if _NONE in kinds:
        missing_B = np.fromiter((value is None for value in values), dtype=np.bool_, count=len(values))
        kinds.discard(_NONE)
        if kinds <= {float, int}:
            fill: Any = 0 if kinds == {int} else np.nan
            values = [fill if value is None else value for value in values]
    try:
        if kinds == {int}:
            return Column(np.array(values, dtype=np.int64), missing_B)
        if kinds <= {float, int}:
            return Column(np.array(values, dtype=np.float64), missing_B)
        if kinds == {bool} and missing_B is None:
            return Column(np.array(values, dtype=np.bool_))
    except OverflowError:
        pass  # an integer that is too large
    objects_B = np.empty(len(values), dtype=object)
    objects_B[:] = values
    return Column(objects_B, missing_B)

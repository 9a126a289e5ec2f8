"""The columns of a format agree with its documents."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.payload import Column, InvalidPayload, Path
from tests.fuzz.payloads.outcomes import Tally
from tests.fuzz.payloads.target import TargetFormat

MAX_MESSAGE = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)}


def check_columns(
    of: TargetFormat, payloads: Sequence[bytes], tally: Tally, *, exact: bool
) -> tuple[str | None, float]:
    """Read payloads as documents and as columns. Return what is wrong, None for nothing, and the time of the format.

    exact: whether each path is also read alone.
    """
    documents: list[dict[str, object] | None] = []
    began = time.process_time()
    for payload in payloads:
        try:
            documents.append(of.format.document(payload))
            tally.kinds["document"] += 1
        except InvalidPayload as fault:
            if not isinstance(fault.kind, FailureKind) or not 0 < len(fault.message) <= MAX_MESSAGE:
                return f"a fault is {fault.kind!r}: {fault.message[:MAX_MESSAGE]!r}", 0.0
            if "MemoryError" in fault.message or "RecursionError" in fault.message:
                return f"a fault hides an error: {fault.message}", 0.0
            documents.append(None)
            tally.kinds[fault.kind.value] += 1
        except Exception:
            return f"document() raised for {payload[:100]!r}: {traceback.format_exc(limit=-6)}", 0.0
    tally.rows += len(payloads) - documents.count(None)
    for paths in (*([path] for path in of.paths if exact), of.paths):
        if (problem := _check_paths(of, payloads, documents, paths)) is not None:
            return problem, 0.0
    return None, time.process_time() - began


def _check_paths(
    of: TargetFormat,
    payloads: Sequence[bytes],
    documents: Sequence[dict[str, object] | None],
    paths: Sequence[Path],
) -> str | None:
    prefix = b"\0\0\0\0\1"
    try:
        parsed = of.format.columns([prefix + payload for payload in payloads], paths, start=len(prefix))
    except Exception:
        return f"columns() raised for {paths}: {traceback.format_exc(limit=-6)}"
    if parsed is None:
        return None
    for row in np.flatnonzero(~parsed.suspects_B).tolist():
        document = documents[row]
        if document is None:
            return f"columns() accepts payload {row}, which document() refuses: {payloads[row][:200]!r}"
        for path in paths:
            found, expected = _of_column(parsed.columns[path], row), _at(document, path)
            if not _same(found, expected):
                return f"payload {row} has {found!r} in the column {path} and {expected!r} in the document"
    return None


def _of_column(column: Column, row: int) -> object:
    if column.missing_B is not None and column.missing_B[row]:
        return None
    value = column.values[row]
    if column.unit == "ns":
        return int(value)
    if column.unit is not None:
        return _EPOCH + int(value) * _UNITS[column.unit]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _at(document: object, path: Path) -> object:
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def _same(column: Any, document: Any) -> bool:
    """Return whether both are the same value. Whole numbers may be floats, and dates times."""
    if isinstance(document, date) and isinstance(column, datetime) and not isinstance(document, datetime):
        document = datetime(document.year, document.month, document.day, tzinfo=UTC)
    if isinstance(document, datetime) and document.tzinfo is None:
        document = document.replace(tzinfo=UTC)
    if isinstance(column, list) and isinstance(document, list):
        return len(column) == len(document) and all(map(_same, column, document))
    if isinstance(column, float) and isinstance(document, float) and column != column:
        return document != document
    if isinstance(column, bool) != isinstance(document, bool):
        return False
    return bool(column == document)

"""The optional compiled part: modules in Cython for the busiest loops, each with a twin in Python that gives the same results.

Where the modules are not built, because there was no C compiler, or if the environment variable FOREBAY_NATIVE is 0, they are
None here and the twins run instead. `.ci/build_native.py` builds them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Protocol

VARIABLE: Final = "FOREBAY_NATIVE"


class RowReader(Protocol):
    """Reads plain events of one signature (`json_rows.pyx`)."""

    def read(self, values: Sequence[bytes | None], x_BF: Any) -> tuple[list[str], list[int], list[int]]: ...


def _load(name: str) -> ModuleType | None:
    if os.environ.get(VARIABLE) == "0":
        return None
    try:
        return import_module(f"{__name__}.{name}")
    except ImportError:
        return None


encrypted_fields: ModuleType | None = _load("encrypted_fields")
json_rows: ModuleType | None = _load("json_rows")
prediction_json: ModuleType | None = _load("prediction_json")
record_columns: ModuleType | None = _load("record_columns")
record_writer: ModuleType | None = _load("record_writer")


def description() -> str:
    """Return whether the compiled part is in use, and if not, why."""
    if None not in (encrypted_fields, json_rows, prediction_json, record_columns, record_writer):
        return "the compiled part is in use"
    if os.environ.get(VARIABLE) == "0":
        return f"the compiled part is off: {VARIABLE} is 0"
    return "the compiled part is not built: the slower twin in Python is in use"

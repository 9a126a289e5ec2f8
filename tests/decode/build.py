"""Signatures and strategies for tests of the decoder."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.decode import Decoder
from tests.core.build import JULY

F32 = (("content-type", b"application/x-forebay-f32"),)
CATEGORIES = Signature(
    (
        Feature("carrier", "category", ("AA", "UA")),
        Feature("delay"),
        Feature("wind", nullable=True),
        Feature("gate", "category", ("A", "B"), nullable=True),
    ),
    (4,),
    "binary",
    1,
)
TEXTS = Signature(
    (
        Feature("carrier", "hashed", buckets=16),
        Feature("delay"),
        Feature("wind", "category", ("AA", "UA"), nullable=True, other=True),
        Feature("gate", "hashed", nullable=True, buckets=3),
    ),
    (4,),
    "binary",
    1,
)
TIMES = Signature(
    (
        Feature("carrier", "hashed", buckets=16),
        Feature("delay", "timestamp", parts=("hour", "weekday_sin")),
        Feature("wind", "timestamp", nullable=True, parts=("seconds_since",), unit="seconds", reference="2013-07-01"),
        Feature("gate"),
    ),
    (5,),
    "binary",
    1,
)
GRID = Signature((), (2, 2), "binary", 1)
IMAGE = Signature((), (2, 2, 3), "multiclass", 2)


def without_fast_path(of: Decoder) -> Decoder:
    """Return the decoder with a fast path that refuses every event, so that the validator decides about all."""

    def refuse(_value: bytes) -> Any:
        raise ValueError

    for row_format in of._models.formats:
        row_format.parse = refuse
        row_format.reader = None
        row_format.raw_bytes = -1
    of._shared._parse = refuse
    of._divided._guess = None
    return of


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70) | st.booleans()
scalars = (
    numbers
    | st.none()
    | st.text(max_size=3)
    | st.sampled_from(["AA", "UA", "A", "2013-07-01T23:30:00-05:00", "2013-02-30", JULY])
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=6)
grids = st.lists(st.lists(numbers | scalars, min_size=1, max_size=2), min_size=1, max_size=2)
names = st.sampled_from(["carrier", "delay", "wind", "gate", "f0", "f1", "f2", "other"])


def documents_of(model: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Return JSON documents that usually look like events. model: their fields `model`."""
    objects = st.fixed_dictionaries(
        {},
        optional={
            "id": st.text(max_size=3) | values,
            "timestamp": st.integers(-5, 2**62) | values,
            "features": st.lists(scalars, min_size=2, max_size=5) | st.dictionaries(names, scalars) | grids | values,
            "input": st.lists(numbers, min_size=3, max_size=3),
            "key": values,
            "model": model,
            "deadline_ms": values,
            "extra": values,
        },
    )
    return objects.map(lambda value: json.dumps(value).encode()) | values.map(lambda value: json.dumps(value).encode())

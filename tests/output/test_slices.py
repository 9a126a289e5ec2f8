"""The slices that predictions carry: the value of each named feature, as the event has it."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.reference_statistics import NumberReference, ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.stream.core.records import MicroBatch
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.slices import SliceColumn, SliceEncoder, json_slices, quarter_edges, slice_columns
from tests.core.build import chunk, finish

CARRIER = Feature("carrier", "category", ("AA", 'B"A'), nullable=True, other=True)
FEATURES = (Feature("distance"), CARRIER, Feature("city", "hashed", buckets=8), Feature("unknown"))
SIGNATURE = Signature(FEATURES, (4,), "binary", 1)
DISTANCE = NumberReference("distance", 0, None, None, edges=(10.0, 20.0, 30.0, 40.0), counts=(25, 20, 10, 20, 25))
REFERENCE = ReferenceStatistics(100, (DISTANCE,))


def test_only_features_with_a_limited_number_of_values_are_carried() -> None:
    names = ["carrier", "distance", "city", "unknown", "nowhere"]
    assert [column.name for column in slice_columns(SIGNATURE, REFERENCE, names)] == ["carrier", "distance"]
    assert [column.name for column in slice_columns(SIGNATURE, None, names)] == ["carrier"]
    windows = Signature((Feature("distance"),), (1,), "binary", 1, window=WindowInput(sequence_length=3))
    assert slice_columns(windows, REFERENCE, names) == ()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((25, 25, 25, 25), (1.0, 2.0, 3.0)),
        ((90, 4, 3, 3), (1.0, 1.0, 1.0)),
        ((3, 3, 4, 90), (3.0, 3.0, 3.0)),
    ],
)
def test_the_edges_of_quarters_are_those_of_bins(counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
    assert quarter_edges(NumberReference("x", 0, None, None, edges=(1.0, 2.0, 3.0), counts=counts)) == expected


def test_a_constant_number_has_one_quarter() -> None:
    constant = NumberReference("x", 0, 1.0, 0.0, edges=(), counts=(5,))
    column = SliceColumn("x", 0, ("missing", "q1", "q2", "q3", "q4"), quarter_edges(constant))
    assert column.codes(np.array([[1.0], [math.nan]], np.float32)).tolist() == [1, 0]


_NUMBERS = st.sampled_from([-math.inf, 0.0, 9.99, 10.0, 20.0, 25.0, 30.0, 30.5, 40.0, math.inf, math.nan])


@given(st.lists(st.tuples(_NUMBERS, st.sampled_from([0.0, 1.0, 2.0, math.nan]))), st.booleans())
def test_the_columns_give_what_one_row_after_the_other_gives(
    rows: list[tuple[float, float]], carrier_first: bool
) -> None:
    names = ["carrier", "distance"] if carrier_first else ["distance", "carrier"]
    columns = slice_columns(SIGNATURE, REFERENCE, names)
    x_BF = np.array([[distance, carrier, 0, 0] for distance, carrier in rows], np.float32).reshape(-1, 4)

    def quarter(number: float) -> str:
        if math.isnan(number):
            return "missing"
        return "q1" if number < 10 else "q2" if number < 20 else "q3" if number < 40 else "q4"

    def category(code: float) -> str:
        return "missing" if math.isnan(code) else ("AA", 'B"A', "other")[int(code)]

    edges = quarter_edges(DISTANCE)
    assert edges == (10.0, 20.0, 40.0)
    expected = [{"distance": quarter(distance), "carrier": category(carrier)} for distance, carrier in rows]
    texts = SliceEncoder(columns, json_slices).encode(x_BF)
    assert [orjson.loads("{" + text[1:] + "}") for text in texts] == [
        {"slices": {name: values[name] for name in names}} for values in expected
    ]


def test_predictions_carry_the_slices_of_their_own_rows() -> None:
    encoder = PredictionEncoder(
        model="m", version=3, labels=(), num_classes=2, slices=[SliceColumn("x", 0, ("missing", "a", "b"))]
    )
    events = chunk([0, 1, 2])
    events.x_BF[:, 0] = [1, math.nan, 0]
    result = finish(MicroBatch(0, (events,), "size", 0.0))
    for rows, expected in ((None, ["b", "missing", "a"]), ([2, 0], ["a", "b"])):
        documents = [orjson.loads(value) for value in encoder.encode(result, events, 0, rows)]
        assert [document["slices"] for document in documents] == [{"x": value} for value in expected]
        assert [document["source"]["offset"] for document in documents] == list(rows or range(3))

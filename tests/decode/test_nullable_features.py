"""Events with null or absent features of models that take them."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.validator import EventValidator
from tests.core.build import EPOCH, MODEL, P0, FakeRecord, event
from tests.decode.build import without_fast_path

SIGNATURE = Signature(
    (
        Feature("a"),
        Feature("b", nullable=True),
        Feature("c", "category", ("red", "blue"), nullable=True),
        Feature("d", nullable=True),
    ),
    (4,),
    "binary",
    1,
)


def decoder() -> Decoder:
    return Decoder([DecodedModel(MODEL, SIGNATURE)], max_event_bytes=1_000)


@pytest.mark.parametrize(
    "features",
    [
        [1, None, None, 4],
        [1, 2, "red", None],
        {"a": 1, "b": None, "c": None, "d": None},
        {"a": 1, "c": "blue"},
        {"a": 1},
    ],
)
def test_null_and_absent_features_take_the_fast_path(features: object, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = {P0: [FakeRecord(0, event("1", features))]}
    (expected,) = without_fast_path(decoder()).decode(poll, EPOCH)
    fast = decoder()

    def refuse(*_: object) -> None:
        raise AssertionError("the exact path was taken")

    monkeypatch.setattr(EventValidator, "validate", refuse)
    (chunk,) = fast.decode(poll, EPOCH)
    assert chunk.num_rows == expected.num_rows == 1
    np.testing.assert_array_equal(chunk.x_BF, expected.x_BF)

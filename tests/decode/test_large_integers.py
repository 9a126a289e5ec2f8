"""Events with integers that float64 cannot hold."""

from __future__ import annotations

import pytest

from forebay.models.artefacts.signature import Signature
from forebay.schemas.failures import FailureKind
from tests.core.build import event, signature
from tests.decode import build
from tests.decode.test_decoder import decode_one, kind_of, validate_one


@pytest.mark.parametrize(
    ("of", "features", "is_valid"),
    [
        (signature(names=True), '{"f0": 1, "f1": 2, "f2": 3, "unused": %s}', True),
        (signature(names=True), '{"f0": %s, "f1": 2, "f2": 3}', False),
        (build.TIMES, '{"carrier": "a", "delay": 0, "wind": %s, "gate": 1}', True),
        (build.TIMES, '{"carrier": "a", "delay": %s, "wind": 1, "gate": 1}', False),
    ],
)
def test_integers_beyond_float64_are_read_alike_on_both_paths(of: Signature, features: str, is_valid: bool) -> None:
    value = ('{"id": "a", "timestamp": 1, "features": ' + features % ("3" * 400) + "}").encode()
    fast, exact = decode_one(value, of=of), validate_one(value, of=of)
    assert fast.x_BF.tobytes() == exact.x_BF.tobytes()
    for chunk in (fast, exact):
        assert chunk.num_rows == is_valid
        assert [fault.kind for fault in chunk.rejections] == [FailureKind.OUT_OF_RANGE] * (not is_valid)


@pytest.mark.parametrize("name", ["id", "timestamp", "deadline_ms", "key"])
def test_other_fields_with_integers_beyond_float64_are_rejected(name: str) -> None:
    value = event(**{name: "X"}) if name != "id" else event("X")
    assert kind_of(value.replace(b'"X"', b"3" * 400)) == FailureKind.OUT_OF_RANGE

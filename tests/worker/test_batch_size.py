"""Micro-batches become smaller for models of very many outputs, and stay as they are for all others."""

from __future__ import annotations

import pytest

from stream.encode import prediction_bytes
from stream.worker import MAX_BATCH_OUTPUT_BYTES, batch_size


@pytest.mark.parametrize(
    ("most", "outputs", "expected"),
    [(4096, 2, 4096), (4096, 500, 4096), (4096, 20_000, 119), (1, 20_000, 1), (64, 10**8, 1)],
)
def test_a_batch_has_no_more_rows_than_its_predictions_may_take(most: int, outputs: int, expected: int) -> None:
    rows = batch_size(most, outputs)
    assert rows == expected
    assert rows == 1 or rows * prediction_bytes(outputs) <= MAX_BATCH_OUTPUT_BYTES

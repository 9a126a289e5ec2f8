"""Micro-batches and polls are smaller for models with very many outputs or windows, and as configured otherwise."""

from __future__ import annotations

import pytest

from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.output.encoder import prediction_bytes
from forebay.stream.worker.batch_sizes import MAX_BATCH_OUTPUT_BYTES, batch_size, poll_size
from tests.eventtime.build import plan


@pytest.mark.parametrize(
    ("most", "outputs", "expected"),
    [(4096, 2, 4096), (4096, 500, 4096), (4096, 20_000, 119), (1, 20_000, 1), (64, 10**8, 1)],
)
def test_the_size_of_predictions_limits_the_batch_size(most: int, outputs: int, expected: int) -> None:
    rows = batch_size(most, outputs)
    assert rows == expected
    assert rows == 1 or rows * prediction_bytes(outputs) <= MAX_BATCH_OUTPUT_BYTES


@pytest.mark.parametrize(
    ("size_ms", "hop_ms", "expected"), [(10, 10, 4096), (60, 10, 4096), (1000, 1, 32), (999, 10, 327)]
)
def test_the_number_of_windows_limits_the_poll_size(size_ms: int, hop_ms: int, expected: int) -> None:
    assert (
        poll_size(
            4096,
            plan(
                WindowSpec(
                    WindowKind.HOPPING, size_ms=size_ms, hop_ms=hop_ms, gap_ms=0, out_of_orderness_ms=0, lateness_ms=0
                )
            ),
        )
        == expected
    )
    assert (
        poll_size(
            4096,
            plan(
                WindowSpec(
                    WindowKind.SESSION, size_ms=size_ms, hop_ms=0, gap_ms=5, out_of_orderness_ms=0, lateness_ms=0
                )
            ),
        )
        == 4096
    )
    assert poll_size(4096, None) == 4096

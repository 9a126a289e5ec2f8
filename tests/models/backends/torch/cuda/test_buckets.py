"""Buckets: the numbers of rows for which a device reserves memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.backends.torch.cuda.buckets import BUCKETS, bucket_sizes, smallest_bucket


@pytest.mark.parametrize(
    ("max_rows", "sizes"),
    [
        (1, (1,)),
        (64, (64,)),
        (65, (64, 65)),
        (512, (64, 256, 512)),
        (4096, BUCKETS),
        (65_536, BUCKETS),
    ],
)
def test_the_largest_bucket_is_at_most_the_largest_batch(max_rows: int, sizes: tuple[int, ...]) -> None:
    assert bucket_sizes(max_rows) == sizes


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_call_has_the_smallest_bucket_that_holds_it(num_rows: int, max_rows: int) -> None:
    sizes = bucket_sizes(max_rows)
    found = smallest_bucket(num_rows, sizes)
    assert found in sizes
    assert all(size < num_rows for size in sizes if size < found)
    assert found >= min(num_rows, max(sizes))

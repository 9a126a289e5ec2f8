"""The numbers of rows for which memory is reserved and graphs are captured on a device. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

BUCKETS: Final = (64, 256, 1024, 4096)
"""A call with fewer rows is padded to the next bucket; one with more than the largest is divided."""


def bucket_sizes(max_rows: int) -> tuple[int, ...]:
    """Return the buckets for calls of up to `max_rows` rows, ascending; the largest is no larger than that."""
    largest = min(max_rows, BUCKETS[-1])
    return (*(size for size in BUCKETS if size < largest), largest)


def smallest_bucket(num_rows: int, sizes: Collection[int]) -> int:
    """Return the smallest of the sizes that holds the rows; the largest size if none does."""
    return min((size for size in sizes if size >= num_rows), default=max(sizes))

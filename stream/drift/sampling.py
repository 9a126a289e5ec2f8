"""The choice of the rows that are counted: whole micro-batches, or every n-th row of large ones.

All rows of a second are equally likely to be counted, whatever their partition, value or micro-batch. While the load changes,
rows of a busy second are less likely to be counted than those of a quiet one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_VALUES_PER_STEP: Final = 16_384
"""Values that are counted in one step under load, which takes a fraction of a millisecond."""
MAX_VALUES_PER_S: Final = 200_000
"""Values of all columns that are counted in a second, so that models with many columns do not cost more."""
MIN_ROWS_PER_STEP: Final = 16
BURST: Final = 1.5
"""How far a second may exceed the limit, which only holds on average: while more rows arrive than in the second before."""


class RowSampler:
    """Chooses rows of one model version, at most `max_rows_per_s` on average.

    num_columns: columns that are counted for each row.
    random: returns numbers from 0 to below 1.
    now_s: monotonic time, as in all calls.
    """

    def __init__(self, max_rows_per_s: float, *, num_columns: int, random: Callable[[], float], now_s: float) -> None:
        self._limit = self._max_rows = 0.0
        self._num_columns = max(1, num_columns)
        self.set_limit(max_rows_per_s)
        self._rows_per_step = max(MIN_ROWS_PER_STEP, MAX_VALUES_PER_STEP // self._num_columns)
        self._random = random
        self._tokens = self._max_rows
        self._second_s = self._refilled_s = now_s
        self._seen = 0
        self._probability = 1.0

    def set_limit(self, max_rows_per_s: float) -> None:
        """Change the limit."""
        self._limit = max(1.0, min(max_rows_per_s, MAX_VALUES_PER_S / self._num_columns))
        self._max_rows = 2 * self._limit

    def choose(self, num_rows: int, now_s: float) -> slice | None:
        """Return the rows to count of a micro-batch with `num_rows` rows; None for none."""
        self._measure(num_rows, now_s)
        if not num_rows:
            return None
        # Every step-th row of a share of the micro-batches: a row's probability does not depend on the size of its own.
        step = min(-(-num_rows // self._rows_per_step), int(1 / self._probability))
        if self._random() >= self._probability * step:
            return None
        self._tokens = min(self._max_rows, self._tokens + (now_s - self._refilled_s) * BURST * self._limit)
        self._refilled_s = now_s
        if self._tokens <= 0:
            return None
        start = int(self._random() * step)
        self._tokens -= len(range(start, num_rows, step))
        return slice(start, num_rows, step)

    def _measure(self, num_rows: int, now_s: float) -> None:
        """Count the rows of the current second, and once it is over sample those of the next by its rate."""
        elapsed_s = now_s - self._second_s
        if elapsed_s >= 1:
            rate = self._seen / elapsed_s
            self._probability = min(1.0, self._limit / rate) if rate else 1.0
            self._second_s, self._seen = now_s, 0
        self._seen += num_rows

"""The limits of the micro-batches of one model, from the duration of its calls and the rate of its events. Pure."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

CALL_SHARE: Final = 0.25
"""Share of the objective that one call of the model may take, if the rate permits it."""
MAX_DEVICE_LOAD: Final = 0.85
"""Share of the time for which the model should be busy: larger micro-batches until it is."""
MIN_BATCH_SIZE: Final = 8
MAX_ARRIVED: Final = 2.0
"""A micro-batch may hold the events that arrive during this number of usual calls. So a limit that is too small grows by
itself: under it all calls have the same size, and show no slope that would correct a wrong line."""
GATHER_SHARE: Final = 1 / 16
"""Share of a commit's duration that a micro-batch waits for further events: they would wait for that commit anyway."""
MAX_DELAY_SHARE: Final = 0.05
"""Share of the objective that this wait may take."""
MIN_GATHERED: Final = 2.0
"""Number of further events that are worth the wait."""


class BatchLimits(NamedTuple):
    """Limits of the micro-batches of one lane.

    max_batch_size: in events.
    max_queue_delay_s: how long the first event waits for others while the model is free.
    sufficient_size: with this number of events it does not wait.
    """

    max_batch_size: int
    max_queue_delay_s: float
    sufficient_size: int


class Call(NamedTuple):
    """The duration of a model call of n rows, S(n) = call_s + row_s · n."""

    call_s: float
    row_s: float


def batch_limits(
    *, call: Call | None, usual_s: float, rate: float, gather_s: float, objective_s: float, max_batch_size: int
) -> BatchLimits:
    """Return the limits for a rate of events per second.

    call: None before the first call.
    usual_s: the mean duration of a call.
    gather_s: how long a micro-batch may wait for further events.
    max_batch_size: what the user has set.
    """
    delay_s = min(gather_s, MAX_DELAY_SHARE * objective_s)
    gathered = rate * delay_s
    if gathered < MIN_GATHERED:
        delay_s = 0.0  # it would wait for nothing
    size = max_batch_size
    if call is not None:
        size = min(size, max(_size(call, rate, objective_s), math.ceil(MAX_ARRIVED * rate * usual_s)))
    return BatchLimits(size, delay_s, min(size, math.ceil(2 * gathered)))


def _size(call: Call, rate: float, objective_s: float) -> int:
    """Return the number of rows whose call takes its share of the objective, or more if the rate needs larger calls."""
    if call.row_s <= 0:
        return 1 << 30
    in_time = (CALL_SHARE * objective_s - call.call_s) / call.row_s
    free = MAX_DEVICE_LOAD - rate * call.row_s
    # With n rows a call, the model is busy for rate · (call_s / n + row_s) of the time.
    needed = rate * call.call_s / free if free > 0 else math.inf
    if math.isinf(needed):
        needed = 20 * call.call_s / call.row_s  # what more rows could still gain is 5 %
    return max(MIN_BATCH_SIZE, math.ceil(min(max(in_time, needed), 1 << 30)))

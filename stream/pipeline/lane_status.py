"""The status of a lane, for telemetry and the admin API."""

from __future__ import annotations

from typing import NamedTuple

from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef


class LaneStatus(NamedTuple):
    """The status of one lane.

    events, num_bytes, batches: what is in flight, from reading to the commit.
    waiting: number of closed micro-batches that the device has not begun.
    blocked: why the topics of the lane are not read: breaker_open, in_flight_limit or device_backlog; None if they are.
    topics: the input topics whose events go to the lane unless they name another model.
    call_for_s: duration of the running model call so far; 0 if none runs.
    """

    model: ModelRef
    events: int
    num_bytes: int
    batches: int
    waiting: int
    blocked: str | None
    topics: tuple[str, ...]
    call_for_s: float
    breaker: CircuitBreaker

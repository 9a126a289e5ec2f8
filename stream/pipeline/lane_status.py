"""The status of a lane, for telemetry and the admin API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.inference.instance_schedule import InstanceStatus
from forebay.stream.pipeline.priority_feeds import PriorityStatus

BLOCKED_REASONS: Final = ("breaker_open", "in_flight_limit", "device_backlog")
"""Why the topics of a lane are not read: the breaker of its model is open, its share of what may be in flight is used up, or
too many micro-batches wait for its device."""


class LaneStatus(NamedTuple):
    """The status of one lane.

    events, num_bytes: what is in flight, from reading to the commit.
    batches: number of closed micro-batches without a result.
    waiting: number of those that the device has not begun.
    blocked: why the topics of the lane are not read, one of BLOCKED_REASONS; None if they are read.
    topics: the input topics whose events go to the lane unless they name another model.
    call_for_s: duration of the longest running model call so far; 0 if none runs.
    instances: of each instance of the model; empty if it has only one.
    priorities: of each class of events by its name; empty if all events have the same.
    unknown_priorities: number of headers so far with a priority that does not exist.
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
    instances: Sequence[InstanceStatus] = ()
    priorities: Mapping[str, PriorityStatus] = MappingProxyType({})
    unknown_priorities: int = 0

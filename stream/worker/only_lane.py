"""The status of the lane of a worker that serves one model."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.lane_status import LaneStatus


def status_of_only_lane(
    model: ModelRef, in_flight: InFlight, device: DeviceThread, breaker: CircuitBreaker, *, topics: Iterable[str]
) -> list[LaneStatus]:
    """Return the status of the only lane, which holds everything that is in flight."""
    is_full = not in_flight.room()
    blocked = "breaker_open" if breaker.state is BreakerState.OPEN else "in_flight_limit" if is_full else None
    return [
        LaneStatus(
            model=model,
            events=in_flight.events,
            num_bytes=in_flight.bytes,
            batches=in_flight.batches,
            waiting=0,
            blocked=blocked,
            topics=tuple(topics),
            call_for_s=device.running_for_s(),
            breaker=breaker,
        )
    ]

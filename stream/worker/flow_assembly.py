"""The assembly of the flow of events: the windows over event time, and the counts of what is in flight."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.kafka.cluster.topic_layout import Layout
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.worker.lane_assembly import ServedLane


def build_windows(lanes: Sequence[ServedLane], layout: Layout, *, clock: Clock) -> LaneWindows | None:
    """Return the windows of all models; None if none takes any. Raises ConfigError if there are too many models."""
    plans = [lane.windows for lane in lanes if lane.windows is not None]
    if not plans:
        return None
    return LaneWindows(
        plans, clock=clock, broker_time=layout.broker_time, topics={lane.ref: lane.topics for lane in lanes}
    )


def build_in_flight(settings: Settings, *, num_lanes: int) -> InFlight:
    """Return the counts of what is in flight, with their limits."""
    limits = settings.limits
    bounds = Bounds(limits.max_in_flight_events, limits.max_in_flight_bytes, limits.max_in_flight_batches)
    shares_lanes = num_lanes > 1 or settings.rollouts.enabled or settings.priorities.are_used
    return InFlight(bounds, limit_batches=not shares_lanes)

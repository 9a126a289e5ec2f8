"""The assembly of a worker's metrics and traces."""

from __future__ import annotations

import os
from collections.abc import Sequence

from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.telemetry.telemetry import ModelOnDevice, Telemetry, WorkerIdentity
from forebay.stream.worker.lane_assembly import ServedLane


def build_telemetry(settings: Settings, lanes: Sequence[ServedLane], *, worker: str, clock: Clock) -> Telemetry:
    """Build metrics and traces, with the exporters of the environment. worker: instance id."""
    return Telemetry(
        settings.telemetry,
        WorkerIdentity(
            models=[ModelOnDevice(lane.ref, lane.device) for lane in lanes],
            instance=worker,
            group_id=settings.kafka.group_id,
            transactional=settings.delivery.processing_guarantee == "exactly_once",
            max_in_flight_events=settings.limits.max_in_flight_events,
        ),
        clock=clock,
        environ=os.environ,
    )

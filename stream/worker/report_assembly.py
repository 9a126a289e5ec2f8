"""The assembly of what a worker reports about its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forebay.stream.admin.view import WorkerComponents
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.telemetry.polled_gauges import PolledComponents
from forebay.stream.worker.rollout_assembly import RolloutParts
from forebay.stream.worker.schema_assembly import SchemaParts


def optional_components(rollouts: RolloutParts | None, schemas: SchemaParts | None) -> dict[str, Any]:
    """Return the parts of `WorkerComponents` that only workers with rollouts or with a schema registry have."""
    found: dict[str, Any] = {} if schemas is None else {"schema_waits": schemas.waits}
    if rollouts is not None:
        found |= {"rollouts": rollouts.follower.status, "waiting_for": rollouts.follower.waiting_for}
    return found


def polled_components(
    components: WorkerComponents, schemas: SchemaParts | None, *, is_ready: Callable[[], bool], source: Source
) -> PolledComponents:
    """Return the parts whose state is polled for metrics."""
    pipeline = components.pipeline
    return PolledComponents(
        source,
        pipeline.in_flight,
        breakers=components.breakers.by_name,
        totals=pipeline.totals,
        lanes_status=pipeline.lanes_status,
        is_ready=is_ready,
        rollouts=components.rollouts,
        schemas=schemas,
    )

"""The assembly of what a worker reports about its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from forebay.stream.admin.view import WorkerComponents
from forebay.stream.authorization.policy_keeper import PolicyKeeper
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import PartitionLag, TopicPartition
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.output.emitter import EmissionBuilder
from forebay.stream.pipeline.objective_control import ObjectiveControl
from forebay.stream.telemetry.polled_gauges import PolledComponents
from forebay.stream.telemetry.telemetry import Telemetry
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.private_emissions import PrivateEmissions
from forebay.stream.worker.process_report import ProcessReport, gpu_memory_reader
from forebay.stream.worker.rollout_assembly import RolloutParts
from forebay.stream.worker.schema_assembly import SchemaParts


def process_report(lanes: Sequence[ServedLane], clock: Clock) -> ProcessReport:
    """Return what reports the resources of this process, with those on the devices of the lanes."""
    return ProcessReport(clock, gpu_memory=gpu_memory_reader([lane.device for lane in lanes]))


def lag_listener(
    telemetry: Telemetry, objective: ObjectiveControl | None
) -> Callable[[Mapping[TopicPartition, PartitionLag]], None]:
    """Return what receives each poll of the lag."""
    if objective is None:
        return telemetry.record_lag

    def record(lags: Mapping[TopicPartition, PartitionLag]) -> None:
        telemetry.record_lag(lags)
        objective.on_lags(lags)

    return record


def optional_components(
    rollouts: RolloutParts | None,
    schemas: SchemaParts | None,
    objective: ObjectiveControl | None,
    access: PolicyKeeper | None,
) -> dict[str, Any]:
    """Return the parts of `WorkerComponents` that only some workers have."""
    found: dict[str, Any] = {} if schemas is None else {"schema_waits": schemas.waits}
    found["access"] = access
    if objective is not None:
        found["objective"] = objective.report
    if rollouts is not None:
        found |= {"rollouts": rollouts.follower.status, "waiting_for": rollouts.follower.waiting_for}
    return found


def polled_components(
    components: WorkerComponents,
    schemas: SchemaParts | None,
    emissions: EmissionBuilder,
    *,
    is_ready: Callable[[], bool],
    source: Source,
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
        objective=components.objective,
        access=None if components.access is None else components.access.status,
        **({"findings": emissions.findings} if isinstance(emissions, PrivateEmissions) else {}),
    )

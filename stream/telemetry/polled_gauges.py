"""Gauges that are polled rather than pushed by a stage: readiness, events in flight, breakers, the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from forebay.stream.authorization.policy_keeper import AccessStatus
from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import PartitionLag, TopicPartition, WindowStatus
from forebay.stream.objective.controller import ObjectiveReport
from forebay.stream.objective.verdict import Binding
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.lane_status import BLOCKED_REASONS, LaneStatus
from forebay.stream.pipeline.schema_admission import SchemaWait
from forebay.stream.rollouts.rollout_status import RolloutStatus
from forebay.stream.telemetry import access_catalogue as a
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry import lane_metrics, privacy_catalogue
from forebay.stream.telemetry import objective_catalogue as o
from forebay.stream.telemetry.lag import LagMeter
from forebay.stream.telemetry.metric_store import Labels, MetricStore
from forebay.stream.telemetry.metrics_observer import MetricsRecorder, model_labels
from forebay.stream.telemetry.resources import GpuMeter, ProcessGauges
from forebay.stream.telemetry.rollout_metrics import RolloutRecorder

_STATES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class GaugeSource(Protocol):
    """The part of a source that is polled (see `kafka.consumer.source`)."""

    assignments: int

    @property
    def paused(self) -> bool: ...


class PolledTotals(Protocol):
    rewinds: int


class PolledSchemas(Protocol):
    """The schemas of a registry (see `worker.schema_assembly`)."""

    def waits(self) -> Sequence[SchemaWait]: ...
    def results(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class PolledComponents:
    """Components of the worker that are polled.

    breakers: returns the circuit breakers by name (see `pipeline.stages`).
    lanes_status: returns the status of each lane.
    is_ready: returns the verdict of `/readyz`.
    rollouts: returns the status of the rollouts; none if they are not enabled.
    schemas: None if no schema registry is configured.
    objective: returns the state of the objective on latency; None if there is none.
    access: the state of the policies of access; None if nothing needs a token.
    findings: returns the number of findings of personal data by place and detector; none without [privacy].
    """

    source: GaugeSource
    in_flight: InFlight
    breakers: Callable[[], Mapping[str, CircuitBreaker]]
    totals: PolledTotals
    lanes_status: Callable[[], Sequence[LaneStatus]]
    is_ready: Callable[[], bool]
    rollouts: Callable[[], Sequence[RolloutStatus]] = tuple
    schemas: PolledSchemas | None = None
    objective: Callable[[], ObjectiveReport] | None = None
    access: AccessStatus | None = None
    findings: Callable[[], Mapping[tuple[str, str], int]] = dict


class GaugePoller:
    """Writes the current values of the polled gauges into the metric store."""

    def __init__(
        self,
        store: MetricStore,
        recorder: MetricsRecorder,
        components: PolledComponents,
        *,
        clock: Clock,
        gpus: GpuMeter,
        rollouts: RolloutRecorder,
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._recorder = recorder
        self._components = components
        self._clock = clock
        self._process = ProcessGauges(store)
        self._gpus = gpus
        self._lag = LagMeter()
        self.windows: Mapping[TopicPartition, WindowStatus] = {}

    def sample(self) -> None:
        """Record all gauges but the lag. Call it on the event loop's thread."""
        store, components = self._store, self._components
        store.set(c.READY, int(components.is_ready()))
        store.set(c.IN_FLIGHT_EVENTS, components.in_flight.events)
        store.set(c.IN_FLIGHT_BYTES, components.in_flight.bytes)
        store.set(c.IN_FLIGHT_BATCHES, components.in_flight.batches)
        store.set(c.PAUSED, int(components.source.paused))
        states: dict[Labels, float] = {
            (name,): _STATES[breaker.state] for name, breaker in components.breakers().items()
        }
        store.replace(c.BREAKER_STATE, states)
        store.set_total(c.REBALANCES, components.source.assignments)
        store.set_total(c.REWINDS, components.totals.rewinds)
        self._record_lanes(components.lanes_status())
        if rollouts := components.rollouts():
            self._rollouts.record(rollouts)
        if components.schemas is not None:
            self._record_schemas(components.schemas)
        if components.objective is not None:
            self._record_objective(components.objective())
        if components.access is not None:
            self._record_access(components.access)
        for labels, number in components.findings().items():
            store.set_total(privacy_catalogue.FINDINGS, number, labels)
        now_ms = self._clock.wall_ms()
        windows = {_labels(partition): status for partition, status in self.windows.items()}
        store.replace(c.OPEN_WINDOWS, {labels: status.open_windows for labels, status in windows.items()})
        store.replace(c.BUFFERED_ROWS, {labels: status.buffered_rows for labels, status in windows.items()})
        delays: dict[tuple[str, ...], float] = {
            labels: max(0, now_ms - status.watermark_ms) / 1000
            for labels, status in windows.items()
            if status.watermark_ms is not None
        }
        store.replace(c.WATERMARK_DELAY, delays)
        self._process.sample()
        self._gpus.sample()

    def _record_schemas(self, schemas: PolledSchemas) -> None:
        now_s = self._clock.monotonic_s()
        waits: dict[Labels, float] = {_labels(wait.partition): now_s - wait.since_s for wait in schemas.waits()}
        self._store.replace(c.SCHEMA_WAIT, waits)
        for result, count in schemas.results().items():
            self._store.set_total(c.SCHEMA_LOOKUPS, count, (result,))

    def _record_access(self, status: AccessStatus) -> None:
        self._store.set(a.ACCESS_STALE, int(status.error is not None))
        self._store.set_total(a.ACCESS_RELOADS, status.num_changes, ("replaced",))
        self._store.set_total(a.ACCESS_RELOADS, status.num_failures, ("refused",))

    def _record_objective(self, report: ObjectiveReport) -> None:
        store = self._store
        store.set(o.OBJECTIVE, report.objective_s)
        store.set(o.OBJECTIVE_MET, int(report.verdict.is_met))
        store.set(o.OBJECTIVE_LATENCY, report.p99_s or 0.0)
        store.set(o.OBJECTIVE_COMMIT_INTERVAL, report.commit_interval_s)
        store.replace(
            o.OBJECTIVE_BINDING, {(binding.value,): int(binding == report.verdict.binding) for binding in Binding}
        )
        lanes = {model_labels(model): lane.limits for model, lane in report.lanes.items()}
        store.replace(o.OBJECTIVE_BATCH_SIZE, {labels: limits.max_batch_size for labels, limits in lanes.items()})
        store.replace(o.OBJECTIVE_QUEUE_DELAY, {labels: limits.max_queue_delay_s for labels, limits in lanes.items()})

    def _record_lanes(self, lanes: Sequence[LaneStatus]) -> None:
        by_labels = {model_labels(lane.model): lane for lane in lanes}
        self._store.replace(
            lane_metrics.LANE_IN_FLIGHT_EVENTS, {labels: lane.events for labels, lane in by_labels.items()}
        )
        self._store.replace(
            lane_metrics.LANE_WAITING_BATCHES, {labels: lane.waiting for labels, lane in by_labels.items()}
        )
        blocked: dict[Labels, float] = {
            (*labels, reason): int(lane.blocked == reason)
            for labels, lane in by_labels.items()
            for reason in BLOCKED_REASONS
        }
        self._store.replace(lane_metrics.LANE_BLOCKED, blocked)
        for labels, lane in by_labels.items():
            for index, instance in enumerate(lane.instances):
                self._store.set_total(lane_metrics.INSTANCE_BUSY, instance.busy_s, (*labels, str(index)))
            if lane.priorities:
                self._store.set_total(lane_metrics.PRIORITY_UNKNOWN, lane.unknown_priorities, labels)
            for priority, status in lane.priorities.items():
                self._store.set_total(lane_metrics.PRIORITY_EVENTS, status.events, (*labels, priority))
                self._store.set(lane_metrics.PRIORITY_WAITING_BATCHES, status.waiting, (*labels, priority))

    def record_lag(self, partition_lags: Mapping[TopicPartition, PartitionLag]) -> None:
        """Record the lag of the assigned partitions, when it has been polled."""
        self._recorder.retain(partition_lags)
        lags = self._lag.measure(partition_lags, self._recorder.last_read_ms, now_ms=self._clock.wall_ms())
        self._store.set(c.ASSIGNED_PARTITIONS, len(lags))
        self._store.replace(
            c.CONSUMER_LAG_RECORDS, {_labels(partition): lag.records for partition, lag in lags.items()}
        )
        self._store.replace(c.CONSUMER_LAG, {_labels(partition): lag.seconds for partition, lag in lags.items()})


def _labels(partition: TopicPartition) -> tuple[str, str]:
    return partition.topic, str(partition.partition)

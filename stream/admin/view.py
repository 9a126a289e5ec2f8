"""The current state of the worker: the snapshot that the probes evaluate, and the `/status` document."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, Protocol

from forebay.schemas.topics import topic_name
from forebay.stream.admin.health import (
    HealthSnapshot,
    StallDetector,
    StallDurations,
    StallLimits,
    Verdict,
    conditions,
    liveness,
    readiness,
    startup,
)
from forebay.stream.admin.member_metadata import decode_member_metadata
from forebay.stream.admin.model_status import breaker_status, describe_model, model_status, window_status
from forebay.stream.admin.objective_status import objective_status
from forebay.stream.admin.served_model import ServedModels
from forebay.stream.admin.status_observer import StatusObserver
from forebay.stream.authorization.policy_keeper import PolicyKeeper
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.core.group import Member
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Epoch, WindowStatus
from forebay.stream.kafka.consumer.lag_poller import LagPoller
from forebay.stream.objective.controller import ObjectiveReport
from forebay.stream.pipeline.lane_status import LaneStatus
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.schema_admission import SchemaWait
from forebay.stream.pipeline.stages import Breakers
from forebay.stream.rollouts.rollout_status import RolloutStatus

STATUS_FORMAT: Final = 1


class StatusSource(Protocol):
    """The part of the source that the status reads (see `kafka.consumer.source`)."""

    @property
    def epoch(self) -> Epoch | None: ...
    @property
    def joined(self) -> bool: ...
    @property
    def paused(self) -> bool: ...
    async def members(self) -> Sequence[Member]: ...


@dataclass(frozen=True, slots=True)
class WorkerComponents:
    """The components whose state is reported.

    lanes_status: returns the status of the lane of each model.
    rollouts: returns the status of the rollouts; none if they are not enabled.
    waiting_for: returns the revisions that must be applied before partitions can be read.
    schema_waits: returns the partitions that wait for a schema.
    objective: returns the state of the objective on latency; None if there is none.
    access: the policies of access; None if nothing needs a token.
    """

    models: ServedModels
    lanes_status: Callable[[], Sequence[LaneStatus]]
    pipeline: Pipeline
    breakers: Breakers
    source: StatusSource
    lag: LagPoller
    status_observer: StatusObserver
    rollouts: Callable[[], Sequence[RolloutStatus]] = tuple
    waiting_for: Callable[[], tuple[str, ...]] = tuple
    schema_waits: Callable[[], Sequence[SchemaWait]] = tuple
    objective: Callable[[], ObjectiveReport] | None = None
    access: PolicyKeeper | None = None


@dataclass(slots=True)
class PolledState:
    """State that is polled rather than read on demand.

    members: members of the consumer group.
    loop_delay_s: how late the event loop's timers have been.
    """

    warm: bool = False
    members: Sequence[Member] = ()
    stall: StallDurations = field(default_factory=StallDurations)
    loop_delay_s: float = 0.0


class WorkerView:
    """Reads the state of the components and changes nothing. worker: its instance id."""

    def __init__(self, settings: Settings, components: WorkerComponents, *, worker: str, clock: Clock) -> None:
        self._settings = settings
        self._components = components
        self._worker = worker
        self._clock = clock
        self._started_ms = clock.wall_ms()
        self._limits = StallLimits(
            settings.admin.stuck_after_ms / 1000,
            (
                settings.admin.stuck_after_ms
                + settings.kafka.rebalance_timeout_ms
                + settings.delivery.transaction_timeout_ms
            )
            / 1000,
        )
        self._stall_detector = StallDetector()
        self.url: str | None = None
        self.polled = PolledState()

    def sample(self) -> None:
        """Measure the stall and record the lag; called once a second."""
        snapshot = self.snapshot()
        self.polled.stall = self._stall_detector.update(snapshot)
        self._components.status_observer.samples.record_lag(snapshot.known_lag, wall_ms=self._clock.wall_ms())

    def snapshot(self) -> HealthSnapshot:
        """Return the state that the probes evaluate."""
        pipeline, source, lag = self._components.pipeline, self._components.source, self._components.lag
        gate_open = source.epoch is not None
        return HealthSnapshot(
            now_s=self._clock.monotonic_s(),
            warm=self.polled.warm,
            joined=source.joined,
            gate_open=gate_open,
            draining=pipeline.stopping,
            paused=pipeline.paused_by_operator,
            in_flight=pipeline.in_flight.events,
            lag=sum(partition_lag.lag for partition_lag in lag.partition_lags.values()) if gate_open else None,
            progress=(
                self._components.status_observer.batches_finished,
                pipeline.totals.commits,
                tuple(
                    sorted(
                        (partition, partition_lag.position) for partition, partition_lag in lag.partition_lags.items()
                    )
                ),
            ),
            cluster_answered_s=lag.answered_s,
            commit_failed_s=self._components.status_observer.commit_failed_s,
            breakers={name: breaker.state for name, breaker in self._components.breakers.by_name().items()},
            waiting_for=self._components.waiting_for(),
            schema_waits=tuple(wait.description for wait in self._components.schema_waits()),
        )

    def liveness(self) -> Verdict:
        return liveness(self.snapshot(), self.polled.stall, self._limits)

    def readiness(self) -> Verdict:
        return readiness(self.snapshot())

    def startup(self) -> Verdict:
        return startup(self.snapshot())

    def models(self) -> list[dict[str, Any]]:
        """Return the served models with their signatures."""
        return [describe_model(served) for served in self._components.models]

    def status(self, *, since: int | None) -> dict[str, Any]:
        """Return the `/status` document. since: add the samples after that second since 1970; None adds none."""
        now_ms, snapshot = self._clock.wall_ms(), self.snapshot()
        live, ready = self.liveness(), self.readiness()
        default, lanes = self._components.models.default, {lane.model: lane for lane in self._components.lanes_status()}
        document: dict[str, Any] = {
            "format": STATUS_FORMAT,
            "at": now_ms,
            "worker": self._worker,
            "url": self.url,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "release": version("forebay"),
            "started": self._started_ms,
            "uptime_s": round((now_ms - self._started_ms) / 1000, 1),
            "model": _name_and_version(default.ref),
            "models": self._models(lanes),
            "processing_guarantee": self._settings.delivery.processing_guarantee,
            "health": {
                "live": live.ok,
                "ready": ready.ok,
                "started": self.startup().ok,
                "reasons": [*live.reasons, *ready.reasons],
                **conditions(snapshot),
                "still_for_s": live.conditions["still_for_s"],
                "cluster_answered_ago_s": snapshot.silence_s,
                "loop_delay_ms": round(self.polled.loop_delay_s * 1000, 1),
            },
            "group": self._group(),
            "input_topics": [topic_name(self._settings.topics.prefix, name) for name in self._settings.input.topics],
            "partitions": self._partitions(),
            "lag": snapshot.known_lag,
            "in_flight": self._in_flight(lanes),
            "window": window_status(default),
            "breakers": {
                name: breaker_status(breaker, now_s=snapshot.now_s)
                for name, breaker in self._components.breakers.by_name().items()
            },
            "totals": self._totals(),
            "now": self._components.status_observer.samples.summary(now_ms=now_ms),
            "errors": self._components.status_observer.errors.to_list(),
            "last_warnings": self._components.status_observer.warnings.to_list(),
        }
        if rollouts := self._components.rollouts():
            document["rollouts"] = [rollout.to_dict() for rollout in rollouts]
        if self._components.objective is not None:
            document["objective"] = objective_status(self._components.objective(), now_s=snapshot.now_s, now_ms=now_ms)
        if self._components.access is not None:
            document["access"] = self._components.access.status.to_dict()
        if since is not None:
            document["history"] = self._components.status_observer.samples.columns(now_ms=now_ms, since=since)
        return document

    def _group(self) -> dict[str, Any]:
        source, epoch = self._components.source, self._components.source.epoch
        return {
            "id": self._settings.kafka.group_id,
            "joined": source.joined,
            "gate": "closed" if epoch is None else "open",
            "generation": None if epoch is None else epoch.generation,
            "member_id": None if epoch is None else epoch.member_id,
            "group_instance_id": self._settings.kafka.group_instance_id,
            "members": self._members(),
        }

    def _members(self) -> list[dict[str, Any]]:
        """Return the workers of the group, including this one. Any member can announce anything: treat it as untrusted."""
        members = [(member, decode_member_metadata(member.user_data)) for member in self.polled.members]
        return [
            {
                "worker": metadata.worker,
                "url": metadata.url,
                "model": _name_and_version(metadata.models[0]),
                "models": [_name_and_version(model) for model in metadata.models],
                "partitions": [{"topic": topic, "partition": number} for topic, number in member.partitions],
                "self": metadata.worker == self._worker,
            }
            for member, metadata in sorted(members, key=lambda pair: pair[1].worker if pair[1] else "")
            if metadata is not None
        ]

    def _partitions(self) -> list[dict[str, Any]]:
        windows = self._components.status_observer.window_statuses
        return [
            {
                "topic": partition.topic,
                "partition": partition.partition,
                "position": partition_lag.position,
                "end": partition_lag.stable_offset,
                "lag": partition_lag.lag,
                **(_window_columns(windows[partition]) if partition in windows else {}),
            }
            for partition, partition_lag in sorted(self._components.lag.partition_lags.items())
        ]

    def _models(self, lanes: Mapping[ModelRef, LaneStatus]) -> list[dict[str, Any]]:
        now_s, now_ms = self._clock.monotonic_s(), self._clock.wall_ms()
        activities = self._components.status_observer.activities
        return [
            model_status(served, lanes[served.ref], activities[served.ref], now_s=now_s, now_ms=now_ms)
            for served in self._components.models
            if served.ref in lanes
        ]

    def _in_flight(self, lanes: Mapping[ModelRef, LaneStatus]) -> dict[str, Any]:
        in_flight, limits, source = self._components.pipeline.in_flight, self._settings.limits, self._components.source
        return {
            "events": in_flight.events,
            "bytes": in_flight.bytes,
            "batches": in_flight.batches,
            "max_events": limits.max_in_flight_events,
            "max_bytes": limits.max_in_flight_bytes,
            "max_batches": limits.max_in_flight_batches,
            "reading": "paused" if source.paused else "on",
            "model_call_for_s": round(max(lane.call_for_s for lane in lanes.values()), 3),
        }

    def _totals(self) -> dict[str, Any]:
        totals = self._components.pipeline.totals
        return {
            "outcomes": {outcome.value: count for outcome, count in totals.outcomes.items()},
            "kinds": dict(totals.kinds),
            "batches": totals.batches,
            "commits": totals.commits,
            "rewinds": totals.rewinds,
        }


def _name_and_version(model: ModelRef) -> dict[str, Any]:
    return {"name": model.name, "version": model.version}


def _window_columns(status: WindowStatus) -> dict[str, Any]:
    return {
        "open_windows": status.open_windows,
        "buffered_rows": status.buffered_rows,
        "watermark": status.watermark_ms,
        "replaying_to": status.replaying,
    }

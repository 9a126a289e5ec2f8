"""The status of a consumer group: its members as the coordinator lists them, joined with their own `/status`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from forebay.stream.admin.group_warnings import group_warnings
from forebay.stream.admin.member_metadata import WorkerMetadata, decode_member_metadata
from forebay.stream.admin.worker_status import CurrentRates, Health, WorkerStatus
from forebay.stream.core.group import GroupSnapshot, Member
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.terminal.record_format import shortened

READY: Final = "ready"
MAX_REASON_CHARS: Final = 1000


class StatusResponse(NamedTuple):
    """The answer of a worker to `/status`.

    status: None if there was no valid answer; `reason` then says why.
    """

    status: WorkerStatus | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One member of the group.

    metadata: what it announces; None if it is not a worker of Forebay, or during a rebalance.
    health: `ready`, or the problem in a word or two.
    reason: details of the problem.
    lag: lag of its partitions.
    """

    member: Member
    metadata: WorkerMetadata | None
    response: StatusResponse
    health: str
    reason: str | None
    lag: int | None

    @property
    def healthy(self) -> bool:
        return self.health in (READY, "paused")

    @property
    def name(self) -> str:
        return self.metadata.worker if self.metadata else self.member.client_id

    @property
    def served(self) -> tuple[ModelRef, ...]:
        """The versions that get events: as the worker reports them now, else as it announced them when it joined.

        For each model the stable version, then its canaries.
        """
        if self.metadata is None:
            return ()
        status = self.response.status
        rollouts = {} if status is None else {rollout.model: rollout for rollout in status.rollouts}
        served: list[ModelRef] = []
        for announced in self.metadata.models:
            rollout = rollouts.get(announced.name)
            if rollout is None:
                served.append(announced)
            else:
                versions = (rollout.stable, *(canary.version for canary in rollout.canaries))
                served += [ModelRef(announced.name, version) for version in versions]
        return tuple(served)

    @property
    def missed_objective(self) -> str | None:
        """By how much the worker misses its objective on latency, and why; None if it meets it or has none."""
        status = self.response.status
        objective = None if status is None else status.objective
        if objective is None or objective.met:
            return None
        measured = "" if objective.measured_p99_ms is None else f", measured {objective.measured_p99_ms:,.0f} ms"
        return f"objective of p99 {objective.p99_ms:,.0f} ms is not met{measured}: {objective.detail}"

    def to_dict(self) -> dict[str, Any]:
        status = self.response.status
        now = CurrentRates() if status is None else status.now
        states = {} if status is None else {ModelRef(state.name, state.version): state for state in status.models}
        return {
            "worker": self.name,
            "member_id": self.member.member_id,
            "client_host": self.member.host,
            "url": self.metadata.url if self.metadata else None,
            "model": _name_and_version(self.served[0]) if self.served else None,
            "models": [
                {**_name_and_version(model), "blocked": states[model].blocked if model in states else None}
                for model in self.served
            ],
            "rollouts": [] if status is None else [msgspec.to_builtins(rollout) for rollout in status.rollouts],
            "objective": None if status is None else msgspec.to_builtins(status.objective),
            "release": self.metadata.release if self.metadata else None,
            "partitions": [{"topic": topic, "partition": number} for topic, number in self.member.partitions],
            "lag": self.lag,
            "events_per_s": now.events_per_s,
            "latency_p50_ms": now.latency_p50_ms,
            "latency_p99_ms": now.latency_p99_ms,
            "uptime_s": None if status is None else status.uptime_s,
            "health": self.health,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """The group as a whole.

    without_owner: partitions that no worker reads.
    warnings: inconsistencies among the workers.
    """

    group: GroupSnapshot
    workers: tuple[WorkerRow, ...]
    lag: int | None
    without_owner: tuple[TopicPartition, ...]
    warnings: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Return whether at least one worker is healthy."""
        return any(worker.healthy for worker in self.workers)

    def to_dict(self) -> dict[str, Any]:
        owners = {partition: row.name for row in self.workers for partition in row.member.partitions}
        return {
            "group": self.group.group_id,
            "state": self.group.state,
            "healthy": self.healthy,
            "lag": self.lag,
            "warnings": list(self.warnings),
            "workers": [row.to_dict() for row in self.workers],
            "partitions": [
                {
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "committed": self.group.committed.get(partition),
                    "end": end,
                    "lag": lag_of(self.group, [partition]),
                    "worker": owners.get(partition),
                }
                for partition, end in sorted(self.group.ends.items())
            ],
        }


def admin_urls(group: GroupSnapshot) -> dict[str, str]:
    """Return the admin URL of each member that announces one, by member id."""
    urls = {}
    for member in group.members:
        metadata = decode_member_metadata(member.user_data)
        if metadata is not None and metadata.url is not None:
            urls[member.member_id] = metadata.url
    return urls


def build_group_status(group: GroupSnapshot, responses: Mapping[str, StatusResponse]) -> GroupStatus:
    """Return the status of the group. responses: by member id, of those members that were queried."""
    rows = sorted((_build_row(group, member, responses) for member in group.members), key=lambda row: row.name)
    owned = {partition for member in group.members for partition in member.partitions}
    return GroupStatus(
        group=group,
        workers=tuple(rows),
        lag=lag_of(group, group.ends) if group.ends else None,
        without_owner=tuple(sorted(partition for partition in group.ends if partition not in owned)),
        warnings=group_warnings([row.metadata for row in rows if row.metadata is not None]),
    )


def _build_row(group: GroupSnapshot, member: Member, responses: Mapping[str, StatusResponse]) -> WorkerRow:
    metadata = decode_member_metadata(member.user_data)
    reason: str | None
    if metadata is None:
        reason = "the group is being rebalanced" if not member.user_data else "it is not a worker of Forebay"
        response, health = StatusResponse(None), "unknown"
    elif metadata.url is None:
        response, health, reason = StatusResponse(None), "unknown", "its admin API is off"
    else:
        response = responses.get(member.member_id, StatusResponse(None, "it was not queried"))
        if response.status is not None and response.status.worker != metadata.worker:
            # For example, both listen on the loopback of their own machines.
            response = StatusResponse(
                None,
                "another worker answers at its address: admin.host or admin.advertised_url is local to its machine",
            )
        health, reason = (
            ("unreachable", response.reason) if response.status is None else _health(response.status.health)
        )
    # The reasons in a response are limited only by the size of the response as a whole.
    reason = None if reason is None else shortened(reason, MAX_REASON_CHARS)
    return WorkerRow(
        member=member,
        metadata=metadata,
        response=response,
        health=health,
        reason=reason,
        lag=lag_of(group, member.partitions),
    )


def _health(health: Health) -> tuple[str, str | None]:
    reasons = "; ".join(health.reasons) or None
    if not health.live:
        return "stuck", reasons
    if not health.ready:
        return "not ready", reasons
    open_breakers = [name for name, state in health.breakers.items() if state != "closed"]
    if open_breakers:
        names = " and the ".join(map(_name_of_breaker, open_breakers))
        return "degraded", f"circuit breaker of the {names} is not closed"
    if health.cluster == "failing":
        return "degraded", "the cluster does not answer the worker, or refuses its commits"
    if health.paused:
        return "paused", "reading is paused by an operator"
    if health.waiting_for_schemas:
        return "degraded", "; ".join(health.waiting_for_schemas)
    return READY, None


def _name_of_breaker(name: str) -> str:
    """Return the name of a circuit breaker in words: `model:late:3` is that of one of several versions."""
    kind, _, of = name.partition(":")
    model, _, version = of.partition(":")
    return f"{kind} {model} v{version}" if version else f"{kind} {model}".rstrip()


def _name_and_version(model: ModelRef) -> dict[str, Any]:
    return {"name": model.name, "version": model.version}


def lag_of(group: GroupSnapshot, partitions: Iterable[TopicPartition]) -> int | None:
    """Return the number of records between committed offset and last stable offset; None if an offset is not known."""
    total = 0
    for partition in partitions:
        committed, end = group.committed.get(partition), group.ends.get(partition)
        if committed is None or end is None:
            return None
        total += max(0, end - committed)
    return total


def format_partitions(partitions: Sequence[TopicPartition]) -> str:
    """Return partitions in a form that is short enough for a table, such as `features 0-3,7`."""
    parts = []
    for topic, group in groupby(sorted(partitions), key=lambda partition: partition.topic):
        runs: list[list[int]] = []
        for _, number in group:
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        parts.append(f"{topic} " + ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs))
    return " ".join(parts)

"""What the group tells and what its workers answer, put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, NamedTuple

from forebay.stream.admin.group_warnings import group_warnings
from forebay.stream.admin.member_metadata import WorkerMetadata, decode_member_metadata
from forebay.stream.admin.worker_status import CurrentRates, Health, WorkerStatus
from forebay.stream.core.group import GroupSnapshot, Member
from forebay.stream.core.records import TopicPartition
from forebay.stream.terminal.record_format import shortened

READY: Final = "ready"
MAX_REASON_CHARS: Final = 1000


class StatusResponse(NamedTuple):
    """status: what `/status` said; None where there was no valid answer, and then `reason` says why."""

    status: WorkerStatus | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One member of the group. health: `ready`, or what is the matter; reason: more of it. lag: of what it owns."""

    member: Member
    metadata: WorkerMetadata | None
    answer: StatusResponse
    health: str
    reason: str | None
    lag: int | None

    @property
    def healthy(self) -> bool:
        return self.health in (READY, "paused")

    @property
    def name(self) -> str:
        return self.metadata.worker if self.metadata else self.member.client_id

    def to_dict(self) -> dict[str, Any]:
        status = self.answer.status
        now = CurrentRates() if status is None else status.now
        return {
            "worker": self.name,
            "member_id": self.member.member_id,
            "client_host": self.member.host,
            "url": self.metadata.url if self.metadata else None,
            "model": self.metadata and {"name": self.metadata.model, "version": self.metadata.version},
            "release": self.metadata.release if self.metadata else None,
            "partitions": [{"topic": place.topic, "partition": place.partition} for place in self.member.partitions],
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
    """The group as a whole. without_owner: partitions that nobody reads; warnings: what does not go together among workers."""

    look: GroupSnapshot
    workers: tuple[WorkerRow, ...]
    lag: int | None
    without_owner: tuple[TopicPartition, ...]
    warnings: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether one worker at least is well."""
        return any(worker.healthy for worker in self.workers)

    def to_dict(self) -> dict[str, Any]:
        owners = {place: row.name for row in self.workers for place in row.member.partitions}
        return {
            "group": self.look.group_id,
            "state": self.look.state,
            "healthy": self.healthy,
            "lag": self.lag,
            "warnings": list(self.warnings),
            "workers": [row.to_dict() for row in self.workers],
            "partitions": [
                {
                    "topic": place.topic,
                    "partition": place.partition,
                    "committed": self.look.committed.get(place),
                    "end": end,
                    "lag": lag_of(self.look, [place]),
                    "worker": owners.get(place),
                }
                for place, end in sorted(self.look.ends.items())
            ],
        }


def admin_urls(look: GroupSnapshot) -> dict[str, str]:
    """Where the members are to be asked, by member id."""
    metadata = {member.member_id: decode_member_metadata(member.user_data) for member in look.members}
    return {
        member_id: metadata.url
        for member_id, metadata in metadata.items()
        if metadata is not None and metadata.url is not None
    }


def build_group_status(look: GroupSnapshot, answers: Mapping[str, StatusResponse]) -> GroupStatus:
    """answers: by member id, of those that were asked."""
    rows = sorted((_row(look, member, answers) for member in look.members), key=lambda row: row.name)
    owned = {place for member in look.members for place in member.partitions}
    return GroupStatus(
        look=look,
        workers=tuple(rows),
        lag=lag_of(look, look.ends) if look.ends else None,
        without_owner=tuple(sorted(place for place in look.ends if place not in owned)),
        warnings=group_warnings([row.metadata for row in rows if row.metadata is not None]),
    )


def _row(look: GroupSnapshot, member: Member, answers: Mapping[str, StatusResponse]) -> WorkerRow:
    metadata = decode_member_metadata(member.user_data)
    reason: str | None
    if metadata is None:
        rebalancing = "the group is being rebalanced" if not member.user_data else "no worker of Forebay"
        answer, health, reason = StatusResponse(None), "unknown", rebalancing
    elif metadata.url is None:
        answer, health, reason = StatusResponse(None), "unknown", "its admin HTTP is off"
    else:
        answer = answers.get(member.member_id, StatusResponse(None, "it was not asked"))
        if answer.status is not None and answer.status.worker != metadata.worker:
            # Both on the loopback of their own machines, say.
            answer = StatusResponse(
                None, "another worker answers there: admin.host or admin.advertised_url is only local"
            )
        health, reason = ("unreachable", answer.reason) if answer.status is None else _health(answer.status.health)
    # What others answer has no bound of its own below that of a whole answer.
    reason = None if reason is None else shortened(reason, MAX_REASON_CHARS)
    return WorkerRow(
        member=member,
        metadata=metadata,
        answer=answer,
        health=health,
        reason=reason,
        lag=lag_of(look, member.partitions),
    )


def _health(health: Health) -> tuple[str, str | None]:
    reasons = "; ".join(health.reasons) or None
    if not health.live:
        return "stuck", reasons
    if not health.ready:
        return "not ready", reasons
    open_breakers = [name for name, state in health.breakers.items() if state != "closed"]
    if open_breakers:
        return "degraded", f"circuit breaker of the {' and the '.join(open_breakers)} is not closed"
    if health.cluster == "failing":
        return "degraded", "the cluster does not answer it, or refuses its commits"
    if health.paused:
        return "paused", "reading is paused by hand"
    return READY, None


def lag_of(look: GroupSnapshot, places: Iterable[TopicPartition]) -> int | None:
    """Committed records that the group has not committed beyond; None where an offset is not known."""
    total = 0
    for place in places:
        committed, end = look.committed.get(place), look.ends.get(place)
        if committed is None or end is None:
            return None
        total += max(0, end - committed)
    return total


def format_partitions(places: Sequence[TopicPartition]) -> str:
    """`features 0-3,7`: short enough for a table."""
    parts = []
    for topic, group in groupby(sorted(places), key=lambda place: place.topic):
        runs: list[list[int]] = []
        for _, number in group:
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        parts.append(f"{topic} " + ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs))
    return " ".join(parts)

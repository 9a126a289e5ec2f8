"""The assembly of the source: the client that reads as a member of the group, and what is around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forebay.stream.admin.group_warnings import GroupWarnings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.kafka.cluster.topic_layout import Layout
from forebay.stream.kafka.consumer.assignor import AdvertisingAssignor
from forebay.stream.kafka.consumer.frozen_ranges import RangeRestorer
from forebay.stream.kafka.consumer.group_consumer import build_group_consumer, read_limits
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.consumer.start_offsets import OffsetRestorer, StartPolicy
from forebay.stream.pipeline.audit_recorder import AuditRecorder, ChainRestorer
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.switch_recorder import RevisionRestorer
from forebay.stream.worker.backfill_assembly import Backfill
from forebay.stream.worker.commit_assembly import retry_backoff
from forebay.stream.worker.lane_assembly import ServedLane
from forebay.stream.worker.rollout_assembly import RolloutParts


def build_source(
    settings: Settings,
    pipeline: Pipeline,
    layout: Layout,
    windows: LaneWindows | None,
    *,
    lanes: Sequence[ServedLane],
    user_data: Callable[[], bytes],
    rollouts: RolloutParts | None,
    audit: AuditRecorder | None,
    on_fatal: Callable[[BaseException], None],
    clock: Clock,
    backfill: Backfill | None = None,
) -> Source:
    """Build the source, without starting it.

    user_data: returns what the member announces to the group.
    on_fatal: receives the error if reading cannot continue.
    backfill: None if reading has no end.
    """
    assignor = AdvertisingAssignor(user_data, GroupWarnings().check)
    group_id, entry = settings.kafka.group_id, settings.input
    consumer = build_group_consumer(settings, assignor, group_id=group_id, isolation_level=entry.isolation_level)
    restorer: OffsetRestorer = ChainRestorer(
        RevisionRestorer(windows or WithoutWindows(), None if rollouts is None else rollouts.ledger), audit
    )
    if backfill is not None:
        restorer = RangeRestorer(restorer, backfill.ranges)
    return (Source if backfill is None else backfill.source_type())(
        consumer,
        topics=layout.input_partitions,
        group_id=group_id,
        policy=StartPolicy(entry.auto_offset_reset, entry.from_timestamp),
        restorer=restorer,
        on_revoked=pipeline.on_revoked,
        on_fatal=on_fatal,
        backoff=retry_backoff(settings),
        clock=clock,
        read_limits=read_limits(settings, batch_bytes=[lane.settings.batch.max_batch_bytes for lane in lanes]),
        revision_gate=None if rollouts is None else rollouts.follower,
    )

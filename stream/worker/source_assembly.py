"""The assembly of the source: the client that reads as a member of the group, and what is around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer

from forebay.stream.admin.group_warnings import GroupWarnings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topic_layout import Layout
from forebay.stream.kafka.consumer.assignor import AdvertisingAssignor
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.consumer.start_offsets import StartPolicy
from forebay.stream.kafka.patches.raw_records import ReadLimits
from forebay.stream.pipeline.pipeline import Pipeline
from forebay.stream.pipeline.switch_recorder import RevisionRestorer
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
    on_fatal: Callable[[BaseException], None],
    clock: Clock,
) -> Source:
    """Build the source, without starting it.

    user_data: returns what the member announces to the group.
    on_fatal: receives the error if reading cannot continue.
    """
    kafka, entry = settings.kafka, settings.input
    consumer = AIOKafkaConsumer(
        **client_options(kafka),
        group_id=kafka.group_id,
        group_instance_id=kafka.group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=entry.isolation_level,
        partition_assignment_strategy=(AdvertisingAssignor(user_data, GroupWarnings().check),),
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=kafka.heartbeat_interval_ms,
        rebalance_timeout_ms=kafka.rebalance_timeout_ms,
        max_poll_interval_ms=kafka.max_poll_interval_ms,
        metadata_max_age_ms=kafka.metadata_max_age_ms,
        fetch_min_bytes=entry.fetch_min_bytes,
        fetch_max_wait_ms=entry.fetch_max_wait_ms,
        max_partition_fetch_bytes=entry.max_partition_fetch_bytes,
    )
    return Source(
        consumer,
        topics=layout.input_partitions,
        group_id=kafka.group_id,
        policy=StartPolicy(entry.auto_offset_reset, entry.from_timestamp),
        restorer=RevisionRestorer(windows or WithoutWindows(), None if rollouts is None else rollouts.ledger),
        on_revoked=pipeline.on_revoked,
        on_fatal=on_fatal,
        backoff=retry_backoff(settings),
        clock=clock,
        read_limits=_read_limits(settings, lanes),
        revision_gate=None if rollouts is None else rollouts.follower,
    )


def _read_limits(settings: Settings, lanes: Sequence[ServedLane]) -> ReadLimits:
    in_flight_bytes = settings.limits.max_in_flight_bytes
    return ReadLimits(
        max_unpacked_bytes=settings.input.max_unpacked_batch_bytes or in_flight_bytes,
        max_poll_bytes=max(in_flight_bytes // 4, *(lane.settings.batch.max_batch_bytes for lane in lanes)),
    )

"""The client of a member of a consumer group, built from the settings."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

from forebay.stream.config.sections import Settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.patches.raw_records import ReadLimits


def build_group_consumer(
    settings: Settings,
    assignor: AbstractPartitionAssignor | type[AbstractPartitionAssignor],
    *,
    group_id: str,
    isolation_level: str,
) -> AIOKafkaConsumer:
    """Build the client of a member, without starting it. Its `Source` seeks and commits: the client itself never does."""
    kafka, entry = settings.kafka, settings.input
    return AIOKafkaConsumer(
        **client_options(kafka),
        group_id=group_id,
        group_instance_id=kafka.group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation_level,
        partition_assignment_strategy=(assignor,),
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=kafka.heartbeat_interval_ms,
        rebalance_timeout_ms=kafka.rebalance_timeout_ms,
        max_poll_interval_ms=kafka.max_poll_interval_ms,
        metadata_max_age_ms=kafka.metadata_max_age_ms,
        fetch_min_bytes=entry.fetch_min_bytes,
        fetch_max_wait_ms=entry.fetch_max_wait_ms,
        max_partition_fetch_bytes=entry.max_partition_fetch_bytes,
    )


def read_limits(settings: Settings, *, batch_bytes: Sequence[int] = ()) -> ReadLimits:
    """Return the limits of a poll: a quarter of what may be in flight.

    batch_bytes: the limit of a micro-batch of each model. A poll can fill any of them.
    """
    in_flight_bytes = settings.limits.max_in_flight_bytes
    return ReadLimits(
        max_unpacked_bytes=settings.input.max_unpacked_batch_bytes or in_flight_bytes,
        max_poll_bytes=max(in_flight_bytes // 4, *batch_bytes) if batch_bytes else in_flight_bytes // 4,
    )

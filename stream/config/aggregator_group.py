"""The consumer group of the aggregators."""

from __future__ import annotations

from forebay.stream.config.sections import Settings


def aggregator_group(settings: Settings) -> str:
    """Return the group id of the aggregators."""
    return settings.aggregate.group_id or f"{settings.kafka.group_id}-aggregate"

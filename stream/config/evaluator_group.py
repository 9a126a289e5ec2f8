"""The consumer group of the evaluators."""

from __future__ import annotations

from forebay.stream.config.sections import Settings


def evaluator_group(settings: Settings) -> str:
    """Return the group id of the evaluators."""
    return settings.evaluate.group_id or f"{settings.kafka.group_id}-evaluate"

"""`forebay publish` to topics with encrypted events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.publish.encrypted import EventEncryption


def event_encryption(settings: Settings, topic: str | None) -> EventEncryption | None:
    """Return what encrypts the events for a topic; None if they are not encrypted there. Raises ConfigError.

    topic: the full name; None for the first input topic.
    """
    from forebay.schemas.topics import topic_name
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.publish.encrypted import EventEncryption
    from forebay.stream.worker.encryption_assembly import open_keys

    section = settings.encryption
    inputs = [topic_name(settings.topics.prefix, name) for name in settings.input.topics]
    name = topic or inputs[0]
    if not section.input_fields or name not in inputs:
        return None
    keys = open_keys(section, clock=SystemClock())
    return EventEncryption(name, section.input_fields, section.id_field, lambda: keys.sealer)

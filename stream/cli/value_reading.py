"""The reader of values for commands that show records."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.core.records import Record
    from forebay.stream.decode.value_reader import ValueReader


@contextlib.asynccontextmanager
async def open_value_reader(settings: Settings) -> AsyncIterator[ValueReader]:
    """Yield a reader of values in the configured formats, with the registry if one is configured."""
    from forebay.stream.decode.value_reader import ValueReader, value_formats

    formats = value_formats(settings.input, prefix=settings.topics.prefix)
    if not settings.schema_registry.urls:
        yield ValueReader(formats, None)
        return
    from forebay.stream.schema_registry.connection import open_registry

    async with open_registry(settings.schema_registry) as client:
        yield ValueReader(formats, client)


def source_topic(record: Record) -> str | None:
    """Return the topic of the event that a dead letter holds; None if the record is not a dead letter."""
    from forebay.schemas.headers import ERROR_TOPIC

    return next(
        (content.decode("utf-8", "replace") for name, content in record.headers if name.lower() == ERROR_TOPIC), None
    )


def by_source_topic(topic: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of a topic by the topic of the events that they hold, if they are dead letters."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(source_topic(record) or topic, []).append(record)
    return found

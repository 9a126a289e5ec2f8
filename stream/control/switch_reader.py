"""The topic `rollout-switches`: read to its end."""

from __future__ import annotations

from collections.abc import Callable

from forebay.schemas.topics import ROLLOUT_SWITCHES, topic_name
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.rollouts.switch_log import SwitchLog


async def read_switches(
    settings: Settings, *, clock: Clock, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> SwitchLog:
    """Return all committed switches.

    on_progress: receives the number of offsets read and their total.

    Raises BrokerError, or DataError for a record in a later format.
    """
    topic = topic_name(settings.topics.prefix, ROLLOUT_SWITCHES.name)
    log = SwitchLog()
    async with TopicReader(
        client_options(settings.kafka), [topic], from_beginning=True, clock=clock, bounded=True
    ) as reader:
        async for _, records in reader.within(await reader.offset_ranges(), on_progress=on_progress):
            for record in records:
                log.add_record(record.key, record.value, offset=record.offset, timestamp_ms=record.timestamp)
    return log

"""Follows the topic `quality`, for the metrics and the admin API of an evaluator.

An evaluator counts only its own partitions, and only what came since its start. The topic has all of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.quality.report import QualityReport, quality_report
from forebay.stream.quality.view import QualityView

log = logging.getLogger("forebay.evaluate")

POLL_S: Final = 10.0


class QualityMonitor:
    """Adds up the records of the topic, and passes them on after each poll.

    options: of the Kafka client.
    group: the consumer group of the evaluators.
    span_ms: how long windows are kept after the newest one.
    on_view: receives the view after each poll.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        topic: str,
        *,
        group: str,
        span_ms: int,
        on_view: Callable[[QualityView], None],
        clock: Clock,
    ) -> None:
        self._options = options
        self._topic = topic
        self._group = group
        self._span_ms = span_ms
        self._on_view = on_view
        self._clock = clock
        self._read_to: dict[TopicPartition, int] = {}
        self.view = self._new_view()

    async def run(self) -> None:
        """Poll until cancelled. An unreachable cluster is not an error: the evaluator itself reports it."""
        while True:
            await self.follow()
            await asyncio.sleep(POLL_S)

    async def follow(self) -> None:
        """Poll until there is an error, which is logged: it must not end the evaluator."""
        reader = TopicReader(self._options, [self._topic], from_beginning=True, clock=self._clock, bounded=True)
        try:
            async with reader:
                while True:
                    await self._poll(reader)
                    await asyncio.sleep(POLL_S)
        except BrokerError as error:
            log.warning("the metrics of quality are not up to date: %s", error.message)
        except Exception:
            log.exception("the metrics of quality are not up to date; the topic is read again")
            self._read_to.clear()
            self.view = self._new_view()

    async def _poll(self, reader: TopicReader) -> None:
        since_ms = None if self._read_to else max(0, self._clock.wall_ms() - 2 * self._span_ms)
        extent = await reader.offset_ranges(since_ms=since_ms)
        unread = {
            partition: range(max(self._read_to.get(partition, 0), offsets.start), offsets.stop)
            for partition, offsets in extent.items()
        }
        async for partition, records in reader.within({key: offsets for key, offsets in unread.items() if offsets}):
            for record in records:
                self.view.read(record.value, key=record.key)
            # At once: after an error, reading continues behind what was added.
            self._read_to[partition] = records[-1].offset + 1
        self._read_to.update({partition: offsets.stop for partition, offsets in extent.items()})
        newest = self.view.newest_window()
        if newest is not None:
            self.view.forget(newest - 2 * self._span_ms)
        self._on_view(self.view)

    def report(self) -> QualityReport:
        """Return the quality of the last windows, with estimates without their limits."""
        newest = self.view.newest_window()
        since_ms = 0 if newest is None else newest - self._span_ms
        return quality_report(self.view, since_ms=since_ms, random=None)

    def _new_view(self) -> QualityView:
        return QualityView(group=self._group, wanted=lambda subject: not subject.slice)

"""Traces of the aggregator: one span per batch of deltas that it counts, linked to the workers' micro-batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from forebay.stream.config.sections import TelemetrySection
from forebay.stream.core.clock import Clock
from forebay.stream.telemetry.collector import Signal, describe_process, find_collector
from forebay.stream.telemetry.shutdown import close_with_timeout
from forebay.stream.telemetry.trace_context import sampled_events
from forebay.stream.telemetry.tracing import MAX_LINKS, make_tracer_provider, tracer_of


class _Delta(NamedTuple):
    offset: int
    timestamp: int
    headers: Sequence[tuple[str, bytes]]


class DeltaTraces:
    """Makes the spans of one aggregator. Does nothing if no collector is configured. group_id: the aggregators' group."""

    def __init__(
        self,
        section: TelemetrySection,
        *,
        instance: str,
        group_id: str,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._group_id = group_id
        self._clock = clock
        collector = find_collector(section, Signal.TRACES, environ)
        self._provider = None
        if collector is not None:
            resource = describe_process(section, instance=instance, environ=environ)
            # Deltas that no worker traced are not traced here either.
            self._provider = make_tracer_provider(collector.span_exporter(), resource, ratio=0)
            self._tracer = tracer_of(self._provider)

    def record(self, topic: str, messages: Sequence[Any], began_s: float) -> None:
        """Record a span for messages that were counted and are in the changelog.

        messages: as the Kafka client returns them.
        began_s: monotonic time at which counting began.
        """
        if self._provider is None:
            return
        deltas = (_Delta(message.offset, 0, _pairs(message.headers)) for message in messages)
        links = [Link(delta.context) for delta in sampled_events(deltas, limit=MAX_LINKS)]
        if not links:
            return
        now_s, now_ns = self._clock.monotonic_s(), self._clock.wall_ms() * 1_000_000
        span = self._tracer.start_span(
            f"process {topic}",
            Context(),
            kind=SpanKind.CONSUMER,
            links=links,
            start_time=now_ns - int((now_s - began_s) * 1e9),
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.consumer.group.name": self._group_id,
                "messaging.batch.message_count": len(messages),
            },
        )
        span.end(now_ns)

    async def close(self) -> None:
        """Send what has not been sent, for at most a few seconds."""
        if self._provider is not None:
            await close_with_timeout(self._provider.shutdown)


def _pairs(headers: Any) -> Sequence[tuple[str, bytes]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())

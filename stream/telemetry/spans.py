"""Spans from the stages' observer calls: one `poll` per poll, one `process` per micro-batch, with a child for each stage.

The span of a micro-batch begins when its first event was read and ends with its commit. It has no parent, because its events
come from many traces; it is linked to those events that are sampled. The children are made at the end, when all times are
known. If parts of a micro-batch are committed separately, each of these commits has its children, and the last one ends the
span.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import any_headers
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition
from forebay.stream.core.rows import distinct_records
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry.metric_store import EventExemplar, Exemplar
from forebay.stream.telemetry.trace_context import SampledEvent, sampled_events, to_traceparent
from forebay.stream.telemetry.tracing import MAX_LINKS

_T = TypeVar("_T")

MAX_EXEMPLARS: Final = 8
_MAX_WAITING: Final = 1024
"""Limit per partition: during a window replay many events are read that are not part of a micro-batch."""
_MAX_DRIFT_NS: Final = 50_000_000


class _Decoding(NamedTuple):
    began_s: float
    ended_s: float


class _PartitionEvent(NamedTuple):
    partition: TopicPartition
    event: SampledEvent


@dataclass(slots=True)
class _TracedBatch:
    """The open span of a micro-batch, with its sampled events and its decodings.

    num_rejected, num_failed: of the parts that are committed.
    """

    span: Span
    events: Sequence[_PartitionEvent]
    decodings: Sequence[_Decoding] = field(default_factory=tuple)
    num_rejected: int = 0
    num_failed: int = 0


_BatchKey = tuple[ModelRef, int]
"""A micro-batch: its model and its sequence number, which is unique for the model only."""


class BatchTraces:
    """Makes the spans of one worker. Use it on the event loop's thread.

    revision_of: returns the revision that serves a model; None if rollouts are not enabled.
    """

    def __init__(self, tracer: Tracer, *, group_id: str, clock: Clock) -> None:
        self._tracer = tracer
        self._common: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.consumer.group.name": group_id,
        }
        self.revision_of: Callable[[str], int | None] = lambda model: None
        self._clock = clock
        self._offset_ns = self._measure_offset_ns()
        self._waiting: dict[tuple[ModelRef, TopicPartition], deque[SampledEvent]] = {}
        self._decodings: dict[ModelRef, deque[_Decoding]] = {}
        self._traced: dict[_BatchKey, _TracedBatch] = {}

    # ---- the stages

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float, decoded_s: float) -> None:
        self._adjust_to_clock()
        for model in {chunk.model for chunk in chunks}:
            self._decodings.setdefault(model, deque(maxlen=_MAX_WAITING)).append(_Decoding(received_s, decoded_s))
        links: list[Link] = []
        for chunk in chunks:
            events = _sampled_of(chunk)
            if events:
                key = (chunk.model, chunk.partition)
                self._waiting.setdefault(key, deque(maxlen=_MAX_WAITING)).extend(events)
                links.extend(Link(event.context) for event in events[: MAX_LINKS - len(links)])
        topic = _common_value(chunk.partition.topic for chunk in chunks)
        span = self._start(_span_name("poll", topic), began_s, SpanKind.CLIENT, links)
        if span.is_recording():
            count = sum(chunk.num_records for chunk in chunks)
            partition = _common_value(chunk.partition.partition for chunk in chunks)
            span.set_attributes(self._messaging("poll", kind="receive", topic=topic, partition=partition, count=count))
            span.end(self._ns(received_s))

    def on_batch_closed(self, batch: MicroBatch) -> None:
        decodings = self._decodings.setdefault(batch.model, deque(maxlen=_MAX_WAITING))
        while decodings and decodings[0].began_s < batch.opened_s:
            decodings.popleft()
        events = self._take_waiting(batch)
        topic = _common_value(chunk.partition.topic for chunk in batch.chunks)
        links = [Link(event.context) for _, event in events]
        span = self._start(_span_name("process", topic), batch.opened_s, SpanKind.CONSUMER, links)
        if not span.is_recording():
            return
        partition = _common_value(chunk.partition.partition for chunk in batch.chunks)
        span.set_attributes(
            self._messaging("process", kind="process", topic=topic, partition=partition, count=batch.num_records)
        )
        span.set_attributes(_model_attributes(batch.model))
        span.set_attribute("forebay.batch.reason", batch.reason)
        if (number := self.revision_of(batch.model.name)) is not None:
            span.set_attribute("forebay.model.revision", number)
        self._traced[_key(batch)] = _TracedBatch(span, events, tuple(decodings))

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        """Make this commit's trace current in the running task: its log records, and those of its subtasks, get the ids."""
        traced = self._first_traced(batches)
        otel_context.attach(Context() if traced is None else set_span_in_context(traced.span))

    def traceparent(self, batches: Sequence[BatchResult]) -> bytes | None:
        """Return the trace context for records that summarize these batches; None if none of them is traced."""
        traced = self._first_traced(batches)
        return None if traced is None else to_traceparent(traced.span.get_span_context())

    def event_exemplars(self, batches: Sequence[BatchResult]) -> list[EventExemplar]:
        """Return exemplars for the latencies of sampled events whose outcomes are now committed. Call before `on_committed`."""
        exemplars: list[EventExemplar] = []
        at_s = self._clock.wall_ms() / 1000
        for result in batches:
            traced = self._traced.get(_key(result.batch))
            if traced is None:
                continue
            for event in _events_of(result, traced)[: MAX_EXEMPLARS - len(exemplars)]:
                exemplar = Exemplar(0.0, event.context.trace_id, event.context.span_id, at_s)
                exemplars.append(EventExemplar(result.model, event.timestamp, exemplar))
        return exemplars

    def on_committed(self, batches: Sequence[BatchResult], times: CommitTimes) -> None:
        """End the spans of the batches, except of those with parts that are not committed yet."""
        keys = dict.fromkeys(_key(result.batch) for result in batches)
        for key in keys:  # once each: several parts of a micro-batch may be in one commit
            if (traced := self._traced.get(key)) is not None:
                self._add_commit(set_span_in_context(traced.span), times, len(keys))
        for result in batches:
            key = _key(result.batch)
            traced = self._traced.get(key)
            if traced is None:
                continue
            traced.num_rejected += sum(chunk.num_rejected for chunk in result.batch.chunks)
            traced.num_failed += len(result.failures)
            if result.is_last_part:
                del self._traced[key]
                self._add_calculation(set_span_in_context(traced.span), result, traced)
                traced.span.end(self._ns(times.end))

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        for result in batches:
            self._abandon(_key(result.batch), f"{type(error).__name__}: its events will be read again")

    def on_purged(self) -> None:
        for key in list(self._traced):
            self._abandon(key, "abandoned at a rewind or a rebalance: its events will be read again")
        self._waiting.clear()
        self._decodings.clear()

    def remove_model(self, model: ModelRef) -> None:
        """Drop what is kept for a version that is no longer loaded."""
        self._decodings.pop(model, None)
        for key in [key for key in self._waiting if key[0] == model]:
            del self._waiting[key]

    def exemplar_of(self, batch: MicroBatch, value: float) -> Exemplar | None:
        """Return an exemplar for a value of this batch; None if it is not traced."""
        traced = self._traced.get(_key(batch))
        if traced is None:
            return None
        context = traced.span.get_span_context()
        return Exemplar(value, context.trace_id, context.span_id, self._clock.wall_ms() / 1000)

    # ---- spans

    def _add_calculation(self, parent: Context, result: BatchResult, traced: _TracedBatch) -> None:
        """Add the children from decoding to the model, and what is known at the end."""
        model_s, attributes = result.started_s + result.prepare_s, _model_attributes(result.model)
        if traced.decodings:
            self._child("decode", parent, traced.decodings[0].began_s, traced.decodings[-1].ended_s)
        self._child("prepare", parent=parent, began_s=result.started_s, ended_s=model_s, attributes=attributes)
        self._child(
            "model",
            parent=parent,
            began_s=model_s,
            ended_s=result.started_s + result.model_s,
            attributes=attributes,
        )
        traced.span.set_attributes(
            {
                "forebay.batch.queue_time": max(0.0, result.started_s - result.batch.opened_s),
                "forebay.batch.rejected": traced.num_rejected,
                "forebay.batch.failed": traced.num_failed,
            }
        )

    def _add_commit(self, parent: Context, times: CommitTimes, num_batches: int) -> None:
        attributes: Mapping[str, AttributeValue] = {"forebay.commit.batches": num_batches}
        self._child("emit", parent=parent, began_s=times.began, ended_s=times.emit, attributes=attributes)
        self._child("commit", parent=parent, began_s=times.emit, ended_s=times.end, attributes=attributes)

    def _child(
        self,
        name: str,
        parent: Context,
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        span = self._tracer.start_span(name, parent, attributes=attributes, start_time=self._ns(began_s))
        span.end(self._ns(ended_s))

    def _start(self, name: str, began_s: float, kind: SpanKind, links: Sequence[Link]) -> Span:
        return self._tracer.start_span(name, Context(), kind=kind, links=links, start_time=self._ns(began_s))

    def _abandon(self, key: _BatchKey, reason: str) -> None:
        traced = self._traced.pop(key, None)
        if traced is not None:
            traced.span.set_status(Status(StatusCode.ERROR, reason))
            traced.span.end(self._ns(self._clock.monotonic_s()))

    def _first_traced(self, batches: Sequence[BatchResult]) -> _TracedBatch | None:
        traced_batches = (self._traced.get(_key(result.batch)) for result in batches)
        return next((traced for traced in traced_batches if traced is not None), None)

    def _messaging(
        self, name: str, kind: str, topic: str | None, partition: int | None, count: int
    ) -> dict[str, AttributeValue]:
        attributes = self._common | {
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            "messaging.batch.message_count": count,
        }
        if topic is not None:
            attributes["messaging.destination.name"] = topic
            if partition is not None:
                attributes["messaging.destination.partition.id"] = str(partition)
        return attributes

    def _take_waiting(self, batch: MicroBatch) -> list[_PartitionEvent]:
        taken: list[_PartitionEvent] = []
        for chunk in batch.chunks:
            waiting = self._waiting.get((chunk.model, chunk.partition))
            while waiting and waiting[0].offset < chunk.next_offset:
                taken.append(_PartitionEvent(chunk.partition, waiting.popleft()))
        return taken[:MAX_LINKS]

    # ---- times

    def _ns(self, monotonic_s: float) -> int:
        """Return a monotonic time in nanoseconds since 1970."""
        return int(monotonic_s * 1e9) + self._offset_ns

    def _measure_offset_ns(self) -> int:
        return self._clock.wall_ms() * 1_000_000 - int(self._clock.monotonic_s() * 1e9)

    def _adjust_to_clock(self) -> None:
        # Keep the offset as long as the clock runs evenly: children must not begin before their parents.
        offset_ns = self._measure_offset_ns()
        if abs(offset_ns - self._offset_ns) > _MAX_DRIFT_NS:
            self._offset_ns = offset_ns


def _key(batch: MicroBatch) -> _BatchKey:
    return batch.model, batch.seq


def _model_attributes(model: ModelRef) -> dict[str, AttributeValue]:
    return {"forebay.model.name": model.name, "forebay.model.version": model.version}


def _events_of(result: BatchResult, traced: _TracedBatch) -> list[SampledEvent]:
    """Return the sampled events that belong to the parts of this result."""
    spans = [(chunk.partition, chunk.first_offset, chunk.next_offset) for chunk in result.batch.chunks]
    return [
        event
        for partition, event in traced.events
        if any(partition == other and first <= event.offset < end for other, first, end in spans)
    ]


def _sampled_of(chunk: Chunk) -> list[SampledEvent]:
    if not chunk.rejections:
        records = distinct_records(chunk.records)
        return sampled_events(records, limit=MAX_LINKS) if any_headers(records) else []
    rejected = (rejection.record for rejection in chunk.rejections)
    events = sampled_events(chain(distinct_records(chunk.records), rejected), limit=MAX_LINKS)
    return sorted(events, key=lambda event: event.offset)


def _common_value(values: Iterable[_T]) -> _T | None:
    """Return the value that all have in common; None if they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _span_name(operation: str, topic: str | None) -> str:
    return operation if topic is None else f"{operation} {topic}"

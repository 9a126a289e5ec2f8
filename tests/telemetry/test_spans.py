"""Spans of polls and micro-batches: which are made, what they are linked to, how they end."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from forebay.stream.core.errors import CommitTimeout
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry.spans import MAX_EXEMPLARS, BatchTraces
from forebay.stream.telemetry.trace_context import sampled_events
from forebay.stream.telemetry.tracing import MAX_LINKS, LinkedOrRatio, make_tracer_provider
from tests.core.build import JULY, P0, P1, FakeRecord, ManualClock, chunk, finish

TIMES = CommitTimes(began=101.0, emit=101.1, begin=101.2, deliveries=101.3, positions=101.4, end=101.5)


def traceparent(number: int, flags: str = "01") -> tuple[str, bytes]:
    return "traceparent", f"00-{number:032x}-{number + 1:016x}-{flags}".encode()


def sampled_chunk(offsets: Sequence[int], sampled: Sequence[int], **more: object) -> Chunk:
    """A chunk in which the events at these offsets are sampled, their trace ids their offsets."""
    made = chunk(offsets, **more)  # type: ignore[arg-type]

    def marked(record: FakeRecord) -> FakeRecord:
        flags = "01" if record.offset in sampled else "00"
        return dataclasses.replace(record, headers=[("other", b"x"), traceparent(record.offset, flags)])

    rejections = [dataclasses.replace(one, record=marked(one.record)) for one in made.rejections]  # type: ignore[arg-type]
    return dataclasses.replace(made, records=[marked(one) for one in made.records], rejections=rejections)  # type: ignore[arg-type]


class Scene:
    def __init__(self, ratio: float = 0.0) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(LinkedOrRatio(ratio)), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.clock = ManualClock()
        self.traces = BatchTraces(provider.get_tracer("test"), group_id="g", model="m", version=3, clock=self.clock)
        self.seq = 0

    def poll(self, *chunks: Chunk) -> None:
        self.traces.on_polled(chunks, began_s=99.5, received_s=100.0, decoded_s=100.25)

    def close(self, *chunks: Chunk) -> BatchResult:
        batch = MicroBatch(self.seq, chunks, "delay", opened_s=100.0)
        self.seq += 1
        self.traces.on_batch_closed(batch)
        return dataclasses.replace(finish(batch), started_s=100.5, prepare_s=0.125, model_s=0.25)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


def linked(span: ReadableSpan) -> list[int]:
    return [link.context.trace_id for link in span.links]


def test_a_batch_is_linked_to_its_own_sampled_events_and_to_no_others() -> None:
    scene = Scene()
    whole = sampled_chunk(range(10, 20), [11, 13, 17], rejected=[13])
    scene.poll(whole, sampled_chunk([5], [5], partition=P1))
    head, tail = whole.split(5)
    first, second = scene.close(head), scene.close(tail, sampled_chunk([5], [5], partition=P1))
    assert scene.traces.on_committed([first, second], TIMES)
    (poll,) = scene.spans("poll features")
    assert poll.kind is SpanKind.CLIENT and sorted(linked(poll)) == [5, 11, 13, 17]
    one, other = scene.spans("process features")
    assert (linked(one), linked(other)) == ([11, 13], [17, 5])
    assert one.kind is SpanKind.CONSUMER and one.parent is None
    assert one.attributes is not None and other.attributes is not None
    assert one.attributes["messaging.destination.partition.id"] == "0"
    assert "messaging.destination.partition.id" not in other.attributes
    assert one.attributes["messaging.batch.message_count"] == 5
    assert one.attributes["forebay.batch.queue_time"] == 0.5
    assert one.attributes["forebay.batch.rejected"] == 1


def test_a_batch_has_a_child_for_each_stage_in_its_own_time() -> None:
    scene = Scene(ratio=1.0)
    scene.poll(chunk([1]))
    scene.traces.on_committed([scene.close(chunk([1]))], TIMES)
    (batch,) = scene.spans("process features")

    def times(span: ReadableSpan) -> tuple[float, float]:
        base_ns = JULY * 1_000_000
        assert span.start_time is not None and span.end_time is not None
        return (span.start_time - base_ns) / 1e9 + 100.0, (span.end_time - base_ns) / 1e9 + 100.0

    expected = {
        "decode": (100.0, 100.25),
        "prepare": (100.5, 100.625),
        "model": (100.625, 100.75),
        "emit": (101.0, 101.1),
        "commit": (101.1, 101.5),
    }
    for name, (began_s, ended_s) in expected.items():
        (child,) = scene.spans(name)
        assert child.parent == batch.context
        assert times(child) == pytest.approx((began_s, ended_s))
    assert times(batch) == pytest.approx((100.0, 101.5))


def test_what_is_not_sampled_makes_no_spans() -> None:
    scene = Scene(ratio=0.0)
    scene.poll(sampled_chunk([1, 2], []))
    finished = scene.close(sampled_chunk([1, 2], []))
    assert scene.traces.traceparent([finished]) is None
    assert scene.traces.exemplar_of(finished.batch, 1.0) is None
    assert scene.traces.on_committed([finished], TIMES) == []
    assert scene.exporter.get_finished_spans() == ()


def test_links_and_exemplars_are_bounded() -> None:
    scene = Scene()
    many = sampled_chunk(range(500), range(500))
    scene.poll(many)
    exemplars = scene.traces.on_committed([scene.close(many)], TIMES)
    (batch,) = scene.spans("process features")
    assert linked(batch) == list(range(1, MAX_LINKS + 1))  # a trace id of 0 is none
    assert len(exemplars) == MAX_EXEMPLARS
    assert exemplars[0][0] == JULY + 1 and exemplars[0][1].trace_id == 1


def test_what_is_given_up_ends_as_an_error_and_nothing_of_it_is_left() -> None:
    scene = Scene()
    scene.poll(sampled_chunk([1, 2, 3], [1, 2, 3]))
    failed, purged = scene.close(sampled_chunk([1], [1])), scene.close(sampled_chunk([2], [2]))
    scene.traces.on_commit_failed([failed], CommitTimeout("late"))
    scene.traces.on_purged()
    ended = scene.spans("process features")
    assert [span.status.status_code for span in ended] == [StatusCode.ERROR] * 2
    assert "CommitTimeout" in str(ended[0].status.description)
    assert scene.traces.traceparent([failed, purged]) is None
    # The events are read again, and belong to the batch that they are in then.
    scene.poll(sampled_chunk([1, 2, 3], [1, 2, 3]))
    scene.traces.on_committed([scene.close(sampled_chunk([1, 2, 3], [1, 2, 3]))], TIMES)
    assert linked(scene.spans("process features")[-1]) == [1, 2, 3]


async def test_a_commit_and_what_it_starts_log_within_its_trace() -> None:
    scene = Scene()
    scene.poll(sampled_chunk([1, 2], [1]))
    traced, quiet = scene.close(sampled_chunk([1], [1])), scene.close(sampled_chunk([2], []))
    header = scene.traces.traceparent([quiet, traced])
    assert header is not None

    async def current() -> int:
        return get_current_span().get_span_context().span_id

    async def commit(batches: list[BatchResult]) -> int:
        scene.traces.on_commit_started(batches)
        return await asyncio.create_task(current())

    assert f"{await asyncio.create_task(commit([traced])):016x}" == header.decode().split("-")[2]
    assert await asyncio.create_task(commit([quiet])) == 0
    assert await current() == 0


@pytest.mark.parametrize(
    "value",
    [
        b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01",  # no trace
        b"00-" + b"1" * 32 + b"-" + b"0" * 16 + b"-01",  # no span
        b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01",  # no version
        b"00-" + b"x" * 32 + b"-" + b"1" * 16 + b"-01",
        b"\xff" * 55,
        b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-00",  # not sampled
        b"00-01",
        b"",
    ],
)
def test_what_is_no_sampled_context_is_passed_over(value: bytes) -> None:
    records = [FakeRecord(0, b"x", headers=[("traceparent", value)]), FakeRecord(1, b"x", headers=[traceparent(7)])]
    assert [event.offset for event in sampled_events(records, limit=9)] == [1]


def test_header_names_are_compared_without_regard_to_case() -> None:
    name, value = traceparent(7)
    records = [FakeRecord(0, b"x", P0.partition, headers=[(name.upper(), value), ("TraceState", b"a=b")])]
    (event,) = sampled_events(records, limit=9)
    assert event.context.trace_id == 7 and event.context.trace_state.get("a") == "b"


def test_the_worker_has_such_a_sampler() -> None:
    provider = make_tracer_provider(InMemorySpanExporter(), Resource({}), ratio=0.25)
    try:
        assert "LinkedOrRatio{TraceIdRatioBased{0.25}}" in provider.sampler.get_description()
    finally:
        provider.shutdown()

"""Spans of polls and micro-batches: which are sampled, their links, and their end."""

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
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry.spans import MAX_EXEMPLARS, BatchTraces
from forebay.stream.telemetry.trace_context import sampled_events
from forebay.stream.telemetry.tracing import MAX_LINKS, LinkedOrRatio, make_tracer_provider
from tests.core.build import JULY, MODEL, P0, P1, FakeRecord, ManualClock, chunk, finish

TIMES = CommitTimes(began=101.0, emit=101.1, begin=101.2, deliveries=101.3, positions=101.4, end=101.5)


def traceparent(number: int, flags: str = "01") -> tuple[str, bytes]:
    return "traceparent", f"00-{number:032x}-{number + 1:016x}-{flags}".encode()


def sampled_chunk(offsets: Sequence[int], sampled: Sequence[int], **more: object) -> Chunk:
    """Return a chunk whose events at `sampled` are sampled. Trace ids are offsets."""
    plain = chunk(offsets, **more)  # type: ignore[arg-type]

    def traced(record: FakeRecord) -> FakeRecord:
        flags = "01" if record.offset in sampled else "00"
        return dataclasses.replace(record, headers=[("other", b"x"), traceparent(record.offset, flags)])

    rejections = [
        dataclasses.replace(rejection, record=traced(rejection.record))  # type: ignore[arg-type]
        for rejection in plain.rejections
    ]
    return dataclasses.replace(plain, records=[traced(record) for record in plain.records], rejections=rejections)  # type: ignore[arg-type]


class TracedStages:
    def __init__(self, ratio: float = 0.0) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(LinkedOrRatio(ratio)), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.clock = ManualClock()
        self.traces = BatchTraces(provider.get_tracer("test"), group_id="g", clock=self.clock)
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


def linked_traces(span: ReadableSpan) -> list[int]:
    return [link.context.trace_id for link in span.links]


def test_a_batch_is_linked_to_its_own_sampled_events_only() -> None:
    stages = TracedStages()
    whole = sampled_chunk(range(10, 20), [11, 13, 17], rejected=[13])
    stages.poll(whole, sampled_chunk([5], [5], partition=P1))
    head, tail = whole.split(5)
    first, second = stages.close(head), stages.close(tail, sampled_chunk([5], [5], partition=P1))
    assert stages.traces.event_exemplars([first, second])
    stages.traces.on_committed([first, second], TIMES)
    (poll,) = stages.spans("poll features")
    assert poll.kind is SpanKind.CLIENT and sorted(linked_traces(poll)) == [5, 11, 13, 17]
    first_span, second_span = stages.spans("process features")
    assert (linked_traces(first_span), linked_traces(second_span)) == ([11, 13], [17, 5])
    assert first_span.kind is SpanKind.CONSUMER and first_span.parent is None
    assert first_span.attributes is not None and second_span.attributes is not None
    assert first_span.attributes["messaging.destination.partition.id"] == "0"
    assert "messaging.destination.partition.id" not in second_span.attributes
    assert first_span.attributes["messaging.batch.message_count"] == 5
    assert first_span.attributes["forebay.batch.queue_time"] == 0.5
    assert first_span.attributes["forebay.batch.rejected"] == 1


def test_a_batch_names_its_version_and_the_revision_that_serves() -> None:
    stages = TracedStages(ratio=1.0)
    canary = ModelRef(MODEL.name, MODEL.version + 1)
    for number in (None, 12):
        stages.traces.revision_of = {MODEL.name: number}.get
        stages.poll(chunk([1]), chunk([2], model=canary))
        stages.traces.on_committed([stages.close(chunk([1])), stages.close(chunk([2], model=canary))], TIMES)
    names = ("forebay.model.version", "forebay.model.revision")
    found = [tuple((span.attributes or {}).get(name) for name in names) for span in stages.spans("process features")]
    assert found == [(1, None), (2, None), (1, 12), (2, 12)]


def test_nothing_is_kept_of_a_removed_version() -> None:
    stages = TracedStages()
    stages.poll(sampled_chunk([1], [1]), sampled_chunk([2], [2], model=ModelRef(MODEL.name, 2)))
    stages.traces.remove_model(MODEL)
    stages.traces.on_committed(
        [stages.close(chunk([1])), stages.close(chunk([2], model=ModelRef(MODEL.name, 2)))], TIMES
    )
    assert [linked_traces(span) for span in stages.spans("process features")] == [[2]]


def test_a_batch_has_a_child_span_with_the_times_of_each_stage() -> None:
    stages = TracedStages(ratio=1.0)
    stages.poll(chunk([1]))
    stages.traces.on_committed([stages.close(chunk([1]))], TIMES)
    (batch,) = stages.spans("process features")

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
        (child,) = stages.spans(name)
        assert child.parent == batch.context
        assert times(child) == pytest.approx((began_s, ended_s))
    assert times(batch) == pytest.approx((100.0, 101.5))


def test_events_that_are_not_sampled_cause_no_spans() -> None:
    stages = TracedStages(ratio=0.0)
    stages.poll(sampled_chunk([1, 2], []))
    result = stages.close(sampled_chunk([1, 2], []))
    assert stages.traces.traceparent([result]) is None
    assert stages.traces.exemplar_of(result.batch, 1.0) is None
    assert stages.traces.event_exemplars([result]) == []
    stages.traces.on_committed([result], TIMES)
    assert stages.exporter.get_finished_spans() == ()


def test_links_and_exemplars_are_bounded() -> None:
    stages = TracedStages()
    many = sampled_chunk(range(500), range(500))
    stages.poll(many)
    result = stages.close(many)
    exemplars = stages.traces.event_exemplars([result])
    stages.traces.on_committed([result], TIMES)
    (batch,) = stages.spans("process features")
    assert linked_traces(batch) == list(range(1, MAX_LINKS + 1))  # a trace id of 0 is invalid
    assert len(exemplars) == MAX_EXEMPLARS
    assert (exemplars[0].model, exemplars[0].timestamp) == (MODEL, JULY + 1)
    assert exemplars[0].exemplar.trace_id == 1


def test_batches_of_several_models_have_spans_of_their_own() -> None:
    """Sequence numbers are unique for a model only, and events of one partition may be for several models."""
    stages, other = TracedStages(), ModelRef("other", 2)
    stages.poll(sampled_chunk([1, 3], [1, 3]), sampled_chunk([2, 4], [2, 4], model=other))
    later = stages.close(sampled_chunk([2, 4], [2, 4], model=other))
    stages.seq = 0
    first = stages.close(sampled_chunk([1, 3], [1, 3]))
    stages.traces.on_committed([first], TIMES)
    stages.traces.on_committed([later], TIMES)
    spans = stages.spans("process features")
    assert [linked_traces(span) for span in spans] == [[1, 3], [2, 4]]
    names = [(span.attributes or {})["forebay.model.name"] for span in spans]
    versions = [(span.attributes or {})["forebay.model.version"] for span in spans]
    assert list(zip(names, versions, strict=True)) == [MODEL, other]
    decodings = stages.spans("decode")
    assert [span.parent for span in decodings] == [span.context for span in spans], "each model decoded the poll"


def test_the_span_of_a_batch_ends_when_its_last_part_is_committed() -> None:
    stages = TracedStages()
    early, middle = sampled_chunk([1, 2], [1, 2], rejected=[2]), sampled_chunk([3], [3])
    late = sampled_chunk([5], [5], partition=P1)
    stages.poll(early, middle, late)
    whole = stages.close(early, middle, late)

    def part(chunk: Chunk, *, is_last_part: bool = False) -> BatchResult:
        batch = dataclasses.replace(whole.batch, chunks=(chunk,))
        return dataclasses.replace(whole, batch=batch, is_last_part=is_last_part)

    first, last = [part(early), part(middle)], [part(late, is_last_part=True)]
    assert [sampled.exemplar.trace_id for sampled in stages.traces.event_exemplars(first)] == [1, 2, 3]
    stages.traces.on_committed(first, TIMES)
    assert not stages.spans("process features")
    assert [sampled.exemplar.trace_id for sampled in stages.traces.event_exemplars(last)] == [5]
    stages.traces.on_committed(last, TIMES)
    (span,) = stages.spans("process features")
    assert (span.attributes or {})["forebay.batch.rejected"] == 1
    assert len(stages.spans("model")) == 1
    commits = stages.spans("commit")  # one for each commit, though the first had two parts
    assert [(commit.attributes or {})["forebay.commit.batches"] for commit in commits] == [1, 1]
    stages.traces.on_purged()
    assert span.status.is_ok or span.status.status_code is StatusCode.UNSET


def test_an_abandoned_batch_ends_as_an_error_and_is_forgotten() -> None:
    stages = TracedStages()
    stages.poll(sampled_chunk([1, 2, 3], [1, 2, 3]))
    failed, purged = stages.close(sampled_chunk([1], [1])), stages.close(sampled_chunk([2], [2]))
    stages.traces.on_commit_failed([failed], CommitTimeout("late"))
    stages.traces.on_purged()
    ended = stages.spans("process features")
    assert [span.status.status_code for span in ended] == [StatusCode.ERROR] * 2
    assert "CommitTimeout" in str(ended[0].status.description)
    assert stages.traces.traceparent([failed, purged]) is None
    # The events are read again, and belong to their new batch.
    stages.poll(sampled_chunk([1, 2, 3], [1, 2, 3]))
    stages.traces.on_committed([stages.close(sampled_chunk([1, 2, 3], [1, 2, 3]))], TIMES)
    assert linked_traces(stages.spans("process features")[-1]) == [1, 2, 3]


async def test_a_commit_and_its_subtasks_log_within_its_trace() -> None:
    stages = TracedStages()
    stages.poll(sampled_chunk([1, 2], [1]))
    traced, quiet = stages.close(sampled_chunk([1], [1])), stages.close(sampled_chunk([2], []))
    header = stages.traces.traceparent([quiet, traced])
    assert header is not None

    async def current() -> int:
        return get_current_span().get_span_context().span_id

    async def commit(batches: list[BatchResult]) -> int:
        stages.traces.on_commit_started(batches)
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
def test_contexts_that_are_invalid_or_not_sampled_are_skipped(value: bytes) -> None:
    records = [FakeRecord(0, b"x", headers=[("traceparent", value)]), FakeRecord(1, b"x", headers=[traceparent(7)])]
    assert [event.offset for event in sampled_events(records, limit=9)] == [1]


def test_header_names_are_case_insensitive() -> None:
    name, value = traceparent(7)
    records = [FakeRecord(0, b"x", P0.partition, headers=[(name.upper(), value), ("TraceState", b"a=b")])]
    (event,) = sampled_events(records, limit=9)
    assert event.context.trace_id == 7 and event.context.trace_state.get("a") == "b"


def test_the_provider_of_the_worker_has_this_sampler() -> None:
    provider = make_tracer_provider(InMemorySpanExporter(), Resource({}), ratio=0.25)
    try:
        assert "LinkedOrRatio{TraceIdRatioBased{0.25}}" in provider.sampler.get_description()
    finally:
        provider.shutdown()

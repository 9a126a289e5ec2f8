"""Publication of rows, with a sink that records its calls, and a manual clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from forebay.models.data.input_row import InputRow, InputRows, InvalidRow
from forebay.schemas.errors import DataError
from forebay.stream.publish import rate_limited_publish
from forebay.stream.publish.event_builder import EventBuilder, Message
from forebay.stream.publish.publisher import Headers
from forebay.stream.publish.rate_limited_publish import PublishResult, publish_rows
from tests.core.build import ManualClock

BAD = InvalidRow("file, line 9", "it is bad", "fix it")


class RecordingSink:
    """A sink that records the time and the values of each call."""

    def __init__(self, clock: ManualClock) -> None:
        self.calls: list[tuple[float, list[bytes]]] = []
        self.keys: list[bytes | None] = []
        self.partitions: list[Sequence[int | None] | None] = []
        self.num_delivered = 0
        self.flushed = False
        self._clock = clock

    @property
    def values(self) -> list[bytes]:
        return [value for _, values in self.calls for value in values]

    async def send(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes],
        *,
        timestamp_ms: int,
        headers: Headers,
        partitions: Sequence[int | None] | None = None,
    ) -> None:
        assert type(timestamp_ms) is int
        self.calls.append((self._clock.monotonic_s(), list(values)))
        self.keys += keys
        self.partitions.append(partitions)
        self.flushed = False

    async def flush(self) -> None:
        self.flushed = True
        self.num_delivered = len(self.values)


def raw(count: int) -> Iterator[InputRow]:
    return (InputRow(number, None, b"%d" % number) for number in range(1, count + 1))


async def publish(rows: InputRows, clock: ManualClock, sink: RecordingSink, **options: object) -> PublishResult:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    builder = EventBuilder("file", now_ms=clock.wall_ms)
    return await publish_rows(rows, builder, sink, source="file", clock=clock, sleep=sleep, **options)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sink(clock: ManualClock) -> RecordingSink:
    return RecordingSink(clock)


async def test_everything_is_sent_in_order_in_chunks_and_flushed(clock: ManualClock, sink: RecordingSink) -> None:
    published = await publish(raw(2500), clock, sink)
    assert published.events == 2500 and published.skipped == 0 and sink.flushed
    assert sink.values == [b"%d" % number for number in range(1, 2501)]
    assert [len(values) for _, values in sink.calls] == [1000, 1000, 500]
    assert published.num_bytes == sum(map(len, sink.values))


class PartitionOfRow:
    """A builder whose records go to a partition of their own; those of rows with an even number have only a key."""

    noun = "label"

    def build(self, row: InputRow) -> Message:
        return Message(b"k", b"v", row.number if row.number % 2 else None)


async def test_partitions_are_passed_only_if_there_are_any(clock: ManualClock, sink: RecordingSink) -> None:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    rows = (InputRow(number, {}, None) for number in (2, 1, 4, 3))
    await publish_rows(rows, PartitionOfRow(), sink, source="file", clock=clock, rate=10, sleep=sleep)
    assert sink.partitions == [None, [1], None, [3]]


async def test_memory_is_bounded_by_bytes_too(
    clock: ManualClock, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limited_publish, "CHUNK_BYTES", 100)
    await publish((InputRow(number, None, b"x" * 60) for number in range(5)), clock, sink)
    assert [len(values) for _, values in sink.calls] == [2, 2, 1]


async def test_reading_stops_at_the_limit(clock: ManualClock, sink: RecordingSink) -> None:
    rows = raw(10**9)
    published = await publish(rows, clock, sink, limit=7)
    assert published.events == 7
    assert next(rows) == InputRow(9, None, b"9")
    assert (await publish(raw(3), clock, RecordingSink(clock), limit=0)).events == 0


async def test_events_are_sent_at_the_rate(clock: ManualClock, sink: RecordingSink) -> None:
    started_s = clock.monotonic_s()
    published = await publish(raw(300), clock, sink, rate=100.0)
    sent = 0
    for sent_s, values in sink.calls:
        sent += len(values)
        due_s = started_s + (sent - 1) / 100.0
        assert due_s - 1e-6 <= sent_s <= due_s + 0.02
    assert published.seconds == pytest.approx(2.99, abs=0.02)
    assert published.rate == pytest.approx(100, rel=0.02)


async def test_one_event_before_a_bad_row_is_reported_in_the_singular(clock: ManualClock, sink: RecordingSink) -> None:
    rows: list[InputRow | InvalidRow] = [*raw(1), BAD]
    with pytest.raises(DataError, match=r"it is bad \(1 event was published before\)"):
        await publish(iter(rows), clock, sink)


async def test_a_bad_row_ends_the_run_after_the_events_before_it(clock: ManualClock, sink: RecordingSink) -> None:
    rows: list[InputRow | InvalidRow] = [*raw(3), BAD, *raw(1)]
    with pytest.raises(DataError) as caught:
        await publish(iter(rows), clock, sink)
    assert str(caught.value) == "file, line 9: it is bad (3 events were published before)"
    assert caught.value.remedy == "fix it"
    assert sink.values == [b"1", b"2", b"3"] and sink.flushed


async def test_a_bad_first_row_reports_that_nothing_was_published(clock: ManualClock, sink: RecordingSink) -> None:
    with pytest.raises(DataError, match="nothing was published"):
        await publish(iter([BAD]), clock, sink)


async def test_skipped_bad_rows_are_counted(clock: ManualClock, sink: RecordingSink) -> None:
    rows: list[InputRow | InvalidRow] = [*raw(3), *[BAD] * 8, InputRow(4, {"id": True, "a": 1}, None), *raw(1)]
    published = await publish(iter(rows), clock, sink, skip_invalid=True)
    assert (published.events, published.skipped) == (4, 9)
    assert published.first_invalid == (BAD,) * 5


async def test_an_invalid_row_and_a_too_large_row_are_bad_rows(clock: ManualClock, sink: RecordingSink) -> None:
    rows = [InputRow(4, {"id": True, "a": 1}, None), InputRow(5, None, b"x" * 1_100_000)]
    published = await publish(iter(rows), clock, sink, skip_invalid=True)
    assert [row.place for row in published.first_invalid] == ["file, row 4", "file, line 5"]
    assert "1,100," in published.first_invalid[1].reason
    assert sink.values == []


async def test_a_file_that_ends_early_reports_how_many_events_were_published(
    clock: ManualClock, sink: RecordingSink
) -> None:
    def rows() -> Iterator[InputRow]:
        yield from raw(2)
        raise DataError("file: cut off", remedy="fetch it again")

    with pytest.raises(DataError, match=r"cut off \(2 events were published before\)") as caught:
        await publish(rows(), clock, sink)
    assert caught.value.remedy == "fetch it again"
    assert sink.values == [b"1", b"2"]


async def test_events_from_a_pipe_are_sent_while_more_are_awaited(clock: ManualClock, sink: RecordingSink) -> None:
    seen: list[int] = []

    def rows() -> InputRows:
        yield InputRow(1, None, b"1")
        yield None
        seen.append(len(sink.values))
        yield None
        yield InputRow(2, None, b"2")

    published = await publish(rows(), clock, sink)
    assert seen == [1]
    assert published.events == 2


async def test_progress_reports_sent_events_and_skipped_rows(clock: ManualClock, sink: RecordingSink) -> None:
    calls: list[tuple[int, int]] = []
    rows: list[InputRow | InvalidRow] = [BAD, *raw(1500)]
    await publish(iter(rows), clock, sink, skip_invalid=True, progress=lambda *numbers: calls.append(numbers))
    assert calls == [(1000, 1), (1500, 1), (1500, 1)]

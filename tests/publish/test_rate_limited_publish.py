"""From rows to the topic, with a sink that only writes down what it gets, and a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from forebay.schemas.errors import DataError
from forebay.stream.publish import rate_limited_publish
from forebay.stream.publish.event_builder import EventBuilder
from forebay.stream.publish.input_row import InputRow, InputRows, InvalidRow
from forebay.stream.publish.publisher import Headers
from forebay.stream.publish.rate_limited_publish import PublishResult, publish_rows
from tests.core.build import ManualClock

BAD = InvalidRow("file, line 9", "it is bad", "mend it")


class Notes:
    """A sink that notes each call: when it was, and what came."""

    def __init__(self, clock: ManualClock) -> None:
        self.calls: list[tuple[float, list[bytes]]] = []
        self.keys: list[bytes | None] = []
        self.num_delivered = 0
        self.flushed = False
        self._clock = clock

    @property
    def values(self) -> list[bytes]:
        return [value for _, values in self.calls for value in values]

    async def send(
        self, keys: Sequence[bytes | None], values: Sequence[bytes], *, timestamp_ms: int, headers: Headers
    ) -> None:
        assert type(timestamp_ms) is int
        self.calls.append((self._clock.monotonic_s(), list(values)))
        self.keys += keys
        self.flushed = False

    async def flush(self) -> None:
        self.flushed = True
        self.num_delivered = len(self.values)


def raw(count: int) -> Iterator[InputRow]:
    return (InputRow(number, None, b"%d" % number) for number in range(1, count + 1))


async def publish(rows: InputRows, clock: ManualClock, sink: Notes, **options: object) -> PublishResult:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    builder = EventBuilder("file", now_ms=clock.wall_ms)
    return await publish_rows(rows, builder, sink, source="file", clock=clock, sleep=sleep, **options)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sink(clock: ManualClock) -> Notes:
    return Notes(clock)


async def test_everything_is_sent_in_order_in_chunks_and_flushed(clock: ManualClock, sink: Notes) -> None:
    published = await publish(raw(2500), clock, sink)
    assert published.events == 2500 and published.skipped == 0 and sink.flushed
    assert sink.values == [b"%d" % number for number in range(1, 2501)]
    assert [len(values) for _, values in sink.calls] == [1000, 1000, 500]
    assert published.num_bytes == sum(map(len, sink.values))


async def test_memory_is_bounded_by_bytes_too(clock: ManualClock, sink: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limited_publish, "CHUNK_BYTES", 100)
    await publish((InputRow(number, None, b"x" * 60) for number in range(5)), clock, sink)
    assert [len(values) for _, values in sink.calls] == [2, 2, 1]


async def test_no_more_is_read_than_the_limit_needs(clock: ManualClock, sink: Notes) -> None:
    rows = raw(10**9)
    published = await publish(rows, clock, sink, limit=7)
    assert published.events == 7
    assert next(rows) == InputRow(9, None, b"9")
    assert (await publish(raw(3), clock, Notes(clock), limit=0)).events == 0


async def test_the_rate_is_kept_by_the_plan(clock: ManualClock, sink: Notes) -> None:
    started_s = clock.monotonic_s()
    published = await publish(raw(300), clock, sink, rate=100.0)
    sent = 0
    for at_s, values in sink.calls:
        sent += len(values)
        due_s = started_s + (sent - 1) / 100.0
        assert due_s - 1e-6 <= at_s <= due_s + 0.02
    assert published.seconds == pytest.approx(2.99, abs=0.02)
    assert published.rate == pytest.approx(100, rel=0.02)


async def test_one_event_before_a_bad_row_is_reported_in_the_singular(clock: ManualClock, sink: Notes) -> None:
    rows: list[InputRow | InvalidRow] = [*raw(1), BAD]
    with pytest.raises(DataError, match=r"it is bad \(1 event was published before\)"):
        await publish(iter(rows), clock, sink)


async def test_a_bad_row_stops_it_after_what_was_before_it(clock: ManualClock, sink: Notes) -> None:
    rows: list[InputRow | InvalidRow] = [*raw(3), BAD, *raw(1)]
    with pytest.raises(DataError) as caught:
        await publish(iter(rows), clock, sink)
    assert str(caught.value) == "file, line 9: it is bad (3 events were published before)"
    assert caught.value.remedy == "mend it"
    assert sink.values == [b"1", b"2", b"3"] and sink.flushed


async def test_a_bad_row_at_the_beginning_says_that_nothing_went_out(clock: ManualClock, sink: Notes) -> None:
    with pytest.raises(DataError, match="nothing was published"):
        await publish(iter([BAD]), clock, sink)


async def test_bad_rows_are_counted_where_they_are_to_be_skipped(clock: ManualClock, sink: Notes) -> None:
    rows: list[InputRow | InvalidRow] = [*raw(3), *[BAD] * 8, InputRow(4, {"id": True, "a": 1}, None), *raw(1)]
    published = await publish(iter(rows), clock, sink, skip_invalid=True)
    assert (published.events, published.skipped) == (4, 9)
    assert published.first_invalid == (BAD,) * 5


async def test_a_row_that_is_no_event_and_one_that_is_too_large_are_bad_rows(clock: ManualClock, sink: Notes) -> None:
    rows = [InputRow(4, {"id": True, "a": 1}, None), InputRow(5, None, b"x" * 1_100_000)]
    published = await publish(iter(rows), clock, sink, skip_invalid=True)
    assert [row.place for row in published.first_invalid] == ["file, row 4", "file, line 5"]
    assert "1,100," in published.first_invalid[1].reason
    assert sink.values == []


async def test_a_file_that_breaks_off_says_what_was_published(clock: ManualClock, sink: Notes) -> None:
    def rows() -> Iterator[InputRow]:
        yield from raw(2)
        raise DataError("file: cut off", remedy="fetch it again")

    with pytest.raises(DataError, match=r"cut off \(2 events were published before\)") as caught:
        await publish(rows(), clock, sink)
    assert caught.value.remedy == "fetch it again"
    assert sink.values == [b"1", b"2"]


async def test_what_a_pipe_has_brought_goes_out_while_more_is_awaited(clock: ManualClock, sink: Notes) -> None:
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


async def test_progress_tells_events_and_skipped(clock: ManualClock, sink: Notes) -> None:
    told: list[tuple[int, int]] = []
    rows: list[InputRow | InvalidRow] = [BAD, *raw(1500)]
    await publish(iter(rows), clock, sink, skip_invalid=True, progress=lambda *numbers: told.append(numbers))
    assert told == [(1000, 1), (1500, 1), (1500, 1)]

"""Publication of rows at a limited rate: build events, collect them into chunks, send each when it is due, and count."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from forebay.models.data.input_row import InputRow, InputRows, InvalidRow
from forebay.schemas.errors import DataError
from forebay.stream.core.clock import Clock
from forebay.stream.core.quantities import quantity
from forebay.stream.publish.event_builder import Message, RowBuilder
from forebay.stream.publish.inspection import SAMPLE_ROWS, Candidate, Inspection
from forebay.stream.publish.pacer import Pacer
from forebay.stream.publish.publisher import MAX_REQUEST_BYTES, Headers, oversize
from forebay.stream.publish.row_fault import RowFault

CHUNK_EVENTS: Final = 1000
CHUNK_BYTES: Final = 1_048_576
# Sending each event at the moment it is due would cost one request per event; this delay collects several.
TICK_S: Final = 0.005
# The pause before a pipe without new data is read again.
IDLE_S: Final = 0.02
_MAX_SHOWN: Final = 5
_END: Final = object()


Sleep = Callable[[float], Awaitable[None]]


class Sink(Protocol):
    """The part of a publisher that `publish_rows` uses."""

    @property
    def num_delivered(self) -> int: ...

    async def send(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes],
        *,
        timestamp_ms: int,
        headers: Headers,
        partitions: Sequence[int | None] | None = None,
    ) -> None: ...

    async def flush(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The result of publishing rows.

    skipped: number of rows that could not be published. num_bytes: size of the published values. first_invalid: the first few
    of the skipped rows.
    """

    events: int
    skipped: int
    num_bytes: int
    seconds: float
    first_invalid: tuple[InvalidRow, ...]

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds if self.seconds > 0 else 0.0


@dataclass(slots=True)
class _Skipped:
    """The number of skipped rows, and the first few of them."""

    count: int = 0
    first: list[InvalidRow] = field(default_factory=list)

    def add(self, row: InvalidRow) -> None:
        self.count += 1
        if len(self.first) < _MAX_SHOWN:
            self.first.append(row)


def _chunk_events(rate: float | None) -> int:
    """Return how many events to collect before sending. At a limited rate, these are the events of 0.1 s."""
    return CHUNK_EVENTS if rate is None else max(1, min(CHUNK_EVENTS, int(rate * 0.1)))


async def publish_rows(
    rows: InputRows,
    builder: RowBuilder,
    sink: Sink,
    *,
    source: str,
    clock: Clock,
    rate: float | None = None,
    limit: int | None = None,
    skip_invalid: bool = False,
    headers: Headers = (),
    progress: Callable[[int, int], None] = lambda events, skipped: None,
    sleep: Sleep = asyncio.sleep,
    inspection: Inspection | None = None,
    encrypt: Callable[[Message], Message] | None = None,
) -> PublishResult:
    """Publish rows in order.

    rate: events per second, None for as fast as possible.
    limit: largest number of events.
    skip_invalid: whether to count rows that cannot be published; otherwise, the first ends the run after the events before it
    were delivered.
    progress: receives the number of events sent and of rows skipped so far.
    inspection: checks the first rows before any is sent, and can refuse them.
    encrypt: returns a message with an encrypted value. Raises RowFault.

    Raises DataError if the rows are refused or cannot be read to the end, with the number of published events; BrokerError if
    a delivery fails.
    """
    started_s = clock.monotonic_s()
    chunk_events = _chunk_events(rate)
    skipped = _Skipped()
    failure: DataError | None = None
    outbox = _Outbox(
        sink,
        pacer=Pacer(rate, started_s),
        clock=clock,
        headers=headers,
        on_sent=lambda sent, now_s: progress(sent, skipped.count),
        sleep=sleep,
    )
    build = _MessageBuilder(builder, source, headers, inspection, encrypt=encrypt)
    try:
        if inspection is not None:
            rows = await _inspected(
                rows, build, inspection=inspection, limit=SAMPLE_ROWS if limit is None else limit, sleep=sleep
            )
        failure = await _send_rows(
            rows, build, outbox, skipped, limit=limit, skip_invalid=skip_invalid, chunk_events=chunk_events, sleep=sleep
        )
    except DataError as error:  # the rows cannot be read to the end, or were refused
        failure = error
    await outbox.send()
    await sink.flush()
    if failure is not None:
        raise _with_published_count(failure, sink.num_delivered, builder.noun)
    progress(outbox.num_sent, skipped.count)
    return PublishResult(
        events=outbox.num_sent,
        skipped=skipped.count,
        num_bytes=outbox.total_bytes,
        seconds=clock.monotonic_s() - started_s,
        first_invalid=tuple(skipped.first),
    )


async def _send_rows(
    rows: InputRows,
    build: _MessageBuilder,
    outbox: _Outbox,
    skipped: _Skipped,
    *,
    limit: int | None,
    skip_invalid: bool,
    chunk_events: int,
    sleep: Sleep,
) -> DataError | None:
    """Send rows in full chunks; the last one stays in `outbox`. Return the error of an invalid row that is not skipped."""
    for item in rows:
        if limit is not None and outbox.num_taken >= limit:
            break
        if item is None:
            await (outbox.send() if outbox.keys else sleep(IDLE_S))
            continue
        message = build.checked(item)
        if isinstance(message, InvalidRow):
            if not skip_invalid:
                return DataError(f"{message.place}: {message.reason}", kind="bad_row", remedy=message.remedy)
            skipped.add(message)
            continue
        outbox.append(message)
        if len(outbox.keys) >= chunk_events or outbox.num_bytes >= CHUNK_BYTES:
            await outbox.send()
    return None


async def _inspected(
    rows: InputRows, build: _MessageBuilder, inspection: Inspection, limit: int, sleep: Sleep
) -> InputRows:
    """Inspect the first rows, at most `limit`, and return all rows. Raises DataError if the inspection refuses them."""
    sample: list[InputRow | InvalidRow] = []
    rest = rows
    try:
        while len(sample) < min(limit, SAMPLE_ROWS) and (item := next(rows, _END)) is not _END:
            if item is not None:
                sample.append(cast("InputRow | InvalidRow", item))
            elif sample:
                break  # the pipe has no more data at the moment
            else:
                await sleep(IDLE_S)
    except DataError as error:
        rest = _raising(error)
    if not sample and rest is rows and limit:
        inspection.warn(f"the input has no {build.noun}s")
    candidates = []
    for item in sample:
        message = build(item)
        if isinstance(item, InputRow) and isinstance(message, Message):
            candidates.append(Candidate(build.place(item), message, item.written is not None))
    inspection.inspect(candidates)
    return itertools.chain(sample, rest)


def _raising(error: DataError) -> InputRows:
    yield from ()
    raise error


def _with_published_count(error: DataError, delivered: int, noun: str) -> DataError:
    """Return the same error with the number of events (or other records) that were published before it."""
    verb = "was" if delivered == 1 else "were"
    published = f"{quantity(delivered, noun)} {verb} published before" if delivered else "nothing was published"
    return DataError(f"{error.message} ({published})", kind=error.kind, remedy=error.remedy)


class _Outbox:
    """Messages to send together, in columns, and the totals of those sent."""

    def __init__(
        self,
        sink: Sink,
        pacer: Pacer,
        clock: Clock,
        headers: Headers,
        on_sent: Callable[[int, float], None],
        sleep: Sleep,
    ) -> None:
        self._sink = sink
        self._pacer = pacer
        self._clock = clock
        self._headers = headers
        self._on_sent = on_sent
        self._sleep = sleep
        self.keys: list[bytes | None] = []
        self._values: list[bytes] = []
        self._partitions: list[int | None] = []
        self.num_bytes = 0
        self.num_sent = 0
        self.total_bytes = 0

    @property
    def num_taken(self) -> int:
        """The number of messages that were sent or are waiting."""
        return self.num_sent + len(self.keys)

    def append(self, message: Message) -> None:
        self.keys.append(message.key)
        self._values.append(message.value)
        self._partitions.append(message.partition)
        self.num_bytes += len(message.value)

    async def send(self) -> None:
        keys, values, partitions = self.keys, self._values, self._partitions
        self.keys, self._values, self._partitions = [], [], []
        await send_paced(
            keys,
            values,
            self._sink,
            self._pacer,
            sent=self.num_sent,
            clock=self._clock,
            headers=self._headers,
            on_sent=self._on_sent,
            sleep=self._sleep,
            partitions=None if partitions.count(None) == len(partitions) else partitions,
        )
        self.num_sent += len(keys)
        self.total_bytes += self.num_bytes
        self.num_bytes = 0


class _MessageBuilder:
    """Builds the message of a row, or the reason why the row cannot be published."""

    def __init__(
        self,
        builder: RowBuilder,
        source: str,
        headers: Headers,
        inspection: Inspection | None = None,
        *,
        encrypt: Callable[[Message], Message] | None = None,
    ) -> None:
        self._encrypt = encrypt
        self._builder = builder
        self._source = source
        self._headers = headers
        self._check = inspection.check if inspection is not None and inspection.every_event else None

    @property
    def noun(self) -> str:
        """What the messages are."""
        return self._builder.noun

    def place(self, row: InputRow) -> str:
        source = row.file or self._source
        if row.line_number is not None:
            return f"{source}, line {row.line_number}"
        return f"{source}, {'line' if row.line is not None else 'row'} {row.number}"

    def __call__(self, item: InputRow | InvalidRow) -> Message | InvalidRow:
        if isinstance(item, InvalidRow):
            return item
        try:
            message = self._builder.build(item)
        except RowFault as fault:
            return InvalidRow(self.place(item), fault.reason, fault.remedy)
        if (size := oversize(message.key, message.value, self._headers)) is not None:
            reason = f"the record has {size:,} bytes; a request holds at most {MAX_REQUEST_BYTES:,}"
            return InvalidRow(self.place(item), reason, f"send smaller {self.noun}s")
        return message

    def checked(self, item: InputRow | InvalidRow) -> Message | InvalidRow:
        """Build the message of a row to send: with --check, check it against the model's signature; then encrypt it."""
        message = self(item)
        if not isinstance(message, Message) or not isinstance(item, InputRow):
            return message
        if self._check is not None and (invalid := self._check.invalid_row(self.place(item), message)) is not None:
            return invalid
        if self._encrypt is None:
            return message
        try:
            return self._encrypt(message)
        except RowFault as fault:
            return InvalidRow(self.place(item), fault.reason, fault.remedy)


def build_message(
    item: InputRow | InvalidRow, builder: RowBuilder, source: str, headers: Headers
) -> Message | InvalidRow:
    """Return the message of a row, or why it cannot be published."""
    return _MessageBuilder(builder, source, headers)(item)


def first_invalid(
    rows: InputRows, builder: RowBuilder, source: str, headers: Headers, *, limit: int | None
) -> InvalidRow | None:
    """Return the first row, of at most `limit`, that cannot be published; None if all can."""
    build = _MessageBuilder(builder, source, headers)
    for item in itertools.islice((row for row in rows if row is not None), limit):
        message = build(item)
        if isinstance(message, InvalidRow):
            return message
    return None


async def send_paced(
    keys: Sequence[bytes | None],
    values: Sequence[bytes],
    sink: Sink,
    pacer: Pacer,
    *,
    sent: int,
    clock: Clock,
    headers: Headers = (),
    on_sent: Callable[[int, float], None] = lambda sent, now_s: None,
    sleep: Sleep = asyncio.sleep,
    partitions: Sequence[int | None] | None = None,
) -> None:
    """Send messages when they are due.

    sent: number of messages that were sent before.
    on_sent: receives the number of all messages sent so far, and the time at which the last of them were passed to the sink.
    partitions: of each message, None where the key decides; None if it decides for all.
    """
    done = 0
    while done < len(keys):
        now_s = clock.monotonic_s()
        due = pacer.num_due(now_s, sent + done, min(CHUNK_EVENTS, len(keys) - done))
        if due == 0:
            await sleep(max(TICK_S, pacer.wait_s(now_s, sent + done)))
            continue
        until = done + due
        chunk = slice(done, until)
        await sink.send(
            keys[chunk],
            values[chunk],
            timestamp_ms=clock.wall_ms(),
            headers=headers,
            partitions=None if partitions is None else partitions[chunk],
        )
        done = until
        on_sent(sent + done, now_s)

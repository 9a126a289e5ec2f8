"""From rows to the topic: build, gather, pace, send, count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from schemas.errors import DataError
from stream.clock import Clock
from stream.publish.event import EventBuilder, Message
from stream.publish.pacer import Pacer
from stream.publish.row import BadRow, Row, RowFault, Rows
from stream.publish.send import Headers, too_large

CHUNK_EVENTS: Final = 1000
CHUNK_BYTES: Final = 1_048_576
# Sending each event the moment it is due would cost a request each; this much later is early enough.
TICK_S: Final = 0.005
# Between two looks at a pipe that has nothing at the moment.
IDLE_S: Final = 0.02
_MOST_SHOWN: Final = 5


Sleep = Callable[[float], Awaitable[None]]


class Sink(Protocol):
    """What `publish_rows` needs of a publisher."""

    @property
    def num_delivered(self) -> int: ...

    async def send(
        self, keys: Sequence[bytes | None], values: Sequence[bytes], *, timestamp_ms: int, headers: Headers
    ) -> None: ...

    async def flush(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Published:
    """What became of the rows. `first_bad` are the first few of the `skipped`; `num_bytes` is of values; times in seconds."""

    events: int
    skipped: int
    num_bytes: int
    seconds: float
    first_bad: tuple[BadRow, ...]

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds if self.seconds > 0 else 0.0


async def publish_rows(
    rows: Rows,
    builder: EventBuilder,
    sink: Sink,
    *,
    source: str,
    clock: Clock,
    rate: float | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    headers: Headers = (),
    progress: Callable[[int, int], None] = lambda events, skipped: None,
    sleep: Sleep = asyncio.sleep,
) -> Published:
    """Publish rows in order, at most `limit`, at `rate` events a second (None: as fast as possible).

    A row that cannot be published is counted where `skip_bad`, else it ends the run after those before it were delivered.
    `progress` gets the numbers of events sent and rows skipped so far. Raises DataError for
    that and for a file that breaks off, after telling what was published; BrokerError when a delivery fails.
    """
    started_s = clock.monotonic_s()
    pacer = Pacer(rate, started_s)
    # A chunk that is paced must not hold much more than falls due while the next is read.
    most = CHUNK_EVENTS if rate is None else max(1, min(CHUNK_EVENTS, int(rate * 0.1)))
    chunk = _Chunk()
    events = skipped = num_bytes = 0
    first_bad: list[BadRow] = []
    ending: DataError | None = None

    async def send() -> None:
        nonlocal chunk, events, num_bytes
        num_bytes += chunk.num_bytes
        await send_paced(
            chunk.keys,
            chunk.values,
            sink,
            pacer,
            sent=events,
            clock=clock,
            headers=headers,
            on_sent=lambda sent, now_s: progress(sent, skipped),
            sleep=sleep,
        )
        events += len(chunk.keys)
        chunk = _Chunk()

    try:
        for item in rows:
            if limit is not None and events + len(chunk.keys) >= limit:
                break
            if item is None:
                await (send() if chunk.keys else sleep(IDLE_S))
                continue
            message = _message(item, builder, source, headers)
            if isinstance(message, BadRow):
                if not skip_bad:
                    ending = DataError(f"{message.place}: {message.reason}", kind="bad_row", remedy=message.remedy)
                    break
                skipped += 1
                if len(first_bad) < _MOST_SHOWN:
                    first_bad.append(message)
                continue
            chunk.append(message)
            if len(chunk.keys) >= most or chunk.num_bytes >= CHUNK_BYTES:
                await send()
    except DataError as error:  # the file broke off
        ending = error
    await send()
    await sink.flush()
    if ending is not None:
        raise _told(ending, sink.num_delivered)
    progress(events, skipped)
    return Published(events, skipped, num_bytes, clock.monotonic_s() - started_s, tuple(first_bad))


def _told(error: DataError, delivered: int) -> DataError:
    """The same error, with what was published before it."""
    said = "nothing was published" if delivered == 0 else f"{delivered:,} events before it were published"
    return DataError(f"{error.message} ({said})", kind=error.kind, remedy=error.remedy)


class _Chunk:
    """Messages gathered to be sent together, as columns."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes] = []
        self.num_bytes = 0

    def append(self, message: Message) -> None:
        self.keys.append(message.key)
        self.values.append(message.value)
        self.num_bytes += len(message.value)


def _message(item: Row | BadRow, builder: EventBuilder, source: str, headers: Headers) -> Message | BadRow:
    if isinstance(item, BadRow):
        return item
    place = f"{source}, {'line' if item.line is not None else 'row'} {item.number}"
    try:
        message = builder.build(item)
    except RowFault as fault:
        return BadRow(place, fault.reason, fault.remedy)
    if (size := too_large(message.key, message.value, headers)) is not None:
        return BadRow(place, f"the record would take {size:,} bytes, more than a request holds", "send smaller events")
    return message


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
) -> None:
    """Send messages as they fall due, after `sent` others were.

    `on_sent` gets the number of all that were sent, and the time at which the last of them were handed over.
    """
    done = 0
    while done < len(keys):
        now_s = clock.monotonic_s()
        due = pacer.num_due(now_s, sent + done, min(CHUNK_EVENTS, len(keys) - done))
        if due == 0:
            await sleep(max(TICK_S, pacer.wait_s(now_s, sent + done)))
            continue
        until = done + due
        await sink.send(keys[done:until], values[done:until], timestamp_ms=clock.wall_ms(), headers=headers)
        done = until
        on_sent(sent + done, now_s)

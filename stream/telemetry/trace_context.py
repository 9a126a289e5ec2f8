"""Trace contexts in record headers. An event is traced if its `traceparent` has the sampled flag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from forebay.schemas.headers import TRACEPARENT

TRACESTATE: Final = "tracestate"
_LENGTH: Final = len(TRACEPARENT)
_FLAGS_INDEX: Final = 54
_ODD: Final = frozenset(b"13579bdf")
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class RecordWithHeaders(Protocol):
    """The part of a record that is needed here."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class SampledEvent(NamedTuple):
    """A traced event: its offset, its record timestamp in ms, and the span that published it."""

    offset: int
    timestamp: int
    context: SpanContext


def sampled_events(records: Iterable[RecordWithHeaders], *, limit: int) -> list[SampledEvent]:
    """Return the first `limit` sampled events. Invalid contexts are skipped.

    Nearly all events are not sampled, so the last hexadecimal digit is checked before anything is parsed.
    """
    events: list[SampledEvent] = []
    for record in records:
        for name, value in record.headers:
            if (
                len(name) == _LENGTH
                and name.lower() == TRACEPARENT
                and len(value or b"") > _FLAGS_INDEX
                and value[_FLAGS_INDEX] in _ODD
            ):
                context = _parse(record)
                if context.is_valid and context.trace_flags.sampled:
                    events.append(SampledEvent(record.offset, record.timestamp, context))
                    if len(events) == limit:
                        return events
                break
    return events


def _parse(record: RecordWithHeaders) -> SpanContext:
    carrier = {
        lower: value.decode("ascii", "replace")
        for name, value in record.headers
        if (lower := name.lower()) in (TRACEPARENT, TRACESTATE) and value is not None
    }
    return get_current_span(_PROPAGATOR.extract(carrier)).get_span_context()


def to_traceparent(context: SpanContext) -> bytes:
    """Return the header with which other processes continue this trace."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()

"""Which events are being traced: those whose `traceparent` has the sampled flag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from forebay.schemas.headers import TRACEPARENT

TRACESTATE: Final = "tracestate"
_LENGTH: Final = len(TRACEPARENT)
_FLAGS_AT: Final = 54
_ODD: Final = frozenset(b"13579bdf")
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class RecordWithHeaders(Protocol):
    """What is looked at of a record."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class SampledEvent(NamedTuple):
    """Where it lies in its partition, its record's timestamp (ms), and the span that it came from."""

    offset: int
    timestamp: int
    context: SpanContext


def sampled_events(records: Iterable[RecordWithHeaders], *, limit: int) -> list[SampledEvent]:
    """The first `limit` of them. What is no valid context is passed over.

    Nearly all events are not sampled, so their last hexadecimal digit is looked at before anything is parsed.
    """
    found: list[SampledEvent] = []
    for record in records:
        for name, value in record.headers:
            if (
                len(name) == _LENGTH
                and name.lower() == TRACEPARENT
                and len(value or b"") > _FLAGS_AT
                and value[_FLAGS_AT] in _ODD
            ):
                context = _parse(record)
                if context.is_valid and context.trace_flags.sampled:
                    found.append(SampledEvent(record.offset, record.timestamp, context))
                    if len(found) == limit:
                        return found
                break
    return found


def _parse(record: RecordWithHeaders) -> SpanContext:
    carrier = {
        lower: value.decode("ascii", "replace")
        for name, value in record.headers
        if (lower := name.lower()) in (TRACEPARENT, TRACESTATE) and value is not None
    }
    return get_current_span(_PROPAGATOR.extract(carrier)).get_span_context()


def to_traceparent(context: SpanContext) -> bytes:
    """The header by which others go on from this span."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()

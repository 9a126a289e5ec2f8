"""Where spans go, and which are made: those that are linked to sampled events, and a share of the others."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, Tracer, TraceState
from opentelemetry.util.types import Attributes

MAX_LINKS: Final = 128
FLUSH_EVERY_MS: Final = 2000


class LinkedOrRatio(Sampler):
    """Samples what is linked to anything, for only sampled events are linked to; of the rest the share `ratio`.

    A batch has many events and so no parent: its links are what stands for one.
    """

    def __init__(self, ratio: float) -> None:
        self._rest = TraceIdRatioBased(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        sampler = ALWAYS_ON if links else self._rest
        return sampler.should_sample(
            parent_context,
            trace_id=trace_id,
            name=name,
            kind=kind,
            attributes=attributes,
            links=links,
            trace_state=trace_state,
        )

    def get_description(self) -> str:
        return f"LinkedOrRatio{{{self._rest.get_description()}}}"


def make_tracer_provider(exporter: SpanExporter, resource: Resource, *, ratio: float) -> TracerProvider:
    """Spans are sent by a thread of their own, a few seconds late; when it falls behind they are dropped."""
    provider = TracerProvider(
        sampler=ParentBased(LinkedOrRatio(ratio)),
        resource=resource,
        span_limits=SpanLimits(max_links=MAX_LINKS),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=FLUSH_EVERY_MS))
    return provider


def tracer_of(provider: TracerProvider) -> Tracer:
    """Return Forebay's tracer, with the release that runs."""
    return provider.get_tracer("forebay", importlib.metadata.version("forebay"))

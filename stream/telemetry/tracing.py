"""The tracer provider and its sampling: spans that are linked to sampled events, and a share of the others."""

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
    """Samples spans with links, because only sampled events are linked, and the share `ratio` of the others.

    A batch has many events and so no parent: its links take the place of one.
    """

    def __init__(self, ratio: float) -> None:
        self._unlinked = TraceIdRatioBased(ratio)

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
        sampler = ALWAYS_ON if links else self._unlinked
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
        return f"LinkedOrRatio{{{self._unlinked.get_description()}}}"


def make_tracer_provider(exporter: SpanExporter, resource: Resource, *, ratio: float) -> TracerProvider:
    """Return a provider that sends spans on a thread of its own, a few seconds late; it drops them if it falls behind."""
    provider = TracerProvider(
        sampler=ParentBased(LinkedOrRatio(ratio)),
        resource=resource,
        span_limits=SpanLimits(max_links=MAX_LINKS),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=FLUSH_EVERY_MS))
    return provider


def tracer_of(provider: TracerProvider) -> Tracer:
    """Return Forebay's tracer, with the running release as its version."""
    return provider.get_tracer("forebay", importlib.metadata.version("forebay"))

"""What a worker that back-fills has besides the others: ranges with an end, and output topics of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from forebay.stream.config.sections import TopicsSection
from forebay.stream.core.outputs import Headers
from forebay.stream.core.records import BatchResult
from forebay.stream.kafka.consumer.bounded_source import BoundedSource
from forebay.stream.kafka.consumer.frozen_ranges import FrozenRanges
from forebay.stream.kafka.consumer.read_throttle import ReadThrottle
from forebay.stream.output.emitter import NO_HEADERS, EmissionBuilder, EmissionSteps


@dataclass(frozen=True, slots=True)
class Backfill:
    """How a worker back-fills.

    outputs: names and numbers of its output topics.
    throttle: limits how fast it reads.
    ranges: of its partitions, read from the group's committed offsets.
    """

    outputs: TopicsSection
    throttle: ReadThrottle = field(default_factory=ReadThrottle)
    ranges: FrozenRanges = field(default_factory=FrozenRanges)

    def source_type(self) -> partial[BoundedSource]:
        """Return what builds the source, with the arguments of `Source`."""
        return partial(BoundedSource, self.ranges, self.throttle)


class RangedEmissions:
    """Builds emissions whose positions are committed with the ranges. inner: builds the emissions without them."""

    def __init__(self, inner: EmissionBuilder, ranges: FrozenRanges) -> None:
        self._inner = inner
        self._ranges = ranges

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps:
        """Build the emission of these micro-batches, in slices."""
        emission = yield from self._inner.build(batches, delta_headers=delta_headers)
        for partition in emission.positions:
            emission.metadata[partition] = self._ranges.metadata(partition, emission.metadata.get(partition, ""))
        return emission

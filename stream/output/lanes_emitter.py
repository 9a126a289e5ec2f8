"""Turns the finished micro-batches of several models into the records of one commit.

Each lane's emitter builds its outputs separately. Outputs of several lanes for one output partition are then merged by the
offsets of the events that they come from, so that the outputs of an input partition are in offset order over all lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import chain

import numpy as np

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Headers, Outgoing
from forebay.stream.core.records import BatchResult, TopicPartition
from forebay.stream.output.emitter import MIN_SLICE_BYTES, NO_HEADERS, Emission, EmissionSteps, ModelEmitter
from forebay.stream.output.encoder import output_bytes

CombineMetadata = Callable[[TopicPartition, int, Mapping[ModelRef, str]], str]
"""Returns the metadata to commit with the position of a partition, from that of the window lanes in the commit, by model."""
RecordSwitches = Callable[[Emission], None]
"""Adds the switches of rollouts that a commit passes to its records, and the revisions to its metadata."""


class LanesEmitter:
    """Builds emissions from the micro-batches of several models. With one model it is that model's emitter.

    emitters: one for each model; they share their topics, placement and clock.
    combine_metadata: called once for each partition of each commit, if a model takes windows and there are others.
    record_switches: called for each commit, once its positions are known, if emitters may be added and removed.
    """

    def __init__(
        self,
        emitters: Mapping[ModelRef, ModelEmitter],
        *,
        combine_metadata: CombineMetadata | None = None,
        record_switches: RecordSwitches | None = None,
    ) -> None:
        self._emitters = dict(emitters)
        self._first, *others = self._emitters.values()
        self._only = None if others or record_switches is not None else self._first
        self._combine_metadata = combine_metadata
        self._record_switches = record_switches
        if others and combine_metadata is None and any(emitter.of_windows for emitter in self._emitters.values()):
            raise ValueError("models of windows beside others need combine_metadata")

    def add(self, emitter: ModelEmitter) -> None:
        """Add the emitter of a version that gets events later."""
        assert self._record_switches is not None, "the emitters are fixed"
        self._emitters[emitter.ref] = emitter

    def remove(self, model: ModelRef) -> None:
        """Remove the emitter of a version for which nothing is in flight."""
        del self._emitters[model]

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps:
        """Build the emission of these micro-batches; those of each model are in commit order. Never raises for data."""
        if self._only is not None:
            return self._only.build(batches, delta_headers=delta_headers)
        return self._build(batches, delta_headers)

    def _build(self, batches: Sequence[BatchResult], delta_headers: Headers) -> EmissionSteps:
        emission = self._first.begin()
        models = dict.fromkeys(result.model for result in batches)
        lanes = {
            model: Emission(outgoing={}, positions={}, ledger=emission.ledger, has_offsets=len(models) > 1)
            for model in models
        }
        num_bytes = 0
        for result in batches:
            yield from self._emitters[result.model].add(result, lanes[result.model])
            num_bytes += output_bytes(result)
            if num_bytes >= MIN_SLICE_BYTES:
                num_bytes = 0
                yield
        yield from _merge(lanes.values(), emission)
        for lane in lanes.values():
            for partition, next_offset in lane.positions.items():
                emission.advance(partition, next_offset)
        if self._combine_metadata is not None:
            # Also for a commit without windows, whose metadata holds their state nevertheless.
            for partition, next_offset in emission.positions.items():
                states = {
                    model: lane.metadata[partition] for model, lane in lanes.items() if partition in lane.metadata
                }
                emission.metadata[partition] = self._combine_metadata(partition, next_offset, states)
        if self._record_switches is not None:
            self._record_switches(emission)
        return self._first.finish(emission, delta_headers)


def _merge(lanes: Iterable[Emission], emission: Emission) -> Generator[None, None, None]:
    """Add the records of the lanes to the emission, an output partition at a time."""
    parts_of: dict[TopicPartition, list[Outgoing]] = {}
    for lane in lanes:
        for partition, records in lane.outgoing.items():
            parts_of.setdefault(partition, []).append(records)
    for partition, parts in parts_of.items():
        if len(parts) == 1:
            emission.outgoing[partition] = parts[0]
        else:
            emission.outgoing[partition] = _in_offset_order(parts)
            yield


def _in_offset_order(parts: Sequence[Outgoing]) -> Outgoing:
    """Return the records of the parts by offset. Records of a part with the same offset stay in order.

    Offsets of several input partitions are compared with each other, which does no harm.
    """
    keys = list(chain.from_iterable(part.keys for part in parts))
    values = list(chain.from_iterable(part.values for part in parts))
    headers = list(chain.from_iterable(part.headers for part in parts))
    offsets = chain.from_iterable(part.offsets or () for part in parts)
    order = np.fromiter(offsets, np.int64, len(keys)).argsort(kind="stable").tolist()
    if headers.count(NO_HEADERS) < len(headers):
        headers = [headers[i] for i in order]
    return Outgoing([keys[i] for i in order], [values[i] for i in order], headers)

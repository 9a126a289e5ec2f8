"""From which offset of a partition each revision was served, from the records of the topic `rollout-switches`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import Meta

from forebay.schemas.errors import DataError
from forebay.schemas.rollouts import MAX_SEED, MODEL_NAME, SWITCH_FORMAT
from forebay.schemas.shapes import MAX_TIMESTAMP_MS
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.wire import NEWER_FORMAT, InvalidRecord, decode_json, decode_key, require_format


@dataclass(frozen=True, slots=True)
class Switch:
    """A partition's switch to a revision.

    first_offset: the first offset whose event was routed by the revision.
    switched_ms: time of the worker, milliseconds since the Unix epoch.
    worker: the instance id of the worker.
    """

    model: Annotated[str, Meta(pattern=MODEL_NAME)]
    topic: Annotated[str, Meta(min_length=1, max_length=249)]
    partition: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
    revision: Annotated[int, Meta(ge=1, le=MAX_SEED)]
    first_offset: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    switched_ms: Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]
    worker: Annotated[str, Meta(max_length=1_000)]

    def encode(self) -> tuple[bytes, bytes]:
        """Return the record's key and value. The key is the model's name."""
        return self.model.encode(), msgspec.json.encode({"format": SWITCH_FORMAT} | msgspec.to_builtins(self))


def decode_switch(key: bytes | None, value: bytes | None) -> Switch:
    """Decode a record of the topic `rollout-switches`. Raises DataError with the place, and nothing else."""
    model = decode_key(key, "switch")
    record = f"switch of model {model[:200]!r}"
    switch = decode_json(require_format(value, SWITCH_FORMAT, record), Switch, record)
    if switch.model != model:
        raise DataError(f"{record}: model: {switch.model!r} differs from the record key")
    return switch


class SwitchLog:
    """The switches of all partitions, fed with the records in log order.

    With exactly-once processing, revisions and first offsets of a partition only increase. With at-least-once processing a
    crash may repeat a switch at a smaller offset; the last record is then the one whose predictions follow.
    """

    def __init__(self) -> None:
        self._switches: dict[tuple[str, TopicPartition], list[Switch]] = {}
        self._reversals: list[Switch] = []
        self._invalid: list[InvalidRecord] = []

    def add_record(self, key: bytes | None, value: bytes | None, *, offset: int, timestamp_ms: int) -> Switch | None:
        """Add the next record. Return its switch, or None and keep it in `invalid` if it is not one.

        Raises DataError for a record in a later format.
        """
        try:
            switch = decode_switch(key, value)
        except DataError as error:
            if error.kind == NEWER_FORMAT:
                raise DataError(
                    f"record at offset {offset} of the rollout-switches topic: {error.message}",
                    kind=error.kind,
                    remedy=error.remedy,
                ) from None
            self._invalid.append(InvalidRecord(offset, timestamp_ms, error.message))
            return None
        self.add(switch)
        return switch

    def add(self, switch: Switch) -> None:
        """Add the next switch."""
        place = TopicPartition(switch.topic, switch.partition)
        switches = self._switches.setdefault((switch.model, place), [])
        if switches and switch.revision < switches[-1].revision:
            self._reversals.append(switch)
        while switches and switches[-1].first_offset >= switch.first_offset:
            switches.pop()
        switches.append(switch)

    @property
    def reversals(self) -> Sequence[Switch]:
        """Switches of a partition to an older revision. With exactly-once processing it is always empty."""
        return self._reversals

    @property
    def invalid(self) -> Sequence[InvalidRecord]:
        """The records that are not switches, in log order."""
        return self._invalid

    def partitions(self, model: str) -> list[TopicPartition]:
        """Return the partitions in which the model has switched."""
        return sorted(place for name, place in self._switches if name == model)

    def switches(self, model: str, partition: TopicPartition) -> Sequence[Switch]:
        """Return the switches of a partition, by ascending offset."""
        return tuple(self._switches.get((model, partition), ()))

    def revision_at(self, model: str, partition: TopicPartition, offset: int) -> int:
        """Return the number of the revision that routed the event at the offset; 0 for the configuration."""
        switches = self._switches.get((model, partition), [])
        index = bisect_right(switches, offset, key=attrgetter("first_offset"))
        return switches[index - 1].revision if index else 0

    def revision_at_time(self, model: str, partition: TopicPartition, time_ms: int) -> int:
        """Return the number of the revision that the partition was routed by at the time; 0 for the configuration.

        The times are those of the workers' clocks.
        """
        before = [
            switch.revision for switch in self._switches.get((model, partition), ()) if switch.switched_ms <= time_ms
        ]
        return before[-1] if before else 0

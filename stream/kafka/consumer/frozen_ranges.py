"""The ranges of offsets that a back-fill reads, kept in the metadata of its group's committed offsets.

    forebay-backfill1 <start> <end> <prefix of the outputs> <model>@<version>,… [| <metadata of the worker>]

The range of a partition is written with its first offset, and again with every later one. So it lasts exactly as long as the
offsets, and every member reads the same range in whichever process it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.kafka.consumer.start_offsets import OffsetRestorer

FORMAT: Final = "forebay-backfill1"
MAX_METADATA_BYTES: Final = 4096
"""What Kafka stores with an offset (`offset.metadata.max.bytes`)."""
_SEPARATOR: Final = " | "
_RANGE: Final = re.compile(r"forebay-backfill1 (\d{1,19}) (\d{1,19}) (\S+) (\S+)(?: \| (.*))?", re.ASCII | re.DOTALL)
_MODEL: Final = re.compile(r"([^@,]+)@(\d{1,10})", re.ASCII)


class FrozenRange(NamedTuple):
    """The offsets of a partition that a back-fill reads, as fixed at its start.

    start, end: from the first offset to the one after the last.
    outputs: the prefix of the topics that it writes to.
    models: the versions that predict, in the order in which they are served.
    """

    start: int
    end: int
    outputs: str
    models: tuple[ModelRef, ...]

    def remaining(self, position: int) -> int:
        """Return how many offsets are still to be committed at a committed position."""
        return max(0, self.end - max(position, self.start))


def join_range(frozen: FrozenRange, inner: str) -> str:
    """Return the metadata of an offset. inner: that of windows, rollouts and audit. Raises ForebayError if it is too long."""
    models = ",".join(f"{ref.name}@{ref.version}" for ref in frozen.models)
    text = f"{FORMAT} {frozen.start} {frozen.end} {frozen.outputs} {models}"
    if inner:
        text += _SEPARATOR + inner
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise ForebayError(
            f"the metadata of an offset would have {len(text.encode())} bytes; Kafka stores at most {MAX_METADATA_BYTES}",
            kind="offset_metadata_too_large",
            remedy="serve fewer models in one back-fill, or choose a shorter prefix of the outputs",
        )
    return text


def split_range(partition: TopicPartition, committed: Committed) -> tuple[FrozenRange, Committed]:
    """Return the range in the metadata of an offset, and the offset without it. Raises BrokerError if there is none."""
    found = _RANGE.fullmatch(committed.metadata)
    models = [] if found is None else [_MODEL.fullmatch(entry) for entry in found[4].split(",")]
    if found is None or not all(models) or int(found[1]) > int(found[2]):
        raise BrokerError(
            f"{partition.topic}-{partition.partition}: the committed offset of the back-fill does not say where it ends: "
            f"{committed.metadata[:60]!r}",
            kind="backfill_range",
            remedy="the group's offsets were reset by another program, or a later version of Forebay wrote them: begin again "
            "with another --run-id",
        )
    refs = tuple(ModelRef(model[1], int(model[2])) for model in models if model is not None)
    return FrozenRange(int(found[1]), int(found[2]), found[3], refs), committed._replace(metadata=found[5] or "")


class FrozenRanges:
    """The ranges of the assigned partitions, known once they are restored."""

    def __init__(self) -> None:
        self._ranges: dict[TopicPartition, FrozenRange] = {}

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, Committed | None]:
        """Read the ranges of newly assigned partitions, and return their offsets without them. Raises BrokerError."""
        ranges, rest = {}, {}
        for partition, offset in committed.items():
            if offset is None:
                raise BrokerError(
                    f"{partition.topic}-{partition.partition} is not part of the back-fill",
                    kind="backfill_range",
                    remedy="topics or partitions were added since it began: give another --run-id to include them",
                )
            ranges[partition], rest[partition] = split_range(partition, offset)
        self._ranges = ranges
        return dict(rest)

    def end(self, partition: TopicPartition) -> int:
        """Return the offset before which the reading of a partition ends."""
        return self._ranges[partition].end

    def metadata(self, partition: TopicPartition, inner: str) -> str:
        """Return the metadata of a committed position. inner: what the worker itself has to say."""
        return join_range(self._ranges[partition], inner)


class RangeRestorer:
    """Restores a worker that back-fills. All others see only their part of the metadata."""

    def __init__(self, inner: OffsetRestorer, ranges: FrozenRanges) -> None:
        self._inner = inner
        self._ranges = ranges

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the offset from which to read each partition. Raises BrokerError if reading must not continue."""
        return self._inner.restore(self._ranges.restore(committed))

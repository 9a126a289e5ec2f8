"""Where a bounded read begins and ends: the beginning, the end, a time, or offsets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from forebay.schemas.errors import ConfigError
from forebay.stream.core.records import TopicPartition


@dataclass(frozen=True, slots=True)
class ReadBound:
    """A bound of a read.

    time_ms: milliseconds since the Unix epoch, for the kind time: the first record since then.
    offsets: for the kind offsets. Partitions that are not listed are not read.
    """

    kind: Literal["beginning", "end", "time", "offsets"]
    time_ms: int = 0
    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Log:
    """The offsets of a partition that exist, and those of the records since the times of the two bounds.

    first, end: of the first record, and after the last stable one.
    since: offsets by time; None where no record is that young.
    """

    first: int
    end: int
    since: Mapping[int, int | None]


def resolve_ranges(logs: Mapping[TopicPartition, Log], begin: ReadBound, end: ReadBound) -> dict[TopicPartition, range]:
    """Return the offsets of each partition between two bounds, empty for those that are not listed.

    Raises ConfigError for offsets that do not exist.
    """
    for bound in (begin, end):
        _require_existing(logs, bound)
    ranges = {}
    for partition, log in logs.items():
        if any(bound.kind == "offsets" and partition not in bound.offsets for bound in (begin, end)):
            ranges[partition] = range(log.end, log.end)
        else:
            start, stop = _offset(partition, log, begin), _offset(partition, log, end)
            ranges[partition] = range(start, max(start, stop))
    return ranges


def _offset(partition: TopicPartition, log: Log, bound: ReadBound) -> int:
    if bound.kind == "offsets":
        return bound.offsets[partition]
    if bound.kind == "time":
        since = log.since[bound.time_ms]
        return log.end if since is None else min(max(since, log.first), log.end)
    return log.first if bound.kind == "beginning" else log.end


def _require_existing(logs: Mapping[TopicPartition, Log], bound: ReadBound) -> None:
    for partition, offset in bound.offsets.items():
        name, log = f"{partition.topic}-{partition.partition}", logs.get(partition)
        if log is None:
            raise ConfigError(f"there is no partition {name}", kind="backfill_bound", remedy=_listed(logs))
        if not log.first <= offset <= log.end:
            raise ConfigError(
                f"{name} has the offsets {log.first} to {log.end}, and not {offset}",
                kind="backfill_bound",
                remedy="choose offsets that exist, or write beginning or end",
            )


def _listed(logs: Mapping[TopicPartition, Log]) -> str:
    topics = sorted({partition.topic for partition in logs})
    counts = [f"{topic} has 0 to {sum(place.topic == topic for place in logs) - 1}" for topic in topics]
    return f"the partitions are: {', '.join(counts)}"

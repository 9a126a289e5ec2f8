"""The counts of one partition of outcome-deltas. Pure: takes records and times, returns records to write.

It is exact even if processes die at any moment and records are read twice:

- A bucket holds the offset of the last delta that is counted in it. A delta that is read again changes nothing.
- The position, the offset at which reading continues, is itself in the changelog, written after the buckets. The group's
  committed offset does not matter.
- Buckets close at `closed_before`. It is written before any bucket is removed, and only while no bucket is ahead of the
  position, so that a delta that is read again cannot belong to a removed bucket in which it was counted.
- A delta whose bucket is closed, or lies in the far future, is counted under the outcome "late_delta", in the bucket of its own
  arrival. So the sum of all that is published is the sum of all deltas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from forebay.schemas.aggregates import CHANGELOG_FORMAT, LATE
from forebay.stream.aggregate.bucket import Bucket, BucketKey, aggregates, decode_bucket, encode_bucket
from forebay.stream.aggregate.delta import CellKey, Delta
from forebay.stream.output.ledger import DELTA_BUCKET_MS

Rows = list[tuple[bytes, bytes | None]]
"""Key and value of each record; a value of None is a tombstone."""

MAX_AHEAD_MS: Final = 3_600_000
"""A bucket that begins later than this after its delta was written comes from a wrong clock. It would never close."""

_POSITION: Final = "position"


@dataclass(frozen=True, slots=True)
class Timing:
    """When buckets become final and are removed, in ms after their end."""

    final_after_ms: int
    closed_after_ms: int


@dataclass(frozen=True, slots=True)
class ClosedBuckets:
    """The records to write when buckets close, in this order: the final aggregates, the position, the tombstones."""

    finals: Rows
    position: Rows
    tombstones: Rows


class PartitionState:
    """The buckets of one partition, and the position in it."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.next_offset: int | None = None
        self.closed_before = 0
        self.buckets: dict[BucketKey, Bucket] = {}
        self.last_timestamp: int | None = None
        self._unwritten: set[BucketKey] = set()
        self._emitted: dict[BucketKey, int] = {}
        self._moved = False

    @classmethod
    def restore(cls, partition: int, rows: Mapping[bytes, bytes]) -> PartitionState:
        """Restore the state from changelog records; ignore those of other partitions. Restored buckets are published again."""
        state = cls(partition)
        for key, value in rows.items():
            number, _, rest = key.decode().partition("|")
            if number != str(partition):
                continue
            if rest == _POSITION:
                position = orjson.loads(value)
                state.next_offset, state.closed_before = position["next_offset"], position["closed_before"]
            else:
                start, version, model = rest.split("|", 2)
                state.buckets[BucketKey(int(start), int(version), model)] = decode_bucket(value)
        return state

    # ---- counting

    def apply(self, offset: int, timestamp: int, delta: Delta | None) -> None:
        """Count one record of the partition, in the order of offsets.

        timestamp: record timestamp, ms since the Unix epoch.
        delta: the parsed delta, or None for a record that is not a delta; the position passes it.
        """
        if self.next_offset is not None and offset < self.next_offset:
            return
        self.next_offset, self._moved = offset + 1, True
        self.last_timestamp = max(timestamp, self.last_timestamp or 0)
        if delta is None:
            return
        key, cell = BucketKey(delta.window_start, delta.version, delta.model), delta.cell
        window_end = delta.window_end
        if window_end <= self.closed_before or delta.window_start > timestamp + MAX_AHEAD_MS:
            own = self.buckets.get(key)
            if own is not None and offset <= own.applied:
                return
            start = max(timestamp // DELTA_BUCKET_MS * DELTA_BUCKET_MS, self.closed_before)
            key, cell = key._replace(window_start=start), CellKey(LATE, cell.stage, cell.kind)
            window_end = start + DELTA_BUCKET_MS
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = Bucket(window_end)
        if bucket.add(offset, cell, delta):
            self._unwritten.add(key)

    def take_changes(self) -> Rows:
        """Return what must be in the changelog before the records counted since the last call are acknowledged."""
        rows: Rows = [(self._key(key), encode_bucket(self.buckets[key])) for key in self._unwritten]
        if self._moved:
            rows.append(self._position())
        self._unwritten.clear()
        self._moved = False
        return rows

    # ---- publishing

    def take_updates(self, progress_ms: int | None, timing: Timing) -> Rows:
        """Return records for error-aggregates: every bucket that has changed since it was last published.

        progress_ms: time up to which all written deltas are counted, ms since the Unix epoch; None if unknown.
        """
        rows: Rows = []
        for key, bucket in self.buckets.items():
            final = progress_ms is not None and bucket.window_end + timing.final_after_ms <= progress_ms
            revision = bucket.revision(final=final)
            if revision > self._emitted.get(key, 0):
                rows += aggregates(self.partition, key, bucket, final=final)
                self._emitted[key] = revision
        return rows

    def close(self, progress_ms: int | None, timing: Timing) -> ClosedBuckets | None:
        """Remove the buckets whose time is over; None if there are none, or if they cannot be removed yet.

        Everything counted must be in the changelog. The caller writes the parts of the result in their order, each confirmed
        before the next.
        """
        if progress_ms is None or self.next_offset is None or self._unwritten:
            return None
        if any(bucket.applied >= self.next_offset for bucket in self.buckets.values()):
            return None  # not until those deltas have been read again
        cutoff = (progress_ms - timing.closed_after_ms) // DELTA_BUCKET_MS * DELTA_BUCKET_MS
        before = max(cutoff, self.closed_before)
        over = [key for key, bucket in self.buckets.items() if bucket.window_end <= before]
        if not over:
            return None  # `closed_before` alone need not be written: it protects only buckets that existed
        finals: Rows = []
        for key in over:
            bucket = self.buckets[key]
            if bucket.revision(final=True) > self._emitted.get(key, 0):
                finals += aggregates(self.partition, key, bucket, final=True)
        self.closed_before = before
        for key in over:
            del self.buckets[key]
            self._emitted.pop(key, None)
        return ClosedBuckets(finals, [self._position()], [(self._key(key), None) for key in over])

    def _key(self, key: BucketKey) -> bytes:
        return f"{self.partition}|{key.window_start}|{key.version}|{key.model}".encode()

    def _position(self) -> tuple[bytes, bytes]:
        value = {"format": CHANGELOG_FORMAT, "next_offset": self.next_offset, "closed_before": self.closed_before}
        return f"{self.partition}|{_POSITION}".encode(), orjson.dumps(value)


def merge_changelog(rows: dict[bytes, bytes], changes: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Merge changelog records, in their order, into `rows`.

    The newest record is not always the right one: a member that was presumed dead may have written after its successor. Both
    compute the same, up to different offsets. So the bucket that has counted further is kept, and the larger positions.
    """
    for key, value in changes:
        if value is None:
            rows.pop(key, None)
        elif (known := rows.get(key)) is None:
            rows[key] = value
        else:
            rows[key] = _merge_values(known, value)


def _merge_values(first: bytes, second: bytes) -> bytes:
    a, b = orjson.loads(first), orjson.loads(second)
    if "applied" in a:
        return second if b["applied"] >= a["applied"] else first
    both = {name: max(a[name], b[name]) for name in ("next_offset", "closed_before")}
    return orjson.dumps({"format": CHANGELOG_FORMAT, **both})

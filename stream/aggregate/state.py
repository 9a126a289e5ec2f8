"""All that is counted of one partition of outcome-deltas. Pure: takes records and times, gives records to write.

What keeps it right when processes die at any moment and records come twice:

- A window holds the offset of the last delta that is in it. A delta that comes again changes nothing.
- The position, the offset from which reading goes on, is itself in the changelog, written after the windows. Where the
  group's committed offset is does not matter.
- Windows close at `closed_before`. It is written before any window is removed, and only while no window is ahead of the
  position, so that a delta that comes again can never meet a removed window in which it was counted.
- A delta whose window is closed, or lies in the far future, is counted under the outcome "late_delta", in the window of its own
  arrival. So the sum of all that is given out is the sum of all that came in.
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
"""Windows that begin so long after their delta was written are of producers whose clock is wrong. They would never close."""

_POSITION: Final = "position"


@dataclass(frozen=True, slots=True)
class Timing:
    """In ms. final_after: a window is final so long after its end; closed_after: it is removed."""

    final_after_ms: int
    closed_after_ms: int


@dataclass(frozen=True, slots=True)
class ClosedBuckets:
    """What is written when windows close, one after the other: finals, then the position, then the tombstones."""

    finals: Rows
    position: Rows
    tombstones: Rows


class PartitionState:
    """The windows of one partition, and the position in it."""

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
        """From the changelog's records; those of other partitions are left out. What is restored is emitted again."""
        state = cls(partition)
        for key, value in rows.items():
            number, _, rest = key.decode().partition("|")
            if number != str(partition):
                continue
            if rest == _POSITION:
                said = orjson.loads(value)
                state.next_offset, state.closed_before = said["next_offset"], said["closed_before"]
            else:
                start, version, model = rest.split("|", 2)
                state.buckets[BucketKey(int(start), int(version), model)] = decode_bucket(value)
        return state

    # ---- counting

    def apply(self, offset: int, timestamp: int, delta: Delta | None) -> None:
        """Count one record of the partition, in the order of offsets. timestamp: the record's own, ms since the epoch.

        A delta of None is a record that is none: the position passes it.
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
            there = self.buckets.get(key)
            if there is not None and offset <= there.applied:
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

    # ---- giving out

    def take_updates(self, progress_ms: int | None, timing: Timing) -> Rows:
        """Return records for error-aggregates: every window that has changed since it was last emitted.

        progress_ms: up to when everything that was written is counted, ms since the epoch; None where that is unknown.
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
        """Remove the windows whose time is over. None where there is nothing to do.

        All of what was counted has to be in the changelog. The caller writes the parts of the answer in their order, each
        confirmed before the next.
        """
        if progress_ms is None or self.next_offset is None or self._unwritten:
            return None
        if any(bucket.applied >= self.next_offset for bucket in self.buckets.values()):
            return None  # not before those deltas came again
        cutoff = (progress_ms - timing.closed_after_ms) // DELTA_BUCKET_MS * DELTA_BUCKET_MS
        before = max(cutoff, self.closed_before)
        over = [key for key, bucket in self.buckets.items() if bucket.window_end <= before]
        if not over:
            return None  # the mark alone needs no writing: it keeps deltas from windows that were there
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
    """Bring changelog records, in their order, into `rows`.

    Not simply the newest: a member that was thought dead may have written after its successor. What it wrote is the same
    computation, only older or further, so the window that has counted further holds; of positions both parts only grow.
    """
    for key, value in changes:
        if value is None:
            rows.pop(key, None)
        elif (there := rows.get(key)) is None:
            rows[key] = value
        else:
            rows[key] = _merge_values(there, value)


def _merge_values(one: bytes, other: bytes) -> bytes:
    a, b = orjson.loads(one), orjson.loads(other)
    if "applied" in a:
        return other if b["applied"] >= a["applied"] else one
    both = {name: max(a[name], b[name]) for name in ("next_offset", "closed_before")}
    return orjson.dumps({"format": CHANGELOG_FORMAT, **both})

"""The micro-batcher decides when to close a micro-batch. Pure: parts and the time go in, closed micro-batches come out.

A micro-batch closes for the first of these reasons:
- `size`: it holds `max_batch_size` records;
- `bytes`: one more record would exceed `max_batch_bytes`;
- `delay`: `max_queue_delay_ms` have passed since its *first* record arrived; with an objective, as soon after that as the
  model has room for it (see `pipeline.device_feed`);
- `deadline`: `max_queue_delay_ms` remain until the earliest deadline of its events, so that the model has as much time as the
  queue was allowed;
- `epoch`: a record of another epoch arrives;
- `idle`: no other micro-batch waits for the next commit, or it holds windows that were closed by the wall clock;
- `empty`: it is a part without rows, which does not wait for the model (only with several models);
- `priority`: a later event of one of its partitions is urgent, and the order of the partition is kept;
- `flush`: what is in flight must be committed now: the worker drains, partitions are revoked, or reading cannot continue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count

from forebay.stream.core.records import BatchPart, MicroBatch


class MicroBatcher:
    """Collects parts in order of arrival into micro-batches of at most `max_batch_size` records.

    Rejected records count as well, so that micro-batches close even if no record of a topic is valid. A record larger than
    `max_batch_bytes` forms its own micro-batch.

    waits_for_device: whether the micro-batch stays open for further records while the model is busy. `DeviceFeed` reads it.
    sequence: the sequence numbers of the micro-batches; None to count from 0.
    """

    def __init__(
        self,
        *,
        max_batch_size: int,
        max_batch_bytes: int,
        max_queue_delay_ms: float,
        sequence: Iterator[int] | None = None,
    ) -> None:
        self._max_batch_size = max_batch_size
        self._max_batch_bytes = max_batch_bytes
        self._max_queue_delay_s = max_queue_delay_ms / 1000
        self._sufficient_size = max_batch_size
        self._chunks: list[BatchPart] = []
        self._size = 0
        self._num_bytes = 0
        self._opened_s = 0.0
        self._close_at_s = math.inf
        self._reason = "delay"
        self.waits_for_device = False
        self._not_before_s = -math.inf
        self._sequence = count() if sequence is None else sequence
        self._siblings: list[MicroBatcher] = []

    def sibling(self, *, max_queue_delay_ms: float | None = None) -> MicroBatcher:
        """Return one with the same limits whose micro-batches are numbered together with those of this one.

        Its largest size stays that of this one when `set_limits` changes it.
        max_queue_delay_ms: None for the same.
        """
        delay_ms = self._max_queue_delay_s * 1000 if max_queue_delay_ms is None else max_queue_delay_ms
        sibling = MicroBatcher(
            max_batch_size=self._max_batch_size,
            max_batch_bytes=self._max_batch_bytes,
            max_queue_delay_ms=delay_ms,
            sequence=self._sequence,
        )
        self._siblings.append(sibling)
        return sibling

    @property
    def max_batch_size(self) -> int:
        """The largest size of a micro-batch, in records or rows."""
        return self._max_batch_size

    @property
    def size(self) -> int:
        """The size of the open micro-batch, at most `max_batch_size`."""
        return self._size

    @property
    def parts(self) -> Sequence[BatchPart]:
        """The parts of the open micro-batch."""
        return self._chunks

    def set_limits(self, *, max_batch_size: int, max_queue_delay_s: float, sufficient_size: int) -> None:
        """Set other limits, also for the open micro-batch. One that holds more already closes with the next part.

        sufficient_size: a micro-batch of this size waits for no further records.
        """
        self._max_batch_size = max_batch_size
        self._sufficient_size = sufficient_size
        self._max_queue_delay_s = max_queue_delay_s
        for sibling in self._siblings:
            sibling._max_batch_size = sibling._sufficient_size = max_batch_size
        if self._chunks:
            self._close_at_s = min(self._close_at_s, self._opened_s + max_queue_delay_s)

    def close_at_s(self) -> float:
        """Return the monotonic time at which the open micro-batch closes by itself; infinity without an open one."""
        return max(self._close_at_s, self._not_before_s)

    def hold_until(self, at_s: float) -> None:
        """Do not close a micro-batch by time before this time."""
        self._not_before_s = at_s

    def add(self, chunk: BatchPart, *, now_s: float, wall_ms: int) -> list[MicroBatch]:
        """Add a part and return the micro-batches that it closed, oldest first."""
        closed: list[MicroBatch] = []
        if self._chunks and self._chunks[0].epoch != chunk.epoch:
            closed.extend(self.flush(reason="epoch"))
        elif self._size >= self._max_batch_size:
            closed.extend(self.flush(reason="size"))  # the limit was lowered meanwhile
        rest: BatchPart | None = chunk
        while rest is not None:
            room = self._max_batch_size - self._size
            head, tail = (rest, None) if rest.size <= room else rest.split(room)
            if self._num_bytes + head.num_bytes > self._max_batch_bytes:
                fit = head.size_within(self._max_batch_bytes - self._num_bytes)
                if fit == 0 and self._chunks:
                    closed.extend(self.flush(reason="bytes"))
                    continue
                fit = max(fit, 1)
                if fit < rest.size:
                    head, tail = rest.split(fit)
                self._append(head, now_s, wall_ms)
                closed.extend(self.flush(reason="bytes"))
            else:
                self._append(head, now_s, wall_ms)
                if self._size >= self._max_batch_size:
                    closed.extend(self.flush(reason="size"))
            rest = tail
        return closed

    def close_alone(self, part: BatchPart, *, now_s: float) -> MicroBatch:
        """Return a micro-batch of this part alone, without closing the open one."""
        return MicroBatch(next(self._sequence), (part,), "empty", now_s)

    def poll(self, *, now_s: float) -> list[MicroBatch]:
        """Close and return the open micro-batch if its time has come."""
        is_due = bool(self._chunks) and now_s >= self._close_at_s and now_s >= self._not_before_s
        return self.flush(reason=self._reason) if is_due else []

    def flush(self, *, reason: str = "flush") -> list[MicroBatch]:
        """Close and return the open micro-batch, if there is one."""
        if not self._chunks:
            return []
        batch = MicroBatch(next(self._sequence), tuple(self._chunks), reason, self._opened_s)
        self.purge()
        return [batch]

    def purge(self) -> None:
        """Drop the open micro-batch. Its records will be read again."""
        self._chunks = []
        self._size = 0
        self._num_bytes = 0
        self._close_at_s = math.inf
        self._reason = "delay"

    def _append(self, chunk: BatchPart, now_s: float, wall_ms: int) -> None:
        if not self._chunks:
            self._opened_s = now_s
            self._close_at_s = now_s + self._max_queue_delay_s
        self._chunks.append(chunk)
        self._size += chunk.size
        self._num_bytes += chunk.num_bytes
        if self._size >= self._sufficient_size:
            self._close_at_s = min(self._close_at_s, now_s)
        if chunk.deadlines:
            remaining_s = (min(chunk.deadlines.values()) - wall_ms) / 1000
            close_at_s = now_s + remaining_s - self._max_queue_delay_s
            if close_at_s < self._close_at_s:
                self._close_at_s = close_at_s
                self._reason = "deadline"

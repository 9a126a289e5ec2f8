"""Writes what was counted as records of the topic `quality`. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from forebay.stream.core.outputs import Outgoing, OutputTopic
from forebay.stream.core.records import TopicPartition
from forebay.stream.evaluate.joins import Snapshot
from forebay.stream.kafka.producer.producer import hash_key
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.wire import LabelProgress, QualityParts, encode_parts

log = logging.getLogger("forebay.evaluate")

RECORD_BYTES: Final = 200
"""What a record takes in a batch besides its key and value, at most."""


class QualityRecords:
    """Encodes snapshots.

    group: the consumer group of the evaluators. worker: the process that counts.
    """

    def __init__(self, topic: OutputTopic, *, window_s: int, horizon_ms: int, group: str, worker: str) -> None:
        self._topic = topic
        self._window_s = window_s
        self._horizon_ms = horizon_ms
        self._group = group
        self._worker = worker
        self._progress: dict[int, int] = {}
        self._unlabelled: set[int] = set()
        self._newest_window: int | None = None

    def encode(self, snapshot: Snapshot) -> dict[TopicPartition, Outgoing]:
        """Return the records of a snapshot by partition. Those of a key are in one partition."""
        outgoing: dict[TopicPartition, Outgoing] = {}
        for key, parts in self._parts(snapshot):
            for record_key, value in self._encoded(key, parts):
                number = hash_key(record_key) % self._topic.num_partitions
                records = outgoing.setdefault(TopicPartition(self._topic.name, number), Outgoing())
                records.keys.append(record_key)
                records.values.append(value)
                records.headers.append([])
        return outgoing

    def on_committed(self, snapshot: Snapshot) -> None:
        """Remember the progress that was written."""
        self._progress.update(snapshot.label_times)
        self._unlabelled |= snapshot.unlabelled
        self._newest_window = self._newest(snapshot)

    def _parts(self, snapshot: Snapshot) -> Iterator[tuple[QualityKey, QualityParts]]:
        for (key, _), (sums, blocks) in snapshot.sums.items():
            yield key, QualityParts(sums=sums, blocks=blocks)  # type: ignore[arg-type]
        for (ref, window_start, _), paired in snapshot.paired.items():
            # One record for each version that served, under the key of the shadow.
            yield QualityKey(ref.model, ref.shadow, window_start), QualityParts(paired=paired)
        labels = {key: QualityParts(labels=counts) for key, counts in snapshot.labels.items() if not counts.is_empty}
        until_ms, unlabelled = snapshot.label_times, snapshot.unlabelled
        has_changed = any(self._progress.get(number) != time_ms for number, time_ms in until_ms.items())
        # Once in each window too: a reader of the last day must know a partition whose labels ended before.
        is_due = self._newest(snapshot) != self._newest_window and (until_ms or unlabelled)
        if has_changed or is_due or unlabelled - self._unlabelled:
            # All partitions of this process: a reader may not have read the records before.
            window_ms = self._window_s * 1000
            key = QualityKey("", 0, max(until_ms.values(), default=0) // window_ms * window_ms)
            progress = LabelProgress(
                horizon_ms=self._horizon_ms, until_ms=dict(until_ms), unlabelled=sorted(unlabelled)
            )
            labels[key] = replace(labels.get(key, QualityParts()), progress=progress)
        yield from labels.items()

    def _newest(self, snapshot: Snapshot) -> int | None:
        """Return the newest window so far in which something was counted."""
        starts = [key.window_start for key, _ in snapshot.sums]
        return max(starts if self._newest_window is None else [*starts, self._newest_window], default=None)

    def _encoded(self, key: QualityKey, parts: QualityParts) -> Iterator[tuple[bytes, bytes]]:
        """Yield one record, or one for each part if it is too large otherwise."""
        record = self._encode(key, parts)
        if self._fits(record):
            yield record
            return
        for name in ("sums", "labels", "progress", "blocks", "paired"):
            part = getattr(parts, name)
            if part is None:
                continue
            record = self._encode(key, QualityParts(**{name: part}))
            if self._fits(record):
                yield record
            else:
                log.error(
                    "the %s of %s version %d have %d bytes, more than the topic %s or output.max_request_size allows (%d); "
                    "they are lost",
                    name,
                    key.model,
                    key.version,
                    len(record[1]),
                    self._topic.name,
                    self._topic.max_bytes,
                )

    def _encode(self, key: QualityKey, parts: QualityParts) -> tuple[bytes, bytes]:
        return encode_parts(key, parts, window_s=self._window_s, group=self._group, worker=self._worker)

    def _fits(self, record: tuple[bytes, bytes]) -> bool:
        return len(record[0]) + len(record[1]) + RECORD_BYTES <= self._topic.max_bytes

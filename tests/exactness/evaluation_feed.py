"""Random predictions and labels for proofs of the evaluator: out of order, doubled, corrected, early, late or missing."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition

from tests.brokers.clients import producer, send_batch

HORIZON_S: Final = 3_600
EARLY_S: Final = 900
WINDOW_S: Final = 1_800
MEAN_DELAY_S: Final = 900.0
DISORDER_S: Final = 60.0
SHARE_DOUBLED: Final = 0.05
SHARE_CORRECTED: Final = 0.02
SHARE_EARLY: Final = 0.01
SHARE_NEVER: Final = 0.1
SHARE_BAD: Final = 0.002
SHARE_FIRST: Final = 0.7
BAD_LABELS: Final = (b"not json", b"[]", b'{"id":"x"}', b'{"id":"x","label":1,"timestamp":"today"}', b"\xff\xfe", b"{}")


class Item(NamedTuple):
    """A record to write. at_ms: event time at which it is written."""

    at_ms: float
    topic: str
    partition: int
    key: bytes
    value: bytes


def items(
    rng: random.Random, *, count: int, partitions: int, start_ms: int, step_ms: int, topics: Sequence[str]
) -> list[Item]:
    """Return predictions and their labels in the order in which they are written.

    count: number of predictions.
    step_ms: event time between two predictions.
    topics: of predictions; the first one has most of them.
    """
    made: list[Item] = []
    for number in range(count):
        topic = topics[0] if rng.random() < SHARE_FIRST else rng.choice(topics)
        made += _items_of(rng, number, topic, partitions, time_ms=start_ms + number * step_ms)
    return sorted(made)


def _items_of(rng: random.Random, number: int, topic: str, partitions: int, *, time_ms: int) -> Iterator[Item]:
    event_id, key, partition = f"event-{number}", b"key-%d" % (number % 997), number % partitions
    model, version = ("late", rng.choice((3, 4))) if rng.random() < 0.8 else ("fraud", 1)
    event_ms = time_ms - rng.randrange(30_000)
    score = round(rng.random(), 4)
    truth = int(rng.random() < score)
    prediction = {
        "id": event_id,
        "model": model,
        "version": version,
        "prediction": [score],
        "confidence": max(score, 1 - score),
        "class": int(score >= 0.5),
        "label": None,
        "source": {"topic": "features", "partition": partition, "offset": number, "timestamp": event_ms},
    }
    yield Item(time_ms, topic, partition, key=key, value=_json(prediction))

    def label(value: int, delay_s: float) -> Item:
        label_ms = time_ms + delay_s * 1000
        document: dict[str, object] = {
            "id": event_id,
            "label": rng.choice((value, bool(value))),
            "timestamp": int(label_ms),
        }
        if rng.random() < 0.3:
            document["model"] = model
        written_ms = label_ms + rng.random() * DISORDER_S * 1000
        return Item(written_ms, "labels", partition, key=key, value=_json(document))

    if rng.random() < SHARE_BAD:
        yield Item(time_ms, "labels", partition, key=key, value=rng.choice(BAD_LABELS))
    if rng.random() < SHARE_NEVER:
        return
    delay_s = -rng.uniform(1, EARLY_S) if rng.random() < SHARE_EARLY else rng.expovariate(1 / MEAN_DELAY_S)
    yield label(truth, delay_s)
    if rng.random() < SHARE_DOUBLED:
        yield label(truth, delay_s + rng.expovariate(1 / MEAN_DELAY_S))
    if rng.random() < SHARE_CORRECTED:
        yield label(1 - truth, delay_s + rng.expovariate(1 / MEAN_DELAY_S))


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


async def write(bootstrap: str, prefix: str, feed: list[Item], *, over_s: float, batches: int) -> Counter[str]:
    """Write the items in order, in batches that are spread over some seconds; return the number of records by topic."""
    written: Counter[str] = Counter()
    size = max(1, -(-len(feed) // batches))
    async with producer(bootstrap) as client:
        for start in range(0, len(feed), size):
            await _write_batch(client, prefix, feed[start : start + size])
            written.update(item.topic for item in feed[start : start + size])
            await asyncio.sleep(over_s / batches)
    return written


async def _write_batch(client: AIOKafkaProducer, prefix: str, feed: list[Item]) -> None:
    by_partition: dict[TopicPartition, list[Item]] = {}
    for item in feed:
        by_partition.setdefault(TopicPartition(prefix + item.topic, item.partition), []).append(item)
    for partition, own in by_partition.items():
        await send_batch(client, partition, [item.value for item in own], keys=[item.key for item in own])

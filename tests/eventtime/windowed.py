"""Keyed events for real workers, and the expected outcomes, computed from the log by the slow reference."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from aiokafka import ConsumerRecord

from forebay.stream.eventtime.spec import WindowSpec
from tests.brokers.clients import read_committed
from tests.core.build import JULY
from tests.eventtime import reference
from tests.eventtime.reference import Event
from tests.eventually import eventually
from tests.worker.echo import NUM_FEATURES, STEPS, feature_hash
from tests.worker.harness import WorkerGroup, total

MAX_ROWS: Final = 10_000
GARBAGE: Final = b'{"id":'


def make_events(
    rng: random.Random, count: int, *, partitions: int, keys: int
) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """Return values and record keys by partition. Event time advances by 1 to 20 ms; some events are late, some garbage."""
    values: list[list[bytes]] = [[] for _ in range(partitions)]
    record_keys: list[list[bytes]] = [[] for _ in range(partitions)]
    numbers = np.random.default_rng(rng.randrange(1 << 32))
    t = JULY
    for number in range(count):
        t += rng.randint(1, 20)
        back = rng.randint(0, 300) if rng.random() < 0.2 else rng.randint(2000, 9000) if rng.random() < 0.02 else 0
        key = rng.randrange(keys)
        features = numbers.normal(size=NUM_FEATURES).astype(np.float32).tolist()
        event = orjson.dumps({"id": f"{number}", "timestamp": t - back, "features": features})
        partition = key % partitions
        values[partition].append(GARBAGE if rng.random() < 0.01 else event)
        record_keys[partition].append(b"key-%d" % key)
    return values, record_keys


def expected_of(
    spec: WindowSpec, records: Sequence[ConsumerRecord]
) -> tuple[Counter[str], dict[str, tuple[int, float]]]:
    """Return the outcomes in one partition's log, and its windows by id: number of events and the model's output."""
    events, rows = [], {}
    outcomes: Counter[str] = Counter()
    for record in records:
        if record.value == GARBAGE:
            outcomes["rejected"] += 1
            continue
        event = orjson.loads(record.value)
        events.append(Event(record.offset, record.key, event["timestamp"]))
        rows[record.offset] = np.array(event["features"], dtype=np.float32)
    result, still_open, _ = reference.windows(spec, events, max_rows=MAX_ROWS)
    outcomes["late"] = len(result.late)
    outcomes["accepted"] = len(events) - len(result.late)
    windows = {}
    for key, start, end, offsets, _ in [closed[1:] for closed in result.closed] + [
        reference.described(window) for window in still_open
    ]:
        x_TW = np.zeros((STEPS, NUM_FEATURES + 1), dtype=np.float32)
        for step, offset in enumerate(offsets[-STEPS:]):
            x_TW[step] = [*rows[offset], 1.0]
        windows[f"{key.decode()}|{start}|{end}"] = (len(offsets), feature_hash(x_TW))
    return outcomes, windows


async def expected_of_all(
    worker_group: WorkerGroup, spec: WindowSpec
) -> tuple[int, Counter[str], dict[str, tuple[int, float]]]:
    """Return the number of input records, their outcomes, and the windows by id."""
    log = await read_committed(worker_group.bootstrap, worker_group.topic("features"), worker_group.partitions)
    outcomes: Counter[str] = Counter()
    expected: dict[str, tuple[int, float]] = {}
    for partition in range(worker_group.partitions):
        partition_outcomes, windows = expected_of(spec, [record for record in log if record.partition == partition])
        outcomes += partition_outcomes
        expected |= windows
    return len(log), outcomes, expected


async def all_closed(worker_group: WorkerGroup, spec: WindowSpec, *, timeout_s: float = 60.0) -> None:
    """Wait until each window of the input has a prediction, including those that only the wall clock closes."""
    _, _, expected = await expected_of_all(worker_group, spec)

    async def missing() -> list[str]:
        seen = {orjson.loads(record.value)["id"] for record in await worker_group.outputs("predictions")}
        return sorted(expected.keys() - seen)

    await eventually(
        missing,
        f"no window of {len(expected)} without a prediction",
        until=lambda ids: not ids,
        timeout_s=timeout_s,
        every_s=0.5,
    )


async def check(worker_group: WorkerGroup, spec: WindowSpec) -> dict[str, Any]:
    """Compare both ledgers with the log, window by window and event by event; return the counts for reports."""
    num_records, outcomes, expected = await expected_of_all(worker_group, spec)
    predictions = await worker_group.outputs("predictions")
    seen = Counter(orjson.loads(record.value)["id"] for record in predictions)
    assert [window for window, count in seen.items() if count > 1][:5] == [], "windows emitted twice"
    assert sorted(expected.keys() - seen.keys())[:5] == [], "lost windows"
    assert sorted(seen.keys() - expected.keys())[:5] == [], "unexpected windows"
    for record in predictions:
        value = orjson.loads(record.value)
        num_events, output = expected[value["id"]]
        assert (value["window"]["events"], value["prediction"]) == (num_events, [output]), value
    deltas = await worker_group.outputs("outcome-deltas")
    counts = {outcome: total(deltas, outcome=outcome) for outcome in ("accepted", "late", "rejected", "failed")}
    assert counts == {outcome: outcomes[outcome] for outcome in counts}
    assert sum(counts.values()) == num_records, "every event has one outcome"
    windows = {outcome: total(deltas, outcome=outcome) for outcome in ("window_predicted", "window_failed")}
    assert windows == {"window_predicted": len(expected), "window_failed": 0}
    assert len(await worker_group.outputs("late-events")) == outcomes["late"]
    return {"events": num_records, **counts, "windows": len(expected)}

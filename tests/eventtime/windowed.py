"""Keyed events over event time for real workers, and what must come of them, from the log by the slow reference."""

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
    """Values and record keys by partition: event time goes on by 1 to 20 ms each, some events are late, some no events."""
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
        place = key % partitions
        values[place].append(GARBAGE if rng.random() < 0.01 else event)
        record_keys[place].append(b"key-%d" % key)
    return values, record_keys


def expected_of(
    spec: WindowSpec, records: Sequence[ConsumerRecord]
) -> tuple[Counter[str], dict[str, tuple[int, float]]]:
    """Of one partition's log: how many events had which outcome, and the windows by id: events and the model's answer."""
    events, rows = [], {}
    outcomes: Counter[str] = Counter()
    for record in records:
        if record.value == GARBAGE:
            outcomes["rejected"] += 1
            continue
        said = orjson.loads(record.value)
        events.append(Event(record.offset, record.key, said["timestamp"]))
        rows[record.offset] = np.array(said["features"], dtype=np.float32)
    said, still_open, _ = reference.windows(spec, events, max_rows=MAX_ROWS)
    outcomes["late"] = len(said.late)
    outcomes["accepted"] = len(events) - len(said.late)
    found = {}
    for key, start, end, offsets, _ in [one[1:] for one in said.closed] + [
        reference.described(one) for one in still_open
    ]:
        x_TW = np.zeros((STEPS, NUM_FEATURES + 1), dtype=np.float32)
        for step, offset in enumerate(offsets[-STEPS:]):
            x_TW[step] = [*rows[offset], 1.0]
        found[f"{key.decode()}|{start}|{end}"] = (len(offsets), feature_hash(x_TW))
    return outcomes, found


async def expected_of_all(
    worker_group: WorkerGroup, spec: WindowSpec
) -> tuple[int, Counter[str], dict[str, tuple[int, float]]]:
    """The input's number of records, its outcomes, and its windows by id."""
    log = await read_committed(worker_group.bootstrap, worker_group.topic("features"), worker_group.partitions)
    outcomes: Counter[str] = Counter()
    expected: dict[str, tuple[int, float]] = {}
    for place in range(worker_group.partitions):
        some, found = expected_of(spec, [record for record in log if record.partition == place])
        outcomes += some
        expected |= found
    return len(log), outcomes, expected


async def all_closed(worker_group: WorkerGroup, spec: WindowSpec, *, timeout_s: float = 60.0) -> None:
    """Wait until each window of the input has a prediction, those that only the wall clock closes too."""
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
    """Both ledgers, window by window and event by event, against the log. What was seen, for reports."""
    num_records, outcomes, expected = await expected_of_all(worker_group, spec)
    predictions = await worker_group.outputs("predictions")
    seen = Counter(orjson.loads(record.value)["id"] for record in predictions)
    assert [one for one, count in seen.items() if count > 1][:5] == [], "windows that were given out twice"
    assert sorted(expected.keys() - seen.keys())[:5] == [], "windows that are lost"
    assert sorted(seen.keys() - expected.keys())[:5] == [], "windows that there should not be"
    for record in predictions:
        said = orjson.loads(record.value)
        assert (said["window"]["events"], said["prediction"]) == (expected[said["id"]][0], [expected[said["id"]][1]]), (
            said
        )
    deltas = await worker_group.outputs("outcome-deltas")
    told = {outcome: total(deltas, outcome=outcome) for outcome in ("accepted", "late", "rejected", "failed")}
    assert told == {outcome: outcomes[outcome] for outcome in told}
    assert sum(told.values()) == num_records, "every event has one outcome"
    windows = {outcome: total(deltas, outcome=outcome) for outcome in ("window_predicted", "window_failed")}
    assert windows == {"window_predicted": len(expected), "window_failed": 0}
    assert len(await worker_group.outputs("late-events")) == outcomes["late"]
    return {"events": num_records, **told, "windows": len(expected)}

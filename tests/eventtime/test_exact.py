"""Real workers on a real Kafka, killed while windows are open: both ledgers are exact, and nothing is emitted twice."""

from __future__ import annotations

import asyncio
import random
import time
import zlib

import orjson
import pytest

from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from tests.core.build import JULY
from tests.eventtime.windowed import all_closed, check, make_events
from tests.worker.harness import WorkerGroup, WorkerProcess

SPEC = WindowSpec(WindowKind.HOPPING, size_ms=2000, hop_ms=1000, gap_ms=0, out_of_orderness_ms=500, lateness_ms=250)
WINDOW = {
    "kind": "hopping",
    "size_ms": 2000,
    "hop_ms": 1000,
    "max_out_of_orderness_ms": 500,
    "allowed_lateness_ms": 250,
    "idle_timeout_ms": 2000,
    "late_events_topic": True,
}


def start(
    worker_group: WorkerGroup, *, name: str = "one", window: dict[str, object] | None = None, **more: object
) -> WorkerProcess:
    """Start a static member, so that its successor does not wait for the session timeout."""
    return worker_group.start(
        mode="windows",
        kafka={"group_instance_id": name},
        delivery={"instance_id": name},
        window=window or WINDOW,
        limits={"max_in_flight_events": 256},  # many commits
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.slow
async def test_workers_killed_at_every_step_of_a_commit_lose_and_repeat_no_window(worker_group: WorkerGroup) -> None:
    await worker_group.create_for_windows()
    rng = random.Random(5)
    # Publish everything before the first worker: an idle partition gets no further events, so that it is known what closes.
    await worker_group.send(*make_events(rng, 24_000, partitions=worker_group.partitions, keys=60))
    for name, at in (("after_deliveries", 12), ("after_txn_offset_commit", 8), ("after_end_txn_sent", 14)):
        worker = start(worker_group, failpoints={name: {"do": "kill", "at": at}})
        assert await worker.ended() == -9, worker.log
    # Half of the events that are left take more commits than this, so that it is killed however soon the second one joins.
    first = start(worker_group, failpoints={"after_txn_offset_commit": {"do": "kill", "at": 25}})
    await first.ready()
    second = start(worker_group, name="two")  # a rebalance while windows are open
    assert await first.ended() == -9, first.log
    third = start(worker_group)
    await third.ready()
    await worker_group.settled()
    await all_closed(worker_group, SPEC)
    assert await third.stop() == 0 and await second.stop() == 0
    assert (await worker_group.committed()) == (await worker_group.ends()), "the lag is correct"
    logs = "".join(worker.log for worker in worker_group.workers)
    assert logs.count("rebuilding the open windows") >= 4 and logs.count("open windows are rebuilt") >= 4
    seen = await check(worker_group, SPEC)
    assert seen["late"] > 20 and seen["rejected"] > 20 and seen["windows"] > 500


@pytest.mark.exactness
async def test_workers_killed_between_slices_lose_and_repeat_no_window(worker_group: WorkerGroup) -> None:
    await worker_group.create_for_windows()
    spec = WindowSpec(WindowKind.TUMBLING, size_ms=2000, hop_ms=2000, gap_ms=0, out_of_orderness_ms=500, lateness_ms=0)
    window = {"kind": "tumbling", "size_ms": 2000, "max_out_of_orderness_ms": 500, "idle_timeout_ms": 60_000}
    batch = {"max_batch_size": 16}

    def event(number: int, t: int) -> bytes:
        return orjson.dumps({"id": f"{number}", "timestamp": JULY + t, "features": [number, 1.0, 2.0, 3.0]})

    others = [[event(number, 0)] for number in range(4001, 4000 + worker_group.partitions)]  # no partition is empty
    await worker_group.send(
        [[event(number, number // 4) for number in range(3000)], *others],
        [[b"%d" % number for number in range(3000)], *[[b"other-%d" % place] for place, _ in enumerate(others)]],
    )
    opening = start(worker_group, window=window, batch=batch)
    await opening.ready()
    await worker_group.settled()
    opening.kill()
    await worker_group.send([[event(3000, 3000)]], [[b"last"]])  # closes 3,000 windows
    for name, at in (("after_txn_offset_commit", 3), ("after_end_txn_sent", 4)):
        worker = start(worker_group, window=window, batch=batch, failpoints={name: {"do": "kill", "at": at}})
        assert await worker.ended() == -9, worker.log
    last = start(worker_group, window=window | {"idle_timeout_ms": 1000}, batch=batch)
    await all_closed(worker_group, spec)
    await worker_group.settled()
    assert await last.stop() == 0
    assert all("closed windows are still to be emitted" in worker.log for worker in worker_group.workers[2:])
    assert (await check(worker_group, spec))["windows"] == 3000 + worker_group.partitions


STORM = {
    "tumbling": WindowSpec(
        WindowKind.TUMBLING, size_ms=2000, hop_ms=2000, gap_ms=0, out_of_orderness_ms=500, lateness_ms=0
    ),
    "session": WindowSpec(
        WindowKind.SESSION, size_ms=60_000, hop_ms=0, gap_ms=800, out_of_orderness_ms=500, lateness_ms=200
    ),
}
STORM_S = 45.0
FAILPOINTS = ("before_begin", "after_deliveries", "after_txn_offset_commit", "after_end_txn_sent", "before_seek")


@pytest.mark.exactness
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", STORM)
async def test_many_kills_while_events_arrive_lose_and_repeat_no_window(worker_group: WorkerGroup, kind: str) -> None:
    """Run three workers and kill them again and again, at random times or in the middle of a commit."""
    await worker_group.create_for_windows()
    rng, spec = random.Random(zlib.crc32(kind.encode())), STORM[kind]
    section = WINDOW | {"kind": kind, "allowed_lateness_ms": spec.lateness_ms, "idle_timeout_ms": 15_000}
    del section["hop_ms"]
    if kind == "session":
        del section["size_ms"]
        section |= {"gap_ms": spec.gap_ms, "max_session_ms": spec.size_ms}
    values, keys = make_events(rng, 60_000, partitions=worker_group.partitions, keys=120)

    def enlist(name: str) -> WorkerProcess:
        points = {rng.choice(FAILPOINTS): {"do": "kill", "at": rng.randint(2, 60)}} if rng.random() < 0.5 else {}
        return start(worker_group, name=name, window=section, failpoints=points)

    crew = {name: enlist(name) for name in ("one", "two", "three")}
    deaths = 0
    end_s = time.monotonic() + STORM_S
    kill_at_s = time.monotonic() + 5
    sent = 0
    while (left_s := end_s - time.monotonic()) > 0:
        upto = round(len(values[0]) * (1 - left_s / STORM_S))
        await worker_group.send([part[sent:upto] for part in values], [part[sent:upto] for part in keys])
        sent = upto
        if time.monotonic() >= kill_at_s:
            crew[rng.choice(list(crew))].kill()
            kill_at_s = time.monotonic() + rng.uniform(2, 6)
        for name, worker in crew.items():
            if worker.process.poll() is not None:
                assert worker.process.returncode == -9, worker.log
                deaths += 1
                crew[name] = enlist(name)
        await asyncio.sleep(0.1)
    await worker_group.send([part[sent:] for part in values], [part[sent:] for part in keys])
    for worker in crew.values():
        worker.kill()
    last = start(worker_group, name="one", window=section)
    await worker_group.settled(90)
    await all_closed(worker_group, spec)
    assert await last.stop() == 0, last.log
    seen = await check(worker_group, spec)
    assert deaths >= 5 and seen["windows"] > 1000
    print({"storm": kind, "deaths": deaths, **seen})

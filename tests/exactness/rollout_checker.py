"""Exactly once under rollouts: every event has one outcome, of the version that the topics of rollouts give for it.

Records are checked as they are read, so that millions of events fit into memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiokafka import ConsumerRecord, TopicPartition

from forebay.stream.core.records import TopicPartition as Place
from forebay.stream.rollouts.allocation import Allocation
from forebay.stream.rollouts.revision import initial_revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.switch_log import SwitchLog
from tests.brokers.clients import consumer, read_committed
from tests.exactness.checker import Counts, none_of, until_stable
from tests.exactness.feed import Feed
from tests.exactness.linear_versions import MODEL
from tests.exactness.log_scan import scan
from tests.exactness.rollout_ledger import RolloutLedger
from tests.exactness.rollout_replay import Replay
from tests.worker.harness import WorkerGroup

CONFIGURED: Final = 1
"""The version in the configuration of the workers."""
COMPARED_KEYS: Final = 2000


@dataclass(frozen=True, slots=True)
class RolloutCounts:
    """What the rollouts of a run came to.

    refused: revisions that came too late.
    served: how many revisions have routed events.
    divided: how many revisions with a canary have predictions of it and of the stable version.
    predictions: by version.
    """

    revisions: int
    refused: int
    switches: int
    served: int
    divided: int
    predictions: dict[str, int] = field(default_factory=dict)


async def check_rollouts(worker_group: WorkerGroup, feed: Feed) -> tuple[Counts, RolloutCounts]:
    """Wait until no transaction is open, and check all records. Raises AssertionError with the first few violations."""
    await until_stable(worker_group)
    replay = await _read_replay(worker_group)
    none_of(replay.faults, "partitions went back")
    ledger = RolloutLedger(replay, await worker_group.ends())
    await _add_events(worker_group, feed, ledger)
    async for record in _stream(worker_group, "predictions"):
        ledger.add_prediction(record)
    async for record in _stream(worker_group, "dead-letters"):
        ledger.add_letter(record)
    none_of(ledger.faults(), "violations")
    await _check_deltas(worker_group, ledger)
    rollouts = RolloutCounts(
        revisions=len(replay.revisions) - 1,
        refused=replay.refused,
        switches=replay.num_switches,
        served=len(ledger.by_revision),
        divided=ledger.num_divided(),
        predictions={str(version): count for version, count in sorted(ledger.by_version.items())},
    )
    return await _counts(worker_group, ledger), rollouts


async def _stream(worker_group: WorkerGroup, name: str) -> AsyncIterator[ConsumerRecord]:
    """Yield all committed records of a topic."""
    places = [TopicPartition(worker_group.topic(name), number) for number in range(worker_group.partitions)]
    async with consumer(worker_group.bootstrap) as client:
        client.assign(places)
        ends = await client.end_offsets(places)
        await client.seek_to_beginning(*places)
        while any([await client.position(place) < ends[place] for place in places]):
            for batch in (await client.getmany(timeout_ms=200, max_records=5000)).values():
                for record in batch:
                    yield record


async def _read_replay(worker_group: WorkerGroup) -> Replay:
    """Read both topics of rollouts, and check that Forebay's own readers come to the same history."""
    revisions = await read_committed(worker_group.bootstrap, worker_group.topic("rollouts"), 1)
    switches = await read_committed(worker_group.bootstrap, worker_group.topic("rollout-switches"), 1)
    replay = Replay(
        MODEL,
        CONFIGURED,
        revisions=[(record.key, record.value) for record in revisions],
        switches=[(record.key, record.value) for record in switches],
    )
    log, switch_log = RevisionLog(), SwitchLog()
    for record in revisions:
        log.add(record.key, record.value, offset=record.offset, timestamp_ms=record.timestamp)
    for record in switches:
        switch_log.add_record(record.key, record.value, offset=record.offset, timestamp_ms=record.timestamp)
    assert log.number(MODEL) == len(replay.revisions) - 1
    assert not log.invalid and not switch_log.invalid and not switch_log.reversals
    keys = [b"key-%d" % number for number in range(COMPARED_KEYS)]
    for number in replay.revisions:
        revision = log.revision(MODEL, number) or initial_revision(MODEL, CONFIGURED)
        expected = [replay.version_of(number, key) for key in keys]
        assert Allocation.of(revision).versions_of(keys).tolist() == expected, f"revision {number}"
    for number in range(worker_group.partitions):
        place = Place(worker_group.topic("features"), number)
        for switch in switch_log.switches(MODEL, place):
            for offset in (switch.first_offset - 1, switch.first_offset):
                assert switch_log.revision_at(MODEL, place, offset) == replay.revision_at(number, offset)
    return replay


async def _add_events(worker_group: WorkerGroup, feed: Feed, ledger: RolloutLedger) -> None:
    """Note all events, and check that they are what the feed has committed."""
    unknown: Counter[str] = Counter()
    aborted: list[str] = []
    async for record in _stream(worker_group, "features"):
        event_id = ledger.add_event(record)
        if event_id in feed.aborted:
            aborted.append(event_id)
        elif event_id in feed.committed:
            feed.committed.discard(event_id)  # a second one is then unknown
        else:
            unknown[event_id] += 1
    none_of(aborted, "events were aborted and can be read")
    none_of((one for one, count in unknown.items() if count > 1), "events are twice in the input: the feed is wrong")
    none_of(feed.committed, "events were committed and cannot be read")


async def _check_deltas(worker_group: WorkerGroup, ledger: RolloutLedger) -> None:
    """Check that the counts of the workers are those of the outcomes, also by version."""
    counted: Counter[str] = Counter()
    predicted: Counter[int] = Counter()
    async for record in _stream(worker_group, "outcome-deltas"):
        delta = orjson.loads(record.value)
        counted[delta["kind"]] += delta["count"]
        if delta["kind"] == "predicted":
            predicted[delta["version"]] += delta["count"]
    expected = {"predicted": ledger.by_version.total(), **ledger.letters}
    assert counted == expected, f"the deltas sum up to {dict(counted)}, the outcomes are {expected}"
    assert predicted == ledger.by_version, f"deltas: {predicted}, predictions: {ledger.by_version}"


async def _counts(worker_group: WorkerGroup, ledger: RolloutLedger) -> Counts:
    logs = {
        name: await scan(worker_group.bootstrap, worker_group.topic(name), worker_group.partitions)
        for name in (*worker_group.inputs, *worker_group.output_topics)
    }
    outputs = [logs[name] for name in worker_group.output_topics]
    return Counts(
        events=ledger.num_events,
        predictions=ledger.by_version.total(),
        dead_letters=dict(sorted(ledger.letters.items())),
        aborted_input=max(max(logs[name].abort_markers.values(), default=0) for name in worker_group.inputs),
        aborted_output=len(set().union(*(log.aborted for log in outputs))),
        aborted_output_records=sum(log.aborted_records for log in outputs),
    )

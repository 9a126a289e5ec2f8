"""Exactly once under rollouts: every event has one outcome, of the version that the topics of rollouts give for it.

Records are checked as they are read, so that millions of events fit into memory.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import orjson
from aiokafka import ConsumerRecord, TopicPartition

from forebay.schemas import headers as names
from forebay.stream.config.sections import Settings
from forebay.stream.core.records import TopicPartition as Place
from forebay.stream.rollouts.allocation import Allocation
from forebay.stream.rollouts.revision import initial_revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.switch_log import SwitchLog
from tests.brokers.clients import consumer, read_committed
from tests.exactness.checker import Counts, none_of, until_stable
from tests.exactness.feed import ID_HEADER, KIND_HEADER, Feed
from tests.exactness.linear_versions import MODEL, OFFSET, TOLERANCE, weighted
from tests.exactness.log_scan import scan
from tests.exactness.rollout_feed import CUSTOMER
from tests.exactness.rollout_replay import Replay
from tests.worker.harness import WorkerGroup

CONFIGURED: Final = 1
"""The version in the configuration of the workers."""
MAX_FAULTS: Final = 20
_COMPARED_KEYS: Final = 2000


@dataclass(slots=True)
class _Partition:
    """What is known of the events of a partition, by offset.

    kinds: 0 for no event, 1 for a valid event, 2 and more for garbage (see `Check.kinds`).
    """

    kinds: np.ndarray[tuple[int], np.dtype[np.int8]]
    versions: np.ndarray[tuple[int], np.dtype[np.int32]]
    revisions: np.ndarray[tuple[int], np.dtype[np.int32]]
    totals: np.ndarray[tuple[int], np.dtype[np.float64]]
    outcomes: np.ndarray[tuple[int], np.dtype[np.int8]]


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


class RolloutCheck:
    """Checks a run. Raises AssertionError with the first few violations."""

    def __init__(self, worker_group: WorkerGroup, feed: Feed, settings: Settings) -> None:
        self._group = worker_group
        self._feed = feed
        self._settings = settings
        self._partitions: list[_Partition] = []
        self._kinds: list[str] = ["", "valid"]
        self._faults: list[str] = []
        self._letters: Counter[str] = Counter()
        self._by_version: Counter[int] = Counter()
        self._by_revision: dict[int, Counter[int]] = defaultdict(Counter)
        self._last_of_key: dict[tuple[str, bytes], int] = {}
        self.replay: Replay

    async def run(self) -> tuple[Counts, RolloutCounts]:
        await until_stable(self._group)
        self.replay = await self._read_replay()
        await self._read_events()
        async for record in self._stream("predictions"):
            self._check_prediction(record)
        async for record in self._stream("dead-letters"):
            self._check_letter(record)
        self._check_outcomes()
        await self._check_deltas()
        none_of(self.replay.faults, "partitions went back")
        return await self._counts(), self._rollout_counts()

    async def _read_replay(self) -> Replay:
        """Read both topics of rollouts, and check that Forebay's own readers come to the same history."""
        bootstrap = self._group.bootstrap
        revisions = await read_committed(bootstrap, self._group.topic("rollouts"), 1)
        switches = await read_committed(bootstrap, self._group.topic("rollout-switches"), 1)
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
        keys = [b"key-%d" % number for number in range(_COMPARED_KEYS)]
        for number in replay.revisions:
            revision = log.revision(MODEL, number) or initial_revision(MODEL, CONFIGURED)
            expected = [replay.version_of(number, key) for key in keys]
            assert Allocation.of(revision).versions_of(keys).tolist() == expected, f"revision {number}"
        features = self._group.topic("features")
        for number in range(self._group.partitions):
            for switch in switch_log.switches(MODEL, Place(features, number)):
                assert replay.revision_at(number, switch.first_offset) == switch.revision
        return replay

    async def _stream(self, name: str) -> AsyncIterator[ConsumerRecord]:
        """Yield all committed records of a topic."""
        places = [TopicPartition(self._group.topic(name), number) for number in range(self._group.partitions)]
        async with consumer(self._group.bootstrap) as client:
            client.assign(places)
            ends = await client.end_offsets(places)
            await client.seek_to_beginning(*places)
            while any([await client.position(place) < ends[place] for place in places]):
                for batch in (await client.getmany(timeout_ms=200, max_records=5000)).values():
                    for record in batch:
                        yield record

    # ---- the input

    async def _read_events(self) -> None:
        for _, end in sorted((await self._group.ends()).items()):
            self._partitions.append(
                _Partition(
                    kinds=np.zeros(end, np.int8),
                    versions=np.zeros(end, np.int32),
                    revisions=np.zeros(end, np.int32),
                    totals=np.zeros(end, np.float64),
                    outcomes=np.zeros(end, np.int8),
                )
            )
        unknown: Counter[str] = Counter()
        async for record in self._stream("features"):
            event_id = self._add_event(record)
            if event_id in self._feed.aborted:
                self._fault(f"event {event_id} was aborted and can be read")
            elif event_id in self._feed.committed:
                self._feed.committed.discard(event_id)  # a second one is then unknown
            else:
                unknown[event_id] += 1
        none_of((one for one, count in unknown.items() if count > 1), "events are twice in the input")
        none_of(self._feed.committed, "events were committed and cannot be read")

    def _add_event(self, record: ConsumerRecord) -> str:
        """Note an event and the version that must predict it, and return its id."""
        partition, offset = self._partitions[record.partition], record.offset
        headers = dict(record.headers)
        revision = self.replay.revision_at(record.partition, offset)
        route_by = self.replay.revisions[revision]["route_by"]
        key: bytes | None
        if KIND_HEADER in headers:
            kind, event_id = headers[KIND_HEADER].decode(), headers[ID_HEADER].decode()
            if kind not in self._kinds:
                self._kinds.append(kind)
            partition.kinds[offset] = self._kinds.index(kind)
            key = record.key if route_by is None else None
        else:
            document = orjson.loads(record.value)
            event_id = document["id"]
            partition.kinds[offset] = 1
            partition.totals[offset] = weighted(document["features"])
            if route_by is not None:
                assert route_by == CUSTOMER
                key = document[CUSTOMER].encode()
            elif record.key is not None:
                key = record.key
            else:
                key = document.get("key", event_id).encode()
        partition.revisions[offset] = revision
        partition.versions[offset] = self.replay.version_of(revision, key)
        return event_id

    # ---- the outcomes

    def _fault(self, text: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(text)

    def _note_outcome(self, what: str, record: ConsumerRecord, number: int, offset: int) -> _Partition | None:
        """Count an outcome and check the order of its key. Return the event's partition; None if there is no such event."""
        partition = self._partitions[number]
        if offset >= len(partition.kinds) or not partition.kinds[offset]:
            self._fault(f"{what} is of no committed event")
            return None
        partition.outcomes[offset] = min(partition.outcomes[offset] + 1, 2)
        if record.partition != number:
            self._fault(f"{what} is not in the partition of its event")
        if record.key is not None:
            place = (record.topic, record.key)
            if self._last_of_key.get(place, -1) >= offset:
                self._fault(f"{what}: key {record.key!r} is out of order")
            self._last_of_key[place] = offset
        return partition

    def _check_prediction(self, record: ConsumerRecord) -> None:
        document = orjson.loads(record.value)
        source, version = document["source"], document["version"]
        number, offset = source["partition"], source["offset"]
        what = f"prediction {record.partition}@{record.offset} for {number}@{offset}"
        partition = self._note_outcome(what, record, number, offset)
        if partition is None:
            return
        self._by_version[version] += 1
        self._by_revision[int(partition.revisions[offset])][version] += 1
        if partition.kinds[offset] != 1:
            self._fault(f"{what} is of garbage")
        elif version != partition.versions[offset]:
            self._fault(
                f"{what}, key {record.key!r}: version {version}, but revision {partition.revisions[offset]} gives version "
                f"{partition.versions[offset]}"
            )
        elif abs(document["prediction"][0] - OFFSET * version - partition.totals[offset]) > TOLERANCE:
            self._fault(f"{what}: {document['prediction']} is not what version {version} gives for the event")

    def _check_letter(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        number, offset = int(headers[names.ERROR_PARTITION]), int(headers[names.ERROR_OFFSET])
        what = f"dead letter {record.partition}@{record.offset} for {number}@{offset}"
        partition = self._note_outcome(what, record, number, offset)
        if partition is None:
            return
        kind = headers[names.ERROR_KIND].decode()
        self._letters[kind] += 1
        if kind != self._kinds[partition.kinds[offset]]:
            self._fault(f"{what}: rejected as {kind}, expected {self._kinds[partition.kinds[offset]]}")
        if names.ERROR_VERSION in headers and int(headers[names.ERROR_VERSION]) != partition.versions[offset]:
            self._fault(f"{what}: by version {headers[names.ERROR_VERSION]!r}, not {partition.versions[offset]}")

    def _check_outcomes(self) -> None:
        for number, partition in enumerate(self._partitions):
            events = partition.kinds > 0
            for offset in np.flatnonzero(events & (partition.outcomes == 0))[:5]:
                self._fault(f"event {number}@{offset} has no outcome")
            for offset in np.flatnonzero(partition.outcomes > 1)[:5]:
                self._fault(f"event {number}@{offset} has several outcomes")
        none_of(self._faults, "violations")

    async def _check_deltas(self) -> None:
        """Check that the counts of the workers are those of the outcomes, also by version."""
        counted: Counter[str] = Counter()
        predicted: Counter[int] = Counter()
        async for record in self._stream("outcome-deltas"):
            delta = orjson.loads(record.value)
            counted[delta["kind"]] += delta["count"]
            if delta["kind"] == "predicted":
                predicted[delta["version"]] += delta["count"]
        assert counted == {"predicted": self._by_version.total(), **self._letters}, counted
        assert predicted == self._by_version, f"deltas: {predicted}, predictions: {self._by_version}"

    # ---- the figures

    async def _counts(self) -> Counts:
        worker_group = self._group
        logs = {
            name: await scan(worker_group.bootstrap, worker_group.topic(name), worker_group.partitions)
            for name in (*worker_group.inputs, *worker_group.output_topics)
        }
        outputs = [logs[name] for name in worker_group.output_topics]
        return Counts(
            events=sum(int(np.count_nonzero(partition.kinds)) for partition in self._partitions),
            predictions=self._by_version.total(),
            dead_letters=dict(sorted(self._letters.items())),
            aborted_input=max(max(logs[name].abort_markers.values(), default=0) for name in worker_group.inputs),
            aborted_output=len(set().union(*(log.aborted for log in outputs))),
            aborted_output_records=sum(log.aborted_records for log in outputs),
        )

    def _rollout_counts(self) -> RolloutCounts:
        revisions = self.replay.revisions
        divided = 0
        for number, by_version in self._by_revision.items():
            wanted = {revisions[number]["stable"], *(canary["version"] for canary in revisions[number]["canaries"])}
            divided += len(wanted) > 1 and wanted == by_version.keys()
        return RolloutCounts(
            revisions=len(revisions) - 1,
            refused=self.replay.refused,
            switches=self.replay.num_switches,
            served=len(self._by_revision),
            divided=divided,
            predictions={str(version): count for version, count in sorted(self._by_version.items())},
        )

"""What became of each event under rollouts: its outcomes, and the versions that gave them. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import orjson

from forebay.schemas import headers as names
from forebay.stream.core.outputs import Headers
from tests.exactness.feed import ID_HEADER, KIND_HEADER
from tests.exactness.linear_versions import OFFSET, TOLERANCE, weighted
from tests.exactness.rollout_feed import CUSTOMER
from tests.exactness.rollout_replay import Replay

MAX_FAULTS: Final = 20
VALID: Final = "valid"


class ReadRecord(Protocol):
    """A record as a consumer returns it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes: ...
    @property
    def headers(self) -> Headers: ...


@dataclass(frozen=True, slots=True)
class _Partition:
    """The events of a partition, by offset.

    kinds: 0 for no event; else an index into the kinds of the ledger.
    versions, revisions: the version that must predict the event, and the revision that says so.
    totals: the weighted features.
    outcomes: how many there are, counted to 2.
    """

    kinds: np.ndarray[tuple[int], np.dtype[np.int8]]
    versions: np.ndarray[tuple[int], np.dtype[np.int32]]
    revisions: np.ndarray[tuple[int], np.dtype[np.int32]]
    totals: np.ndarray[tuple[int], np.dtype[np.float64]]
    outcomes: np.ndarray[tuple[int], np.dtype[np.int8]]

    @classmethod
    def of(cls, size: int) -> _Partition:
        return cls(
            kinds=np.zeros(size, np.int8),
            versions=np.zeros(size, np.int32),
            revisions=np.zeros(size, np.int32),
            totals=np.zeros(size, np.float64),
            outcomes=np.zeros(size, np.int8),
        )


class RolloutLedger:
    """Notes events and then outcomes, and what is wrong with them.

    ends: the end offset of each input partition.
    letters: dead letters by kind. by_version: predictions by version. by_revision: these, by the revision that routed them.
    """

    def __init__(self, replay: Replay, ends: Mapping[int, int]) -> None:
        self._replay = replay
        self._partitions = {number: _Partition.of(end) for number, end in ends.items()}
        self._kinds = ["", VALID]
        self._last_of_key: dict[tuple[str, bytes], int] = {}
        self._faults: list[str] = []
        self.letters: Counter[str] = Counter()
        self.by_version: Counter[int] = Counter()
        self.by_revision: dict[int, Counter[int]] = defaultdict(Counter)

    @property
    def num_events(self) -> int:
        return sum(int(np.count_nonzero(partition.kinds)) for partition in self._partitions.values())

    def add_event(self, record: ReadRecord) -> str:
        """Note an event and the version that must predict it, and return its id."""
        partition, offset = self._partitions[record.partition], record.offset
        headers = dict(record.headers)
        revision = self._replay.revision_at(record.partition, offset)
        route_by = self._replay.revisions[revision]["route_by"]
        if KIND_HEADER in headers:
            kind, event_id = headers[KIND_HEADER].decode(), headers[ID_HEADER].decode()
            if kind not in self._kinds:
                self._kinds.append(kind)
            partition.kinds[offset] = self._kinds.index(kind)
            # It has no field to route by, so it goes by its record key.
            key = record.key
        else:
            document = orjson.loads(record.value)
            event_id = document["id"]
            partition.kinds[offset] = self._kinds.index(VALID)
            partition.totals[offset] = weighted(document["features"])
            if route_by is not None:
                assert route_by == CUSTOMER
                key = document[CUSTOMER].encode()
            else:
                key = document.get("key", event_id).encode() if record.key is None else record.key
        partition.revisions[offset] = revision
        partition.versions[offset] = self._replay.version_of(revision, key)
        return str(event_id)

    def add_prediction(self, record: ReadRecord) -> None:
        """Note a prediction."""
        document = orjson.loads(record.value)
        source, version = document["source"], document["version"]
        number, offset = source["partition"], source["offset"]
        what = f"prediction {record.partition}@{record.offset} for {number}@{offset}"
        partition = self._add_outcome(what, record, number, offset)
        if partition is None:
            return
        self.by_version[version] += 1
        self.by_revision[int(partition.revisions[offset])][version] += 1
        if self._kinds[partition.kinds[offset]] != VALID:
            self._fault(f"{what} is of garbage")
        elif version != partition.versions[offset]:
            self._fault(
                f"{what}, key {record.key!r}: version {version}, but revision {partition.revisions[offset]} gives version "
                f"{partition.versions[offset]}"
            )
        elif abs(document["prediction"][0] - OFFSET * version - partition.totals[offset]) > TOLERANCE:
            self._fault(f"{what}: {document['prediction']} is not what version {version} gives for the event")

    def add_letter(self, record: ReadRecord) -> None:
        """Note a dead letter."""
        headers = dict(record.headers)
        number, offset = int(headers[names.ERROR_PARTITION]), int(headers[names.ERROR_OFFSET])
        what = f"dead letter {record.partition}@{record.offset} for {number}@{offset}"
        partition = self._add_outcome(what, record, number, offset)
        if partition is None:
            return
        kind, expected = headers[names.ERROR_KIND].decode(), self._kinds[partition.kinds[offset]]
        self.letters[kind] += 1
        if kind != expected:
            self._fault(f"{what}: rejected as {kind}, expected {expected}")
        if names.ERROR_VERSION in headers and int(headers[names.ERROR_VERSION]) != partition.versions[offset]:
            self._fault(f"{what}: by version {headers[names.ERROR_VERSION]!r}, not {partition.versions[offset]}")

    def _add_outcome(self, what: str, record: ReadRecord, number: int, offset: int) -> _Partition | None:
        """Count an outcome and check the order of its key. Return the event's partition; None if there is no such event."""
        partition = self._partitions[number]
        if offset >= len(partition.kinds) or not partition.kinds[offset]:
            self._fault(f"{what} is of no committed event")
            return None
        partition.outcomes[offset] = min(partition.outcomes[offset] + 1, 2)
        if record.partition != number:
            self._fault(f"{what} is not in the partition of its event")
        if record.key is not None:
            if self._last_of_key.get((record.topic, record.key), -1) >= offset:
                self._fault(f"{what}: key {record.key!r} is out of order")
            self._last_of_key[record.topic, record.key] = offset
        return partition

    def faults(self) -> list[str]:
        """Return the first faults, once all outcomes are noted."""
        found = list(self._faults)
        for number, partition in self._partitions.items():
            without = np.flatnonzero((partition.kinds > 0) & (partition.outcomes == 0))
            several = np.flatnonzero(partition.outcomes > 1)
            found += [f"event {number}@{offset} has no outcome" for offset in without[:5]]
            found += [f"event {number}@{offset} has several outcomes" for offset in several[:5]]
        return found

    def num_divided(self) -> int:
        """Return how many revisions with a canary have predictions of it and of the stable version."""
        revisions, divided = self._replay.revisions, 0
        for number, by_version in self.by_revision.items():
            wanted = {revisions[number]["stable"], *(canary["version"] for canary in revisions[number]["canaries"])}
            divided += len(wanted) > 1 and wanted == by_version.keys()
        return divided

    def _fault(self, text: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(text)

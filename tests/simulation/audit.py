"""The observer of all committed outputs: it knows how many outcomes each record of the input has.

It sees what a reader of committed records sees. `check` may be called at any time, `check_all` once nothing more is to come.
An event for a model of windows has an outcome record only if it is late or rejected; otherwise it is counted in the outcome
deltas, and its windows are compared with those of a slow reference.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import Outcome
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.offset_metadata import required_revisions
from forebay.stream.rollouts.switch_log import SwitchLog, decode_switch
from tests.simulation.expected_windows import WindowEvent, WindowId, WindowOutcome, expected_windows
from tests.simulation.partition_log import LoggedRecord
from tests.simulation.world import SimulationError

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster
    from tests.simulation.rollouts import SimulatedRevisions

PREDICTIONS: Final = "predictions"
DEAD_LETTERS: Final = "dead-letters"
LATE_EVENTS: Final = "late-events"
DELTAS: Final = "outcome-deltas"
SWITCHES: Final = "rollout-switches"
EVENT_OUTCOMES: Final = tuple(outcome.value for outcome in Outcome if not outcome.of_window)


class Violation(SimulationError):
    """Exactly once, the order per key, or the agreement of outputs and offsets was violated."""


def origin(topic: str, record: LoggedRecord) -> tuple[TopicPartition, int]:
    """Return the partition and offset of the event that an outcome is for; of a window's first event for a window."""
    if topic == PREDICTIONS:
        source = orjson.loads(record.value or b"")["source"]
        return TopicPartition(source["topic"], source["partition"]), source["offset"]
    fields = dict(record.headers)
    partition = int(fields[names.ERROR_PARTITION])
    return TopicPartition(fields[names.ERROR_TOPIC].decode(), partition), int(fields[names.ERROR_OFFSET])


def window_of(topic: str, record: LoggedRecord) -> tuple[WindowId, WindowOutcome] | None:
    """Return the window that an outcome is for; None if it is for an event."""
    if topic == PREDICTIONS:
        value = orjson.loads(record.value or b"")
        if "window" not in value:
            return None
        model, outcome = value["model"], WindowOutcome(value["window"]["events"], tuple(value["prediction"]))
    else:
        fields = dict(record.headers)
        if names.ERROR_WINDOW not in fields:
            return None
        value, model = orjson.loads(record.value or b""), fields[names.ERROR_MODEL].decode()
        outcome = WindowOutcome(value["num_events"], None)
    return WindowId(model, origin(topic, record)[0], value["id"]), outcome


class AuditedVersions:
    """The versions of committed outcomes, compared with what the recorded switches and the committed offsets say."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._switches = SwitchLog()
        self._unchecked: list[tuple[TopicPartition, int, int]] = []
        self.num_switches = self.num_checked = 0

    def on_switch(self, record: LoggedRecord) -> None:
        """Follow a switch."""
        self._switches.add(decode_switch(record.key, record.value))
        self.num_switches += 1

    def on_outcome(self, topic: str, record: LoggedRecord) -> None:
        """Remember the version of an outcome, if a version has seen the event."""
        source, offset = origin(topic, record)
        if topic == PREDICTIONS:
            value = orjson.loads(record.value or b"")
            model, version = value["model"], value["version"]
        else:
            fields = dict(record.headers)
            if names.ERROR_VERSION not in fields:
                return
            model, version = fields[names.ERROR_MODEL].decode(), int(fields[names.ERROR_VERSION])
        if model == "m":
            self._unchecked.append((source, offset, version))

    def check(self, revisions: SimulatedRevisions) -> None:
        """Check the versions of the outcomes since the last call, and the revisions that committed offsets name."""
        for source, offset, version in self._unchecked:
            number = self._switches.revision_at("m", source, offset)
            served, key = revisions[number], self._key(source, offset, revisions[number].route_by)
            (expected,) = served.allocation.versions_of([key]).tolist()
            if version != expected:
                raise Violation(
                    f"{source.topic}-{source.partition}@{offset} was predicted by version {version}; revision {number}, "
                    f"which the switches name, gives it to version {expected}"
                )
        self.num_checked += len(self._unchecked)
        self._unchecked.clear()
        if self._switches.reversals:
            raise Violation(f"a partition went back to an older revision: {self._switches.reversals[-1]}")
        for partition, committed in self._cluster.group.offsets.items():
            named = required_revisions({partition: committed}).get("m", 0)
            recorded = [switch.revision for switch in self._switches.switches("m", partition)]
            if named != (recorded[-1] if recorded else 0):
                raise Violation(
                    f"{partition}: the offset names revision {named}, and the last switch is of {recorded[-1:]}"
                )

    def _key(self, source: TopicPartition, offset: int, route_by: str | None) -> bytes:
        (record,) = [one for one in self._cluster.logs[source].records if one.offset == offset]
        if route_by is None:
            assert record.key is not None
            return record.key
        routing_key: str = orjson.loads(record.value or b"")[route_by]
        return routing_key.encode()


class _Input:
    """What is known of a partition of the input.

    readable: the offsets of its committed records up to `next_offset`.
    required: for each number of readable records, how many of them must have an outcome record.
    """

    def __init__(self) -> None:
        self.readable: list[int] = []
        self.required = [0]
        self.next_offset = 0
        self.committed = 0
        self.for_windows: dict[int, WindowEvent] = {}
        self.outcomes: set[int] = set()
        self.num_required = 0
        self.last_outcome = -1


class Audit:
    """Counts committed outcomes by record of the input."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._inputs = {partition: _Input() for partition in cluster.inputs}
        self._deltas: Counter[str] = Counter()
        self._windows: dict[WindowId, WindowOutcome] = {}
        self.revisions: SimulatedRevisions | None = None
        self._versions = AuditedVersions(cluster)

    # ---- what happens

    def on_window_event(self, partition: TopicPartition, offset: int, event: WindowEvent) -> None:
        """Remember that a record of the input is an event for a model of windows."""
        self._inputs[partition].for_windows[offset] = event

    def on_outputs(self, partition: TopicPartition, records: Sequence[LoggedRecord]) -> None:
        """Count the records of a transaction that is committed in one output partition."""
        for record in records:
            if partition.topic == SWITCHES:
                self._versions.on_switch(record)
            elif partition.topic == DELTAS:
                delta = orjson.loads(record.value or b"")
                self._deltas[delta["outcome"]] += delta["count"]
            elif (found := window_of(partition.topic, record)) is not None:
                window, outcome = found
                if window in self._windows:
                    raise Violation(f"the window {window} has a second outcome, in {partition.topic}")
                self._windows[window] = outcome
            else:
                self._on_event_outcome(partition.topic, *origin(partition.topic, record))
                if self.revisions is not None:
                    self._versions.on_outcome(partition.topic, record)

    def _on_event_outcome(self, topic: str, source: TopicPartition, offset: int) -> None:
        known = self._inputs[source]
        if offset in known.outcomes:
            raise Violation(f"{source.topic}-{source.partition}@{offset} has a second outcome in {topic}")
        known.outcomes.add(offset)
        known.last_outcome = max(known.last_outcome, offset)
        known.num_required += offset not in known.for_windows

    def on_committed(self, partition: TopicPartition, before: int, after: int) -> None:
        """Follow a committed offset."""
        if after < before:
            raise Violation(
                f"{partition.topic}-{partition.partition}: the committed offset fell from {before} to {after}"
            )
        self._inputs[partition].committed = after

    # ---- what must hold

    def check(self) -> None:
        """Check that outputs and offsets agree, unless the markers of a transaction are being written just now."""
        if self._cluster.transactions.is_ending_any:
            return
        num_passed = 0
        for partition, known in self._inputs.items():
            self._read(partition, known)
            passed = bisect.bisect_left(known.readable, known.committed)
            num_passed += passed
            if known.num_required != known.required[passed] or known.last_outcome >= known.committed:
                self._raise_disagreement(partition, known, passed)
        decided = sum(self._deltas[outcome] for outcome in EVENT_OUTCOMES)
        if decided != num_passed:
            raise Violation(f"the committed offsets pass {num_passed} records, but the outcome deltas count {decided}")
        windows = self._deltas[Outcome.WINDOW_PREDICTED] + self._deltas[Outcome.WINDOW_FAILED]
        if windows != len(self._windows):
            raise Violation(f"{len(self._windows)} windows have an outcome, but the outcome deltas count {windows}")
        if self.revisions is not None:
            self._versions.check(self.revisions)

    def num_undecided(self) -> int:
        """Return how many records of the input are after the committed offsets."""
        number = 0
        for partition, known in self._inputs.items():
            self._read(partition, known)
            number += len(known.readable) - bisect.bisect_left(known.readable, known.committed)
        return number

    def num_outcomes(self) -> int:
        """Return how many events have an outcome record, plus how many windows have one."""
        return len(self._windows) + sum(len(known.outcomes) for known in self._inputs.values())

    def missing_windows(self) -> set[WindowId]:
        """Return the windows that the whole input closes and that have no outcome."""
        return {window for partition in self._inputs for window in self._expected(partition)[0]} - self._windows.keys()

    def check_all(self) -> None:
        """Check all windows, which events are late, and the order of outcomes."""
        for partition, known in self._inputs.items():
            windows, late = self._expected(partition)
            seen = {window: outcome for window, outcome in self._windows.items() if window.partition == partition}
            if seen != windows:
                different = sorted(
                    window for window in seen.keys() | windows.keys() if seen.get(window) != windows.get(window)
                )
                first = different[0]
                raise Violation(f"{first}: {seen.get(first)} instead of {windows.get(first)} (one of {len(different)})")
            if (seen_late := known.outcomes & known.for_windows.keys()) != late:
                raise Violation(f"{partition}: late events {sorted(seen_late)} instead of {sorted(late)}")
        for topic in (PREDICTIONS, DEAD_LETTERS, LATE_EVENTS):
            for number in range(self._cluster.partitions[topic]):
                self._check_order(TopicPartition(topic, number))

    def _check_order(self, place: TopicPartition) -> None:
        """Check that the outcomes of each partition of the input are in offset order in one output partition."""
        last: dict[TopicPartition, int] = {}
        for record in self._cluster.logs[place].committed():
            if window_of(place.topic, record) is not None:
                continue
            source, offset = origin(place.topic, record)
            if offset <= last.get(source, -1):
                raise Violation(
                    f"{source.topic}-{source.partition}: in {place.topic}-{place.partition} the outcome of {offset} comes "
                    f"after that of {last[source]}"
                )
            last[source] = offset

    def _expected(self, partition: TopicPartition) -> tuple[dict[WindowId, WindowOutcome], set[int]]:
        known = self._inputs[partition]
        events = [known.for_windows[offset] for offset in known.readable if offset in known.for_windows]
        return expected_windows(partition, events)

    def _read(self, partition: TopicPartition, known: _Input) -> None:
        log = self._cluster.logs[partition]
        records, known.next_offset, _ = log.fetch(known.next_offset, log.end)
        for record in records:
            known.readable.append(record.offset)
            known.required.append(known.required[-1] + (record.offset not in known.for_windows))

    def _raise_disagreement(self, partition: TopicPartition, known: _Input, passed: int) -> None:
        required = [offset for offset in known.readable[:passed] if offset not in known.for_windows]
        without = [offset for offset in required if offset not in known.outcomes]
        beyond: list[Any] = sorted(offset for offset in known.outcomes if offset >= known.committed)
        unknown = sorted(known.outcomes - set(known.readable))
        raise Violation(
            f"{partition.topic}-{partition.partition}: the committed offset is {known.committed}, but records {without} before "
            f"it have no outcome, records {beyond} after it have one, and outcomes {unknown} are for no committed record"
        )

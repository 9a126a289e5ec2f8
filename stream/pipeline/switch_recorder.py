"""Writes switches into the commits that pass them, and revisions into the metadata of offsets; reads them back."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.schemas.errors import BrokerError
from forebay.stream.core.outputs import OutputTopic
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.kafka.consumer.start_offsets import OffsetRestorer
from forebay.stream.output.emitter import NO_HEADERS, Emission
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.rollouts.offset_metadata import combine, separate
from forebay.stream.rollouts.rollout_observer import NullRolloutObserver, RolloutObserver
from forebay.stream.rollouts.switch_log import Switch


class SwitchRecorder:
    """Adds to each commit what the ledger says.

    topic: `rollout-switches`, with one partition.
    worker: instance id of the worker.
    observer: observes the switches. One that is written again after a failed commit is observed again.
    """

    def __init__(
        self, ledger: SwitchLedger, topic: OutputTopic, *, worker: str, observer: RolloutObserver | None = None
    ) -> None:
        self._ledger = ledger
        self._place = TopicPartition(topic.name, 0)
        self._worker = worker
        self._observer = observer or NullRolloutObserver()

    def record(self, emission: Emission) -> None:
        """Add the switches that a commit passes, and the revisions to its metadata."""
        for partition, position in emission.positions.items():
            for switch in self._ledger.commit(partition, position):
                key, value = Switch(
                    model=switch.model,
                    topic=partition.topic,
                    partition=partition.partition,
                    revision=switch.revision,
                    first_offset=switch.first_offset,
                    switched_ms=switch.switched_ms,
                    worker=self._worker,
                ).encode()
                emission.records_of(self._place).append(key, value, NO_HEADERS, offset=switch.first_offset)
                self._observer.on_switched(switch.model)
            metadata = self.metadata(partition, emission.metadata.get(partition, ""))
            if metadata:
                emission.metadata[partition] = metadata

    def metadata(self, partition: TopicPartition, windows: str) -> str:
        """Return the metadata of the last committed position. windows: that of the windows."""
        return combine(self._ledger.recorded(partition), windows)


class RevisionRestorer:
    """Restores a worker whose offsets may name revisions. The windows see only their part of the metadata.

    inner: restores the windows.
    ledger: None if rollouts are not enabled.
    """

    def __init__(self, inner: OffsetRestorer, ledger: SwitchLedger | None) -> None:
        self._inner = inner
        self._ledger = ledger

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the offset from which to read each partition. Raises BrokerError if reading must not continue."""
        own: dict[TopicPartition, Committed | None] = {}
        named: dict[str, int] = {}
        for partition, offset in committed.items():
            own[partition] = None
            if offset is not None:
                revisions, own[partition] = separate(partition, offset)
                named |= revisions
        if self._ledger is None and named:
            raise _rollouts_disabled(named)
        positions = self._inner.restore(own)
        if self._ledger is not None:
            self._ledger.restore(committed)
        return positions


def _rollouts_disabled(named: Mapping[str, int]) -> BrokerError:
    """Return the error for a worker that would serve its configured versions where the group has switched to revisions."""
    revisions = ", ".join(f"revision {number} of {model}" for model, number in sorted(named.items()))
    return BrokerError(
        f"the group's committed offsets name {revisions}, and this worker has rollouts.enabled = false",
        kind="rollouts_disabled",
        remedy="set rollouts.enabled = true. To leave rollouts, promote the configured versions, stop all workers, and commit "
        "the group's offsets again without revisions: kafka-consumer-groups --reset-offsets --to-current --all-topics "
        "--execute",
    )
